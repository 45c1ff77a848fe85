"""What the fixture started and did not wait for: it is gone when the test is over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import TARGETS, Mark, copy_into

from pytest_proclife import Code, Proclife, RunTimeout

STUBBORN = str(TARGETS / "stubborn.py")
SOON = 2.0  # s, the promise


@pytest.mark.proclife(timeout=0.1, linger=0.0, start_methods="spawn")
def test_start_has_the_defaults_of_the_test(proclife: Proclife) -> None:
    code = "import multiprocessing as m; print(m.get_start_method(), flush=True); input()"
    reader, writer = os.pipe()
    with open(reader), open(writer, "w"):
        main = proclife.start(Code(code + "; import signal; signal.pause()"), input="go on\n")
        main.wait_for_output("spawn\n", timeout=30)
        with pytest.raises(RunTimeout, match=r"within 0\.1 s"):
            main.wait()


def test_a_main_that_was_started_is_seen_among_the_runs(proclife: Proclife) -> None:
    first = proclife.start(Code("import signal; signal.pause()"))
    second = proclife.run(Code("pass"))
    assert [run.main.cause for run in proclife.runs] == [None, "returned"]
    assert proclife.runs[1] == second
    first.terminate()
    over = first.wait()
    assert proclife.runs[0] == over
    assert over.main.cause == "terminated"


@pytest.mark.parametrize("how", ["start", "run in a thread"])
def test_nothing_that_a_test_started_is_left_when_it_is_over(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mark: Mark, fifo: Path, how: str
) -> None:
    for name, value in {**mark.env, "STUBBORN": STUBBORN, "FIFO": str(fifo), "HOW": how}.items():
        monkeypatch.setenv(name, value)
    copy_into(suite, "kept.py")
    copy_into(suite, "kept_conftest.py")
    result = suite.runpytest_subprocess("-Werror", "-s", "-p", "no:cacheprovider")
    assert mark.gone_within(SOON)
    result.assert_outcomes(passed=2, failed=1, skipped=1, errors=1)
    told = [line.partition("finished: ")[2] for line in result.outlines if "finished: " in line]
    assert sorted(told) == [
        f"test_{name} cleaned_up" for name in ("breaks", "fails", "is_skipped", "passes")
    ]


def test_a_failing_test_shows_what_still_runs(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        from pytest_proclife import Code

        def test_it(proclife):
            main = proclife.start(Code("print(1, flush=True); import signal; signal.pause()"))
            main.wait_for_output("1")
            assert False
    """)
    result = suite.runpytest("-Werror")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- proclife: run 1 of 1 -*", "*MainProcess *running"])


@pytest.mark.parametrize("verb", ["run", "start"])
def test_what_comes_too_late_is_ended(
    proclife: Proclife, monkeypatch: pytest.MonkeyPatch, mark: Mark, verb: str
) -> None:
    active = proclife._active

    def look() -> None:
        monkeypatch.undo()
        active.end()  # as when the test ends just after a thread has looked

    monkeypatch.setattr(active, "check", look)
    with pytest.raises(RuntimeError, match="has ended"):
        getattr(proclife, verb)(Code("import signal; signal.pause()"), env=mark.env)
    assert mark.living() == []
