"""Marker, command line and settings: who goes first, and what is said of bad values."""

from __future__ import annotations

import pytest

from pytest_proclife.durations import LINGER, TIMEOUT

pytestmark = pytest.mark.once

SHOW = """
    import pytest
    from pytest_proclife import Code

    {marker}
    def test_it(proclife):
        proclife.run(Code("import signal; signal.pause()"))
"""
PROBE = """
    from pytest_proclife import Code

    def test_it(proclife):
        print("method:", proclife.run(Code("pass")).start_method)
"""


def message_of(suite: pytest.Pytester, *options: str, marker: str = "") -> str:
    """What a test says whose target never ends."""
    suite.makepyfile(SHOW.format(marker=marker))
    lines = suite.runpytest("-Werror", *options).outlines
    return next(line for line in lines if "main did not end within" in line)


def test_the_settings_are_the_defaults(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\nproclife_timeout = 0.1\n")
    assert "within 0.1 s" in message_of(suite)


def test_the_command_line_goes_before_the_settings(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\nproclife_timeout = 600\n")
    assert "within 0.2 s" in message_of(suite, "--proclife-timeout=0.2")


def test_the_marker_goes_before_the_command_line(suite: pytest.Pytester) -> None:
    marker = "@pytest.mark.proclife(timeout=0.1)"
    assert "within 0.1 s" in message_of(suite, "--proclife-timeout=600", marker=marker)


@pytest.mark.parametrize(
    ("options", "settings", "marker"),
    [
        (["--proclife-linger=0.1"], "", ""),
        ([], "proclife_linger = 0.1", ""),
        (["--proclife-linger=600"], "proclife_linger = 600", "@pytest.mark.proclife(linger=0.1)"),
    ],
    ids=["command line", "settings", "marker"],
)
def test_the_linger_bounds_what_outlives_main(
    suite: pytest.Pytester, options: list[str], settings: str, marker: str
) -> None:
    suite.makeini(f"[pytest]\n{settings}\n")
    suite.makepyfile(f"""
        import pytest
        from pytest_proclife import Code

        {marker}
        def test_it(proclife):
            run = proclife.run(Code("import os, signal; os.fork() or signal.pause()"))
            (orphan,) = run.orphans
            assert orphan.cause == "cleaned_up"
    """)
    suite.runpytest("-Werror", *options).assert_outcomes(passed=1)


@pytest.mark.parametrize("how", ["marker", "inf in the marker", "command line", "settings"])
def test_a_timeout_can_be_none(suite: pytest.Pytester, how: str) -> None:
    markers = {"marker": "timeout=None", "inf in the marker": "timeout=float('inf')"}
    marker = f"@pytest.mark.proclife({markers[how]})" if how in markers else ""
    settings = "inf" if how == "settings" else "0"
    suite.makeini(f"[pytest]\nproclife_timeout = {settings}\n")
    suite.makepyfile(f"""
        import pytest
        from pytest_proclife import Code

        {marker}
        def test_it(proclife):
            assert proclife.run(Code("pass")).exitcode == 0
    """)
    options = ["--proclife-timeout=inf"] if how == "command line" else []
    suite.runpytest("-Werror", *options).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "settings", "methods"),
    [
        (["--proclife-start-methods=all"], "", ["fork", "forkserver", "spawn"]),
        (["--proclife-start-methods=spawn,fork"], "", ["spawn", "fork"]),
        ([], "proclife_start_methods = spawn fork", ["spawn", "fork"]),
        ([], "proclife_start_methods = all", ["fork", "forkserver", "spawn"]),
        (["--proclife-start-methods=spawn"], "proclife_start_methods = all", ["spawn"]),
        ([], "", ["None"]),
    ],
)
def test_every_test_runs_once_for_each_start_method_asked_for(
    suite: pytest.Pytester, options: list[str], settings: str, methods: list[str]
) -> None:
    suite.makeini(f"[pytest]\n{settings}\n")
    suite.makepyfile(PROBE)
    lines = suite.runpytest("-Werror", "-rA", *options).outlines
    told = [line.partition(": ")[2] for line in lines if line.startswith("method: ")]
    assert told == methods


def test_a_marker_of_none_leaves_the_method_to_the_program(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        @pytest.mark.proclife(start_methods=None)
        def test_it(proclife):
            assert proclife.start_method is None
    """)
    result = suite.runpytest("-Werror", "--proclife-start-methods=all")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("timeout", "soon", "could not convert string to float: 'soon'"),
        ("timeout", "-1", "timeout must be a number of seconds, 0 or more, not -1.0"),
        ("timeout", "nan", "timeout must be a number of seconds, 0 or more, not nan"),
        ("linger", "inf", "linger must be a number of seconds, 0 or more, not inf"),
        ("start_methods", "thread", "unknown start method 'thread': it must be one of fork, *"),
        ("start_methods", "all,fork", "unknown start method 'all': it must be one of fork, *"),
    ],
)
def test_a_bad_value_is_a_usage_error(
    suite: pytest.Pytester, name: str, value: str, words: str
) -> None:
    option = "--proclife-" + name.replace("_", "-")
    result = suite.runpytest(f"{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: {words}"])

    suite.makeini(f"[pytest]\nproclife_{name} = {value}\n")
    result = suite.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: proclife_{name}: {words}"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("timeout='soon'", "timeout must be a number of seconds, 0 or more, not 'soon'"),
        ("timeout=True", "timeout must be a number of seconds, 0 or more, not True"),
        ("linger=None", "linger must be a number of seconds, 0 or more, not None"),
        ("linger=-0.1", "linger must be a number of seconds, 0 or more, not -0.1"),
        ("start_methods='thread'", "unknown start method 'thread': it must be one of fork, *"),
        ("start_methods=['fork', 3]", "unknown start method 3: it must be one of fork, *"),
        (
            "start_methods=()",
            'start_methods must be "all", the name of a start method, or several names, not ()',
        ),
        (
            "start_methods=3",
            'start_methods must be "all", the name of a start method, or several names, not 3',
        ),
        ("5", "the marker proclife takes keyword arguments only, not 5"),
        (
            "timeouts=5",
            "the marker proclife takes start_methods, timeout, linger, seccomp, not timeouts",
        ),
    ],
)
def test_a_bad_marker_is_an_error_at_collection(
    suite: pytest.Pytester, arguments: str, words: str
) -> None:
    suite.makepyfile(
        test_bad=f"""
        import pytest

        @pytest.mark.proclife({arguments})
        def test_it(proclife):
            pass
        """
    )
    result = suite.runpytest("-Werror")
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    escaped = words.replace("[", "[[]")
    result.stdout.fnmatch_lines(
        ["*ERROR collecting test_bad.py*", f"test_bad.py::test_it: *{escaped}"]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_marker_on_a_test_without_the_fixture_is_an_error(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_bad="""
        import pytest

        @pytest.mark.proclife(timeout=5)
        def test_it():
            pass
        """
    )
    result = suite.runpytest("-Werror")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["test_bad.py::test_it: it has the marker proclife, but no argument proclife: *"]
    )


def test_a_marker_is_too_late_for_a_fixture_that_the_test_asks_for_itself(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        test_bad="""
        import pytest

        @pytest.mark.proclife(timeout=5)
        def test_it(request):
            request.getfixturevalue("proclife")
        """
    )
    result = suite.runpytest("-Werror")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*but no argument proclife: *getfixturevalue() would get it too *"]
    )


def test_the_markers_and_fixtures_are_listed(suite: pytest.Pytester) -> None:
    markers = suite.runpytest("--markers").outlines
    assert [line.partition("(")[0] for line in markers if "proclife" in line] == [
        "@pytest.mark.proclife",
        "@pytest.mark.proclife_guard",
        "@pytest.mark.proclife_points",
    ]
    suite.runpytest("--fixtures").stdout.fnmatch_lines(
        [
            "proclife -- *",
            "proclife_module [[]module scope[]] -- *",
            "proclife_session [[]session scope[]] -- *",
        ]
    )


def test_an_exercise_that_pytest_runs_names_the_commands_for_it(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        exercise="""
        import pytest

        @pytest.mark.proclife_points(1)
        def test_it(submission):
            assert submission.run().exitcode == 0
        """
    )
    result = suite.runpytest("-Werror", "exercise.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["exercise.py is an exercise, *: run `proclife check exercise.py ANSWER`, *"]
    )


def test_a_fixture_submission_of_another_suite_is_its_own(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        @pytest.fixture
        def submission():
            return 5

        @pytest.mark.proclife_points(1)
        def test_it(submission):
            assert submission == 5

        @pytest.mark.parametrize("submission", [6])
        def test_parameter(submission):
            assert submission == 6
    """)
    suite.runpytest("-Werror", "--strict-markers").assert_outcomes(passed=2)


def test_a_modules_marker_is_for_those_that_use_the_fixture(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        pytestmark = pytest.mark.proclife(start_methods="all")

        def test_with(proclife):
            assert proclife.start_method is not None

        def test_without():
            pass
    """)
    suite.runpytest("-Werror").assert_outcomes(passed=4)


UNITTEST = """
    import unittest

    import pytest

    class TestIt(unittest.TestCase):
        @pytest.mark.proclife({arguments})
        {fixtures}
        def test_it(self):
            pass
"""


@pytest.mark.parametrize(
    ("fixtures", "arguments", "words"),
    [
        ("", "timeout=5", "it has the marker proclife, but no argument proclife: *"),
        ("@pytest.mark.usefixtures('proclife')", "timeout='x'", "*timeout must be a number*"),
        ("@pytest.mark.usefixtures('proclife')", "start_methods='all'", "start_methods is for *"),
    ],
)
def test_a_bad_marker_in_a_test_case_is_an_error_too(
    suite: pytest.Pytester, fixtures: str, arguments: str, words: str
) -> None:
    suite.makepyfile(test_bad=UNITTEST.format(fixtures=fixtures, arguments=arguments))
    result = suite.runpytest("-Werror")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"test_bad.py::TestIt::test_it: {words}"])


def test_a_parameter_can_have_a_timeout_of_its_own_but_no_start_methods(
    suite: pytest.Pytester,
) -> None:
    text = """
        import pytest

        @pytest.mark.parametrize("value", [1, pytest.param(2, marks=pytest.mark.proclife({}))])
        def test_it(proclife, value):
            assert (proclife._defaults.timeout == 5) == (value == 2)
    """
    suite.makepyfile(test_it=text.format("timeout=5"))
    suite.runpytest("-Werror").assert_outcomes(passed=2)
    suite.makepyfile(test_it=text.format("start_methods='all'"))
    result = suite.runpytest("-Werror")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it: start_methods is for *"])


@pytest.mark.parametrize("place", ["class", "module"])
def test_a_bad_marker_of_many_tests_is_told_once(suite: pytest.Pytester, place: str) -> None:
    marker = "pytest.mark.proclife(timeout='soon')"
    suite.makepyfile(
        test_bad=f"""
        import pytest

        {"pytestmark = " + marker if place == "module" else ""}

        {"@" + marker if place == "class" else ""}
        class TestIt:
            def test_one(self, proclife): pass
            def test_two(self, proclife): pass
        """
    )
    result = suite.runpytest("-Werror")
    result.assert_outcomes(errors=1)
    told = [line for line in result.outlines if line.startswith("test_bad.py")]
    assert len(told) == 1


def test_the_marker_and_the_fixture_are_documented_by_pytest(suite: pytest.Pytester) -> None:
    suite.runpytest("--markers").stdout.fnmatch_lines(["@pytest.mark.proclife(start_methods=*"])
    suite.runpytest("--fixtures").stdout.fnmatch_lines(["proclife -- *", "*real main processes*"])
    suite.runpytest("--help").stdout.fnmatch_lines(
        [
            "*--proclife-timeout=SECONDS",
            "*--proclife-start-methods=NAMES",
            "*proclife_linger (float):*",
        ]
    )


def test_the_help_has_the_defaults_of_run(suite: pytest.Pytester) -> None:
    words = " ".join(suite.runpytest("--help").stdout.str().split())
    assert f"seconds that main may take; inf for no limit (default: {TIMEOUT:g})" in words
    assert f"outlive main, before killing them (default: {LINGER:g})" in words
