"""The fixture: it runs with the test's defaults, and shows its runs where the test fails."""

from __future__ import annotations

import multiprocessing

import importable
import pytest
from conftest import copy_into

import pytest_proclife
from pytest_proclife import Cause, Code, Proclife, RunTimeout, TargetError

FOREVER = Code("import signal; signal.pause()")


def test_the_fixture_runs_what_run_runs(proclife: Proclife) -> None:
    assert isinstance(proclife, Proclife)
    run = proclife.run(importable.show, (1, "two"), {"three": 3.0})
    assert run.stdout == "['-c'] importable None (1, 'two') {'three': 3.0}\n"
    assert proclife.runs == (run,)


def test_what_a_call_says_is_what_run_takes(proclife: Proclife) -> None:
    run = proclife.run(Code("print(input())"), input="hello\n", start_method="spawn", cwd="/")
    assert (run.stdout, run.start_method) == ("hello\n", "spawn")


@pytest.mark.proclife(timeout=None)
def test_what_a_call_says_goes_before_the_defaults(proclife: Proclife) -> None:
    assert proclife.run(FOREVER, timeout=0.2, allow_timeout=True).timed_out


@pytest.mark.proclife(timeout=0.2, linger=0.0)
def test_the_markers_timeout_holds_for_a_run(proclife: Proclife) -> None:
    with pytest.raises(RunTimeout, match=r"within 0\.2 s") as caught:
        proclife.run(FOREVER)
    assert proclife.runs == (caught.value.run,)


@pytest.mark.proclife(timeout=0.2)
class TestTheNearestMarker:
    @pytest.mark.proclife(timeout=0.1)
    def test_goes_first(self, proclife: Proclife) -> None:
        with pytest.raises(RunTimeout, match=r"within 0\.1 s"):
            proclife.run(FOREVER)

    @pytest.mark.proclife(linger=0.0)
    def test_leaves_to_the_next_what_it_does_not_say(self, proclife: Proclife) -> None:
        with pytest.raises(RunTimeout, match=r"within 0\.2 s"):
            proclife.run(FOREVER)


@pytest.mark.proclife(start_methods="all")
def test_a_test_runs_once_for_each_start_method(
    proclife: Proclife, request: pytest.FixtureRequest
) -> None:
    method = proclife.start_method
    assert method in multiprocessing.get_all_start_methods()
    assert request.node.name.endswith(f"[{method}]")
    run = proclife.run(Code("import multiprocessing; print(multiprocessing.get_start_method())"))
    assert run.stdout == f"{method}\n"
    assert run.start_method == method


def test_a_target_that_cannot_run_is_the_tests_error(proclife: Proclife) -> None:
    with pytest.raises(TargetError, match="no such script"):
        proclife.run("nowhere.py")
    assert proclife.runs == ()


def test_a_failing_test_shows_its_runs(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            proclife.run(Code("print('fine')"))
            run = proclife.run(Code("1/0"))
            assert run.main.cause == "returned"
    """)
    result = suite.runpytest("-Werror")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*assert <Cause.RAISED: 'raised'> == 'returned'",
            "*- proclife: run 1 of 2 -*",
            "code print('fine'): *",
            "*MainProcess *returned, exit code 0",
            "*- proclife: run 2 of 2 -*",
            "*MainProcess *raised ZeroDivisionError, exit code 1",
            "its standard error:",
            "ZeroDivisionError: division by zero",
        ],
    )


def test_a_passing_test_shows_nothing(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            proclife.run(Code("1/0"))
    """)
    result = suite.runpytest("-Werror", "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*proclife: run*")


def test_only_the_last_runs_and_their_last_words_are_shown(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            for number in range(5):
                proclife.run(Code("import sys; print(*range(100), sep='\\\\n', file=sys.stderr)"))
            assert not proclife.runs
    """)
    result = suite.runpytest("-Werror")
    result.stdout.no_fnmatch_line("*run 2 of 5*")
    result.stdout.fnmatch_lines(
        ["*- proclife: run 3 of 5 -*", "its standard error, the last 20 of 100 lines:", "80", "99"]
    )
    assert sum("proclife: run" in line for line in result.outlines) == 3
    assert "79" not in result.outlines


def test_a_run_that_the_message_shows_is_not_shown_again(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            proclife.run(Code("import signal; signal.pause()"), timeout=0.1)
    """)
    result = suite.runpytest("-Werror")
    assert sum("cleaned up by proclife" in line for line in result.outlines) == 1


@pytest.mark.parametrize("bad", ["'nowhere.py'", "Code('1'), timeout=-1", "forever, timeout=0.1"])
def test_pytest_points_at_the_line_of_the_test(suite: pytest.Pytester, bad: str) -> None:
    suite.makepyfile(f"""
        from pytest_proclife import Code

        forever = Code("import signal; signal.pause()")

        def test_it(proclife):
            proclife.run({bad})
    """)
    result = suite.runpytest("-Werror", "--tb=short")
    places = [line for line in result.outlines if ": in " in line]
    assert places == ["test_pytest_points_at_the_line_of_the_test.py:6: in test_it"]


def test_a_word_that_is_no_cause_is_told(suite: pytest.Pytester) -> None:
    copy_into(suite, "wrong_words.py")
    result = suite.runpytest("-Werror")
    result.stdout.fnmatch_lines(
        [
            "*'return' is not a cause: choose from cleaned_up, abandoned, killed, *",
            "*'exit' is not an ending: choose from returned, raised, *",
            "*'yes' is not a way to join: choose from explicit, implicit, library",
        ]
    )
    result.stdout.no_fnmatch_line("*'returned' is not a cause*")


def test_the_fixture_is_of_no_use_when_its_test_is_over(suite: pytest.Pytester) -> None:
    copy_into(suite, "fixture_kept.py")
    suite.runpytest("-Werror").assert_outcomes(passed=3)


def test_a_fixture_of_ones_own_can_stand_on_it(suite: pytest.Pytester) -> None:
    copy_into(suite, "fixture_of_its_own.py")
    suite.runpytest("-Werror").assert_outcomes(passed=2)


def test_a_run_without_the_fixture_asks_no_plugin() -> None:
    run = pytest_proclife.run(["sh", "-c", "exit 3"])
    assert run.main.cause is Cause.EXITED
