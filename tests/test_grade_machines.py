"""Grading on more than one machine: shards and their merging, and a dask cluster."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Mark
from marking import DAEMON, EXERCISE, grade, results

pytestmark = pytest.mark.once  # each runs pytest several times

NAMES = ("ada", "bob", "cem", "dee", "eve", "fay", "gus")


def merge(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_proclife", "merge", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)


def hand_in(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    for number, name in enumerate(NAMES):
        text = DAEMON if number % 2 else "pass"
        (tmp_path / f"in/{name}.py").write_text(text)


def summary(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return values


def scores(folder: Path) -> dict[str, float]:
    return {each["submission"]: each["score"] for each in summary(folder)["results"]}


WANTED = {name: 3 if number % 2 else 0 for number, name in enumerate(NAMES)}


@pytest.mark.slow
def test_shards_are_merged_in_any_order_twice_and_with_one_missing(tmp_path: Path) -> None:
    hand_in(tmp_path)
    for number in (3, 1, 2):
        done = grade(tmp_path, "exercise.py", "in", "--shard", f"{number}/3", "-o", f"out{number}")
        assert done.returncode == 0, done.stderr
        assert f"proclife: shard {number}/3\n" in done.stderr
    found = [scores(tmp_path / f"out{number}") for number in (1, 2, 3)]
    assert sorted(name for each in found for name in each) == list(NAMES)
    assert [len(each) for each in found] == [3, 2, 2]

    done = merge(tmp_path, "out2", "out1", "out3", "-o", "all")
    assert done.returncode == 0
    assert done.stderr.startswith("7 graded: all/summary.csv\n")
    assert scores(tmp_path / "all") == WANTED
    first = (tmp_path / "all/summary.json").read_bytes()
    for order in (("out1", "out2", "out3", "out1"), ("out3", "out2", "out1"), ("all", "out2")):
        assert merge(tmp_path, *order, "-o", "all").returncode == 0
        assert (tmp_path / "all/summary.json").read_bytes() == first
    assert merge(tmp_path, "out3", "out2", "out1", "-o", "others").returncode == 0
    assert (tmp_path / "others/summary.json").read_bytes() == first

    done = merge(tmp_path, "out3", "out1", "-o", "some")
    assert done.returncode == 1
    left = sorted(set(NAMES) - set(scores(tmp_path / "some")))
    assert done.stderr.startswith("5 graded, 2 without a result: some/summary.csv\n")
    assert done.stderr.endswith(
        "proclife: shards that are missing: 2/3\n"
        + "".join(f"proclife: {name} has no result\n" for name in left)
    )
    assert summary(tmp_path / "some")["missing"] == left
    assert merge(tmp_path, "out2", "-o", "some").returncode == 0  # the rest, later
    assert scores(tmp_path / "some") == WANTED
    assert (tmp_path / "some/summary.json").read_bytes() == first
    # what was merged is known to a grading that has this folder
    done = grade(tmp_path, "exercise.py", "in", "-o", "some")
    assert "7 of 7 already have a result" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ([{"SLURM_ARRAY_TASK_ID": str(n), "SLURM_ARRAY_TASK_COUNT": "2"} for n in (4, 5)], "SLURM"),
        ([{"JOB_COMPLETION_INDEX": str(n), "JOB_COMPLETIONS": "2"} for n in (0, 1)], "JOB_COMPL"),
    ],
    ids=["slurm", "kubernetes"],
)
def test_the_jobs_of_a_cluster_find_out_their_shards(
    variables: list[dict[str, str]], said: str, tmp_path: Path
) -> None:
    hand_in(tmp_path)
    for values in variables:
        env = {**os.environ, **values}
        done = grade(tmp_path, "exercise.py", "in", "-o", "out", env=env)
        assert done.returncode == 0, done.stderr
        assert f"/2, by {said}" in done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == ["shard-1-of-2", "shard-2-of-2"]
    assert merge(tmp_path, "out", "-o", "all").returncode == 0
    assert scores(tmp_path / "all") == WANTED


@pytest.mark.slow
def test_what_cannot_be_believed_is_not_merged(tmp_path: Path) -> None:
    hand_in(tmp_path)
    for number in (1, 2):
        grade(tmp_path, "exercise.py", "in", "--shard", f"{number}/2", "-o", f"out{number}")
    shutil.copytree(tmp_path / "out2", tmp_path / "changed")
    path = next((tmp_path / "changed/results").iterdir())
    path.write_text(path.read_text().replace('"seconds": 0', '"seconds": 1'))
    done = merge(tmp_path, "out1", "changed", "-o", "all")
    assert done.returncode == 125
    assert re.search(r"proclife: '.*\.json' was not written by proclife, or was", done.stderr)
    (tmp_path / "changed/seal.key").unlink()
    done = merge(tmp_path, "out1", "changed", "-o", "all")
    assert done.returncode == 125
    assert "has no seal.key: copy the folder with that file" in done.stderr
    (tmp_path / "exercise.py").write_text(EXERCISE + "\n")
    grade(tmp_path, "exercise.py", "in", "--shard", "2/2", "-o", "out3")
    done = merge(tmp_path, "out1", "out3", "-o", "all")
    assert done.stderr.startswith("proclife: these results are of different exercises")
    assert merge(tmp_path, "in").stderr == (
        "proclife: there are no results of proclife grade in 'in'\n"
    )
    assert merge(tmp_path, "nowhere").stderr == "proclife: no such folder: 'nowhere'\n"
    assert not (tmp_path / "all").exists()


@pytest.mark.slow
def test_a_submission_that_was_graded_twice_with_different_results_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text("pass")
    grade(tmp_path, "exercise.py", "ada.py", "-o", "out1")
    grade(tmp_path, "exercise.py", "ada.py", "-o", "out2")
    done = merge(tmp_path, "out1", "out2", "-o", "all")
    assert "more than once" not in done.stderr
    (tmp_path / "ada.py").write_text(DAEMON)
    grade(tmp_path, "exercise.py", "ada.py", "-o", "out2")
    done = merge(tmp_path, "out1", "out2", "-o", "all")
    assert "proclife: ada was graded more than once, with different results\n" in done.stderr
    first = (tmp_path / "all/summary.json").read_bytes()
    assert merge(tmp_path, "out2", "out1", "-o", "all").returncode == 0
    assert (tmp_path / "all/summary.json").read_bytes() == first


@pytest.mark.slow
def test_two_gradings_cannot_write_to_the_same_folder_at_a_time(tmp_path: Path, mark: Mark) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE.replace("timeout=3", "timeout=60"))
    os.mkfifo(tmp_path / "started")
    waits = f"import signal; open({str(tmp_path / 'started')!r}, 'w').close(); signal.pause()"
    (tmp_path / "ada.py").write_text(waits)
    command = [sys.executable, "-m", "pytest_proclife", "grade", "exercise.py", "ada.py"]
    with subprocess.Popen(
        [*command, "-o", "out"], cwd=tmp_path, env=mark.env, stderr=subprocess.DEVNULL
    ) as process:
        (tmp_path / "started").read_text()
        done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out")
        process.terminate()
    assert done.returncode == 125
    assert done.stderr == "proclife: another proclife grade writes its results to 'out'\n"


@contextlib.contextmanager
def cluster(tmp_path: Path, mark: Mark, workers: int) -> Iterator[tuple[str, list[int]]]:
    """The address of a scheduler, and the pids of its workers, each with a thread."""
    folder = tmp_path / ".dask"  # which does not belong to the exercise
    folder.mkdir()
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    commands = [[*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *common]]
    worker = ["worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny"]
    commands += [[*dask, *worker, "--name", str(n), *common] for n in range(workers)]
    with contextlib.ExitStack() as stack, (folder / "dask.log").open("w") as log:
        started = []
        for command in commands:
            process = subprocess.Popen(command, cwd=folder, env=mark.env, stdout=log, stderr=log)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            started.append(process)
            while not file.exists():  # the scheduler writes it once it listens
                assert started[0].poll() is None, (folder / "dask.log").read_text()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    started[0].wait(0.05)
        import distributed

        address = json.loads(file.read_text())["address"]
        client: Any = distributed.Client
        with client(address) as connected:
            connected.wait_for_workers(workers, timeout=60)
        yield address, [process.pid for process in started[1:]]


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_has_one_result_for_each_submission(
    tmp_path: Path, mark: Mark
) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    names = [f"student{number}" for number in range(12)]
    for name in names:
        (tmp_path / f"in/{name}.py").write_text(f"import time\ntime.sleep(0.5)\n{DAEMON}")
    (tmp_path / "in/wrong.py").write_text("x = (")
    command = [sys.executable, "-m", "pytest_proclife", "grade", "exercise.py", "in", "-o", "out"]
    with cluster(tmp_path, mark, 2) as (address, workers):
        with subprocess.Popen(
            [*command, "--dask", address],
            cwd=tmp_path,
            env=mark.env,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if line.startswith("[3/13]"):
                    os.kill(workers[0], signal.SIGKILL)
        assert process.returncode == 0, "".join(lines)
    said = [line.split()[1].rstrip(":") for line in lines if line.startswith("[")]
    assert sorted(said) == sorted([*names, "wrong"])
    found = results(tmp_path)
    assert {name: found[name]["score"] for name in names} == dict.fromkeys(names, 3)
    assert found["wrong"]["status"] == "ungradable"
    assert mark.gone_within(10.0)
    # the same results as those of this machine: none is graded again
    assert "13 of 13 already have a result" in grade(tmp_path, *command[4:]).stderr


@pytest.mark.slow
def test_a_cluster_that_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text("pass")
    done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out", "--dask", "tcp://127.0.0.1:9")
    assert done.returncode == 125
    assert "proclife: --dask: no scheduler answers at 'tcp://127.0.0.1:9'" in done.stderr
    assert "Traceback" not in done.stderr
