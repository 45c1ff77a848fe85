"""What pytest shows of a failed assertion, and of records in plain asserts."""

from __future__ import annotations

import pickle
from pathlib import Path

import lives
import pytest

# what a test within a test imports first is gone after it: the classes here are to be the same
from pytest_proclife import LifecycleError, assert_returned


@pytest.fixture
def shown(suite: pytest.Pytester) -> Path:
    """A folder in which tests have the canned run of the daemon exam: `run`."""
    path = suite.path / "run.pickle"
    path.write_bytes(pickle.dumps(lives.daemon_exam()))
    suite.makeconftest(
        """
        import pickle, pathlib, pytest

        @pytest.fixture
        def run():
            return pickle.loads(pathlib.Path("run.pickle").read_bytes())
        """
    )
    return path


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize(
    "line",
    [
        "assert_returned(run['session'])",
        "assert_outlived(run['session'], run.main)",
        "assert_no_orphans(run, within=-1)",
        "assert_joined(())",
        "assert_joined(run)",
    ],
)
def test_the_line_that_pytest_shows_is_the_tests(suite: pytest.Pytester, line: str) -> None:
    name = line.partition("(")[0]
    suite.makepyfile(f"from pytest_proclife import {name}\ndef test_exam(run):\n    {line}")
    result = suite.runpytest()

    assert [text.split(maxsplit=1)[1] for text in result.outlines if text[:1] == ">"] == [line]
    assert "verbs.py" not in result.stdout.str()
    assert "arguments.py" not in result.stdout.str()


@pytest.mark.usefixtures("shown")
def test_the_failure_stands_whole_below_the_line(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from pytest_proclife import assert_returned
        def test_exam(run):
            assert_returned(run["session"])
        """
    )
    result = suite.runpytest()
    with pytest.raises(LifecycleError) as caught:
        assert_returned(lives.daemon_exam()["session"])

    first, *rest = (line for line in result.outlines if line[:1] == "E")
    indent = first.index("pytest_proclife.LifecycleError: ")
    assert first[indent:].partition(": ")[2] == str(caught.value).splitlines()[0]
    assert [line[indent:] for line in rest] == str(caught.value).splitlines()[1:]


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (
            "run['session'].cause == 'returned'",
            ["assert <Cause.ABANDONED: 'abandoned'> == 'returned'"],
        ),
        (
            "not run['session'].daemon",
            ["where True = <process 'session' pid=101: abandoned, exitcode=-15>.daemon"],
        ),
        (
            "not run.children",
            [
                "assert not (<process 'session' pid=101: abandoned, exitcode=-15>,)",
                "<process 'session' pid=101: abandoned, exitcode=-15>,) = <Run of script 'job.py'",
            ],
        ),
        (
            "run['session'] in run.orphans",
            ["assert <process 'session' pid=101: abandoned, exitcode=-15> in ()"],
        ),
    ],
)
def test_a_plain_assert_shows_records_in_short(
    suite: pytest.Pytester, claim: str, words: list[str]
) -> None:
    suite.makepyfile(f"def test_exam(run):\n    assert {claim}")
    said = [" ".join(line.split()) for line in suite.runpytest().outlines if line[:1] == "E"]

    for word in words:
        assert any(word in line for line in said), said
    assert max(map(len, said)) < 200


def test_a_record_that_still_runs_says_so() -> None:
    run = lives.snapshot()

    assert repr(run["job"]) == "<process 'job' pid=101: running>"
    assert repr(run) == "<Run of script 'job.py': 2 processes>"
