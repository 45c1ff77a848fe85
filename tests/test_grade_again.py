"""Grading that was interrupted goes on, and believes only what it wrote itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Mark, mostly_slow
from marking import DAEMON, EXERCISE, grade, graded, results

pytestmark = pytest.mark.once  # each runs pytest several times

GRADE = [sys.executable, "-m", "pytest_proclife", "grade"]

# It knows all that can be known: how a key is made, and what the result of another looks like.
FORGES = """
import json, os, pathlib, signal, sys, time
from pytest_proclife.exercises.archive import Archive
from pytest_proclife.exercises.intake import HandedIn
from pytest_proclife.exercises.seal import Seal

out, handed_in, finished = map(pathlib.Path, {paths!r})
model = json.loads((out / "results/1.json").read_text())
keys = {{}}
for name in ("1", "2"):
    path = handed_in / f"{{name}}.py"
    keys[name] = Archive().add(name, HandedIn(path=path, origin=path))
values = dict(model, submission="2", key=model["key"].replace(keys["1"], keys["2"]), score=3)
for mark in values["marks"]:
    mark.update(points=mark["max_points"], outcome="passed", sentences=[])
for seal in (Seal(), Seal.of(out)):
    if seal is not None:
        values = seal.sign({{k: v for k, v in values.items() if k != "seal"}})
(out / "results/2.json").write_text(json.dumps(values))
finished.touch()
pid = os.getpid()
while True:
    pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    if b"\\0grade\\0" in open(f"/proc/{{pid}}/cmdline", "rb").read():
        command = pid
    elif pid <= 1 or "command" in globals():
        break
os.kill(command, {signal})
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_result_that_an_answer_forged_is_not_believed_at_the_next_start(
    number: signal.Signals, tmp_path: Path, mark: Mark
) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE.replace("timeout=3", "timeout=10"))
    (tmp_path / "in").mkdir()
    paths = [str(tmp_path / name) for name in ("out", "in", "forged")]
    (tmp_path / "in/1.py").write_text(DAEMON)
    (tmp_path / "in/2.py").write_text(FORGES.format(paths=paths, signal=int(number)))
    first = grade(tmp_path, "exercise.py", "in", "-o", "out", env=mark.env)
    assert first.returncode != 0
    assert (tmp_path / "forged").exists()
    assert mark.gone_within(10.0)
    forged = json.loads((tmp_path / "out/results/2.json").read_text())
    assert forged["score"] == 3
    again = grade(tmp_path, "exercise.py", "in", "-o", "out", env=mark.env)
    assert again.returncode != 0  # it was run again, and has interrupted that too
    (tmp_path / "in/2.py").write_text("pass")
    assert grade(tmp_path, "exercise.py", "in", "-o", "out", env=mark.env).returncode == 0
    assert [result["score"] for result in results(tmp_path).values()] == [3, 0]


def test_a_result_without_the_seal_of_its_folder_is_graded_again(tmp_path: Path) -> None:
    first = graded(tmp_path, ada="pass")["ada"]
    path = tmp_path / "out/results/ada.json"
    values = json.loads(path.read_text())
    values["marks"][0].update(points=2, outcome="passed")
    path.write_text(json.dumps(values))
    again = graded(tmp_path, ada="pass")["ada"]
    assert (first["score"], again["score"]) == (0, 0)


@pytest.mark.slow
def test_the_key_of_the_seal_is_nowhere_while_an_answer_runs(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    look = f"import os; print(sorted(os.listdir({out!r})), open({out + '/seal.key'!r}).read())"
    text = "def test_it(submission): assert not submission.run().stdout"
    assert graded(tmp_path, exercise=text, ada=look)["ada"]["status"] == "graded"
    assert (tmp_path / "out/seal.key").exists()
    again = graded(tmp_path, exercise=text, ada=look + " ")["ada"]
    message = again["marks"][0]["message"]
    names = "['pictures', 'results', 'seal.key', 'summary.csv', 'summary.json']"
    assert message.startswith(f'assert not "{names} ------')


def test_a_submission_is_graded_again_by_its_name(tmp_path: Path) -> None:
    graded(tmp_path, ada="pass", bob="pass")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/results").iterdir()}
    arguments = ("exercise.py", "in/ada.py", "in/bob.py", "-o", "out")
    done = grade(tmp_path, *arguments, "--force", "ada")
    assert "1 of 2 already have a result" in done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/results").iterdir()}
    assert (after["ada.json"] > before["ada.json"], after["bob.json"]) == (True, before["bob.json"])
    done = grade(tmp_path, *arguments, "--force", "adda")
    assert done.returncode == 125
    assert done.stderr.endswith(
        "proclife: --force: there is no submission 'adda': did you mean 'ada'?\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", mostly_slow([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
def test_grading_that_is_interrupted_leaves_a_summary(
    number: signal.Signals, tmp_path: Path, mark: Mark
) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE.replace("timeout=3", "timeout=60"))
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "started")
    waits = f"import signal; open({str(tmp_path / 'started')!r}, 'w').close(); signal.pause()"
    for name, text in {"1": DAEMON, "2": "x = (", "3": waits, "4": "pass"}.items():
        (tmp_path / f"in/{name}.py").write_text(text)
    command = [*GRADE, "exercise.py", "in", "-o", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=mark.env, stderr=subprocess.PIPE, text=True
    ) as process:
        (tmp_path / "started").read_text()  # until the third answer runs
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert mark.gone_within(10.0)
    assert "1 graded, 1 ungradable, 2 without a result: out/summary.csv\n" in stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (len(summary["results"]), summary["missing"]) == (2, ["3", "4"])
    assert len((tmp_path / "out/summary.csv").read_text().splitlines()) == 3
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; start it again, and it goes on from here" in stderr


@pytest.mark.slow
def test_a_grading_process_that_is_killed_says_that_its_results_are_lost(
    tmp_path: Path, mark: Mark
) -> None:
    kills = (
        "import os\n"
        "pid = os.getpid()\n"
        "above = []\n"
        "while pid > 1:\n"
        "    pid = int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1])\n"
        "    above += [pid] * (b'\\0grade\\0' in open(f'/proc/{pid}/cmdline', 'rb').read())\n"
        "os.kill(above[-2], 9)\n"  # below the command that was started
    )
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.py").write_text(DAEMON)
    (tmp_path / "in/2.py").write_text(kills)
    done = grade(tmp_path, "exercise.py", "in", "-o", "out", env=mark.env)
    assert done.returncode == 125
    assert "the process that grades was killed (SIGKILL). No result of it can be" in done.stderr
    assert mark.gone_within(10.0)
    (tmp_path / "in/2.py").write_text("pass")
    done = grade(tmp_path, "exercise.py", "in", "-o", "out", env=mark.env)
    assert "already have a result" not in done.stderr
    assert [result["score"] for result in results(tmp_path).values()] == [3, 0]


@pytest.mark.slow
def test_temporary_folders_of_a_grading_that_was_killed_go_at_the_next_start(
    tmp_path: Path, mark: Mark
) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "tmp").mkdir()
    os.mkfifo(tmp_path / "started")
    waits = f"import signal; open({str(tmp_path / 'started')!r}, 'w').close(); signal.pause()"
    (tmp_path / "ada.py").write_text(waits)
    env = {**mark.env, "TMPDIR": str(tmp_path / "tmp")}
    command = [*GRADE, "exercise.py", "ada.py", "-o", "out"]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as process:
        (tmp_path / "started").read_text()
        for pid in mark.living():
            with suppress(ProcessLookupError):  # the end of another may have been its own
                os.kill(pid, signal.SIGKILL)
        process.wait(30)
    assert mark.gone_within(10.0)
    assert [path.name[:15] for path in (tmp_path / "tmp").iterdir()] == ["proclife-grade-"]
    (tmp_path / "ada.py").write_text("pass")
    assert grade(tmp_path, *command[4:], env=env).returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="it mounts a small file system")
@pytest.mark.parametrize(("full", "size"), [("out", "16k"), (".tmp", "40k")])
def test_a_full_disk_is_named(full: str, size: str, tmp_path: Path, mark: Mark) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    for folder in ("in", "out", ".tmp"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        (tmp_path / f"in/{number}.py").write_text("pass\n" + f"# {number} " * 20_000)
    script = f'mount -t tmpfs -o size={size} none {full}; exec "$@"'
    env = {**mark.env, "TMPDIR": str(tmp_path / ".tmp")}
    command = ["unshare", "-m", "sh", "-c", script, "sh", *GRADE, "exercise.py", "in", "-o", "out"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    where = "out/" if full == "out" else str(tmp_path / ".tmp")
    assert where in done.stderr, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_submission_that_an_answer_overwrites_is_graded_as_it_was_and_kept(
    tmp_path: Path,
) -> None:
    cheats = f"import pathlib; pathlib.Path({str(tmp_path / 'in/bob.py')!r}).write_text('x')"
    found = graded(tmp_path, ada=cheats, bob=DAEMON)
    assert found["bob"]["score"] == 3
    assert (tmp_path / "in/bob.py").read_text() == "x"
    assert (tmp_path / "out/submissions/bob/bob.py").read_text() == DAEMON
