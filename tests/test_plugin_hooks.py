"""The hooks: who hears of a run, and who may name a cause."""

from __future__ import annotations

import pytest
from conftest import copy_into

pytestmark = pytest.mark.once

ONE_EXITED = """
    def test_it(proclife):
        run = proclife.run(["sh", "-c", "exit 3"])
        last = run.main.evidence[-1]
        print("main:", run.main.cause, f"{getattr(last, 'plugin', last.source)}: {last}")
"""


def shown(suite: pytest.Pytester, word: str = "main: ") -> list[str]:
    result = suite.runpytest("-Werror", "-rA")
    return [line.removeprefix(word) for line in result.outlines if line.startswith(word)]


def test_a_plugin_hears_of_each_run_and_whose_it_is(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        def pytest_proclife_run_finished(run, item):
            print("finished:", item.name, run.main.cause)
    """)
    suite.makepyfile("""
        import pytest
        from pytest_proclife import Code, RunTimeout, TargetError

        def test_it(proclife):
            proclife.run(Code("1/0"))
            with pytest.raises(RunTimeout):
                proclife.run(Code("import signal; signal.pause()"), timeout=0.1)
            with pytest.raises(TargetError):
                proclife.run("nowhere.py")
    """)
    assert shown(suite, "finished: ") == ["test_it raised", "test_it cleaned_up"]


def test_what_a_plugin_raises_for_a_main_that_was_started_fails_the_test(
    suite: pytest.Pytester,
) -> None:
    suite.makeconftest("""
        def pytest_proclife_run_finished(run, item):
            raise RuntimeError("the disk is full")
    """)
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            proclife.start(Code("pass"))
    """)
    result = suite.runpytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: the disk is full"])


def test_a_plugin_names_the_cause_and_the_evidence_names_the_plugin(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        def pytest_proclife_cause(run, process):
            assert process.run is run
            if process.exitcode == 3:
                return "sys_exit"
    """)
    suite.makepyfile(ONE_EXITED)
    assert shown(suite) == ["sys_exit conftest.py: the cause is sys_exit"]


def test_no_plugin_is_asked_where_the_cause_is_known(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        def pytest_proclife_cause(process):
            raise AssertionError(process)
    """)
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            print("main:", proclife.run(Code("raise SystemExit(3)")).main.cause)
    """)
    assert shown(suite) == ["sys_exit"]


def test_a_plugin_that_cannot_tell_leaves_it_to_the_next(suite: pytest.Pytester) -> None:
    copy_into(suite, "three_namers_conftest.py")
    suite.makepyfile(ONE_EXITED)
    assert shown(suite) == ["returned second: the cause is returned"]
    assert shown(suite, "asked ") == ["first"]


def test_where_no_plugin_can_tell_the_cause_stays(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        def pytest_proclife_cause(process):
            return None
    """)
    suite.makepyfile(ONE_EXITED)
    assert shown(suite) == ["exited kernel: exited with 3"]


def test_a_conftest_is_asked_for_the_tests_below_it_alone(suite: pytest.Pytester) -> None:
    for name in ("one", "two"):
        folder = suite.mkdir(name)
        (folder / "conftest.py").write_text(
            f"def pytest_proclife_cause(run):\n    print('asked: {name}')\n"
        )
        (folder / f"test_{name}.py").write_text(
            "def test_it(proclife):\n    proclife.run(['sh', '-c', 'exit 3'])\n"
        )
    (suite.path / "two" / "conftest.py").write_text(
        "def pytest_proclife_cause(run):\n    return 'raised'\n"
    )
    (suite.path / "two" / "test_two.py").write_text(
        "def test_it(proclife):\n"
        "    run = proclife.run(['sh', '-c', 'exit 3'])\n"
        "    print('main:', run.main.cause, run.main.evidence[-1].plugin)\n"
    )
    assert shown(suite, "asked: ") == ["one"]
    assert shown(suite) == ["raised two/conftest.py"]


def test_a_wrapper_around_the_hook_is_kept(suite: pytest.Pytester) -> None:
    copy_into(suite, "wrapper_conftest.py")
    suite.makepyfile(ONE_EXITED)
    assert shown(suite) == ["os_exit conftest.py: the cause is os_exit"]


def test_a_word_that_is_no_cause_is_an_error_that_names_the_plugin(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        def pytest_proclife_cause(process):
            return "tired"
    """)
    suite.makepyfile(ONE_EXITED)
    result = suite.runpytest("-Werror")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *ValueError: conftest.py answered pytest_proclife_cause with 'tired', *",
        ]
    )


def test_a_hook_of_ours_that_is_spelled_wrong_is_an_error(suite: pytest.Pytester) -> None:
    suite.makeconftest("def pytest_proclife_causes(process): ...")
    result = suite.runpytest()
    assert result.ret != 0
    assert "unknown hook 'pytest_proclife_causes'" in result.stdout.str() + result.stderr.str()
