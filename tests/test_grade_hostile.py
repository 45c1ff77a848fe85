"""Hostile answers beside good ones, as the grader's user and as another: no mark changes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import TARGETS, Mark
from marking import DAEMON, results

pytestmark = [pytest.mark.once, pytest.mark.skipif(sys.platform != "linux", reason="/proc")]

EXERCISE = """
import pytest
from pytest_proclife import assert_abandoned

@pytest.mark.proclife_points(3)
def test_the_session_is_cut_off(submission):
    assert_abandoned(submission.run(timeout=10).children)
"""
HOSTILE = TARGETS / "hostile"
FINDING = (HOSTILE / "finding.py").read_text()

# Where the machine is so busy that the limit comes after the timeout, that is said, and true.
OR_TOO_LONG = r"|your program had not ended after \d"
TOO_LONG = r"your program had not ended after \d|processor time"
NO_CHILD = "no process"
KILLED = r"your program was ended by SIGKILL"
GRADER_KILLED = r"the process that graded it was killed \(SIGKILL\)"
STOPPED = r"what grades or watches the answer was stopped \(SIGSTOP\)"

# A short program, or None for a file in targets/hostile; what the result says if it runs as the
# grader's user, and if it runs as another.
ANSWERS: dict[str, tuple[str | None, str, str]] = {
    "loops": ("while True: pass", TOO_LONG, TOO_LONG),
    "prints": (
        "while True: print('x' * 1000)",
        "printed more than 20 MB",
        "printed more than 20 MB",
    ),
    "asks": ("input('name?')", "asks for input", "asks for input"),
    "kills_itself": ("os.kill(os.getpid(), 9)", KILLED, KILLED),
    "kills_group": ("os.killpg(0, 9)", KILLED, KILLED),
    "stops_itself": ("os.kill(0, signal.SIGSTOP)", TOO_LONG, TOO_LONG),
    "kills_watcher": (
        "os.kill(os.getppid(), 9); signal.pause()",
        "what watches the answer was killed",
        "PermissionError",
    ),
    "kills_grader": ("os.kill(own_grader(), 9); signal.pause()", GRADER_KILLED, "Perm|signal"),
    "kills_from_the_top": (
        "for pid in above()[above().index(own_grader())::-1][:-1]: os.kill(pid, 9)",
        GRADER_KILLED,
        "PermissionError",
    ),
    "stops_watcher": (
        "os.kill(os.getppid(), signal.SIGSTOP); signal.pause()",
        STOPPED,
        "PermissionError",
    ),
    "stops_grader": (
        "os.kill(own_grader(), signal.SIGSTOP); signal.pause()",
        STOPPED,
        r"PermissionError|had not ended",
    ),
    "forges": ((TARGETS / "answers/forges.py").read_text(), "reports of main", "reports of main"),
    "closes_all": (None, "reports of mainprocess", "reports of mainprocess"),
    "connects": (None, NO_CHILD, NO_CHILD),
    "tells_twice": (None, "was reported twice|something other than the grader", NO_CHILD),
    "overwrites_brothers": (None, NO_CHILD, NO_CHILD),
    "deletes_everything": (None, "", NO_CHILD),
    "kills_waiting": (None, NO_CHILD, NO_CHILD),
    "stops_waiting": (None, NO_CHILD, NO_CHILD),
    "kills_neighbours": (None, NO_CHILD, NO_CHILD),
    "interrupts_neighbours": (None, NO_CHILD, NO_CHILD),
    "stops_neighbours": (None, NO_CHILD, NO_CHILD),
    "fork_storm": (
        None,
        "more than 100 processes at the same",
        "more than 100 processes at the same",
    ),
    "eats_memory": (None, "MemoryError|more than 512 MB of", "MemoryError|more than 512 MB of"),
    "eats_memory_in_children": (None, "more than 512 MB of memory", "more than 512 MB of memory"),
    "fills_disk": (None, "File too large", "File too large"),
    "burns": (None, "more than 3 s of processor time", "more than 3 s of processor time"),
    "escapes": (None, "", ""),
    "comes_back": (None, "", ""),
    "traces_grader": (None, r"was stopped \(SIGSTOP\)|had not ended", TOO_LONG),
    "limits_grader": (None, "the process that graded it was killed", TOO_LONG),
    "starves_grader": (None, "", NO_CHILD),
    "claims": (None, NO_CHILD, NO_CHILD),
    "removes_itself": (None, NO_CHILD, NO_CHILD),
    "crashes": (None, "was ended by SIGSEGV", "was ended by SIGSEGV"),
    "becomes_another": (None, NO_CHILD, NO_CHILD),
}
LIMITS = (
    # on a busy machine half a gigabyte takes more than a second of processor time
    *("--memory", "512M", "--cpu", "3", "--processes", "100"),
    *("--file-size", "20M", "--max-output", "20M"),
)


def written(name: str) -> str:
    text = ANSWERS[name][0]
    return FINDING + (text if text is not None else (HOSTILE / f"{name}.py").read_text())


def hand_in(tmp_path: Path, *names: str) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / f"{name}.py").write_text(written(name))
        (tmp_path / "in" / f"{name}_good.py").write_text(DAEMON)


def environment(tmp_path: Path, mark: Mark) -> dict[str, str]:
    """With the places that answers look for. The user's folder of copies has to be entered."""
    copies = Path(tempfile.mkdtemp(prefix="hostile-"))
    copies.chmod(0o711)
    places = {"HANDED_IN": tmp_path / "in", "RESULTS": tmp_path / "out", "COPIES": copies}
    return {**mark.env, **{name: str(path) for name, path in places.items()}, "TMPDIR": str(copies)}


def wrong(found: dict[str, Any], name: str, reason: str) -> list[object]:
    """What is wrong: an answer passes, its result does not say what it has done, or its neighbour
    has lost a point."""
    result, good = found[name], found[f"{name}_good"]
    texts = [result["reason"], *result["marks"][0]["sentences"], result["marks"][0]["detail"]]
    text = "\n".join(texts)
    if "more than" in reason:
        reason += OR_TOO_LONG
    problems: list[object] = []
    if result["score"] != 0 or not text.strip() or not re.search(reason, text, re.IGNORECASE):
        problems.append((name, result["status"], result["score"], texts))
    if (good["status"], good["score"]) != ("graded", 3):
        problems.append((name, good))
    return problems


@pytest.mark.slow
@pytest.mark.parametrize("user", [False, True], ids=["own", "user"])
def test_no_hostile_answer_passes_or_changes_the_mark_of_another(
    user: bool, tmp_path: Path, mark: Mark
) -> None:
    if user and os.geteuid() != 0:
        pytest.skip("only root can run answers as another user")
    hand_in(tmp_path, *ANSWERS)
    env = environment(tmp_path, mark)
    command = [sys.executable, "-m", "pytest_proclife", "grade", "exercise.py", "in", *LIMITS]
    command += ["-j", "2", "-o", "out", *(["--user", "nobody"] if user else [])]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert len(found) == 2 * len(ANSWERS)
    problems: list[object] = []
    for name, (_, own, others) in ANSWERS.items():
        problems += wrong(found, name, others if user else own)
    assert not problems, "\n\n".join(map(str, problems))
    assert mark.gone_within(5.0), mark.living()
    assert list(Path(env["COPIES"]).iterdir()) == []
    Path(env["COPIES"]).rmdir()
    if user:
        for name in ANSWERS:
            assert (tmp_path / f"in/{name}_good.py").read_text() == DAEMON
