"""Every answer is held against the exercise as `proclife grade` read it at its start."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import struct
from pathlib import Path

import pytest
from marking import DAEMON, EXERCISE, grade, graded, results

from pytest_proclife.exercises.integrity import Seal

pytestmark = pytest.mark.once  # each runs pytest several times

EASY = EXERCISE.replace("assert ", "").replace("assert_abandoned(", "(")


def writes(path: Path, text: str) -> str:
    """An answer that writes over a file."""
    return f"import pathlib; pathlib.Path({str(path)!r}).write_text({text!r})\n"


def test_an_answer_that_rewrites_the_exercise_or_another_result_gains_nothing(
    tmp_path: Path,
) -> None:
    result = str(tmp_path / "out/results/1.json")
    forges = (
        "import pathlib\n"
        f"path = pathlib.Path({result!r})\n"
        "path.write_text(path.read_text().replace('\"points\": 0', '\"points\": 2'))"
    )
    cheats = writes(tmp_path / "exercise.py", EASY)
    (tmp_path / "in").mkdir()
    for name, text in {"1": "pass", "2": forges, "3": cheats, "4": "pass"}.items():
        (tmp_path / "in" / f"{name}.py").write_text(text)
    (tmp_path / "exercise.py").write_text(EXERCISE)
    done = grade(tmp_path, "exercise.py", "in", "-o", "out")
    assert done.returncode == 0
    assert json.loads((tmp_path / "out/results/1.json").read_text())["score"] == 0
    assert [(one["status"], one["score"]) for one in results(tmp_path).values()] == [
        ("graded", 0)
    ] * 4
    assert (tmp_path / "exercise.py").read_text() == EXERCISE
    assert (tmp_path / "out/changed/exercise.py").read_text() == EASY
    assert "exercise.py was changed before the end of '3': it is as it was" in done.stderr


def test_an_exercise_is_loaded_once_whatever_answers_make_of_its_file(tmp_path: Path) -> None:
    log = tmp_path / "loads"
    tells = f"import os\nopen({str(log)!r}, 'a').write(f'{{os.getpid()}} ')\n"
    # over and over again, so that it would meet each grader that loads while this answer runs
    cheats = (
        "import os, pathlib\n"
        f"path = pathlib.Path({str(tmp_path / 'exercise.py')!r})\n"
        f"while len(open({str(log)!r}).read().split()) < 2:\n"
        f"    path.with_suffix('.new').write_text({tells + EASY!r})\n"
        "    os.replace(path.with_suffix('.new'), path)\n"
    )
    answers = {"1": cheats, "2": "pass", "3": "pass", "4": "pass", "5": "pass"}
    found = graded(tmp_path, "-j", "2", exercise=tells + EXERCISE, **answers)
    assert [(one["status"], one["score"]) for one in found.values()] == [("graded", 0)] * 5
    assert len(log.read_text().split()) == 1


BESIDE = """
import json, pathlib
import pytest
from helper import wanted

@pytest.mark.proclife_points(1)
def test_helper(submission, limit):
    assert submission.run().stdout == wanted() == limit, "helper"

@pytest.mark.proclife_points(1)
def test_later(submission):
    submission.run()
    import later
    assert later.WANTED == submission.run().stdout, "later"

@pytest.mark.proclife_points(1)
def test_data(submission):
    out = submission.run().stdout
    assert json.loads(pathlib.Path(__file__).with_name("data.json").read_text()) == out, "data"
"""
CONFTEST = "import pytest\n@pytest.fixture\ndef limit(): return {!r}\n"


def beside(folder: Path, word: str) -> dict[Path, str]:
    """What lies beside that exercise, where it wants that word."""
    return {
        folder / "helper.py": f"def wanted(): return {word!r}",
        folder / "later.py": f"WANTED = {word!r}",
        folder / "data.json": json.dumps(word),
        folder / "conftest.py": CONFTEST.format(word),
    }


def test_what_lies_beside_an_exercise_is_as_it_was_for_each_answer(tmp_path: Path) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    cheats = "".join(writes(path, text) for path, text in beside(tmp_path, "").items())
    answers = {"1": "print(42)", "2": cheats, "3": "print(42)", "4": "pass", "5": "print(42)"}
    found = graded(tmp_path, exercise=BESIDE, **answers)
    assert {name: (one["status"], one["score"]) for name, one in found.items()} == {
        "1": ("graded", 3),
        "2": ("error", 0),  # what its tests read was not the exercise's
        "3": ("graded", 3),
        "4": ("graded", 0),
        "5": ("graded", 3),
    }
    assert found["2"]["reason"] == (
        "'data.json', which the exercise reads, was changed while this answer was graded"
    )
    assert all(path.read_text() == text for path, text in beside(tmp_path, "42\n").items())


def test_an_answer_that_deletes_the_folder_of_the_exercise_costs_nobody_anything(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "exercise"
    folder.mkdir()
    for path, text in {**beside(folder, "42\n"), folder / "exercise.py": BESIDE}.items():
        path.write_text(text)
    deletes = f"import shutil; print(42); shutil.rmtree({str(folder)!r})"
    (tmp_path / "in").mkdir()
    for name, text in {"1": deletes, "2": "print(42)", "3": "print(42)"}.items():
        (tmp_path / "in" / f"{name}.py").write_text(text)
    assert grade(tmp_path, "exercise/exercise.py", "in", "-o", "out").returncode == 0
    scores = [(one["status"], one["score"]) for one in results(tmp_path).values()]
    assert scores[1:] == [("graded", 3)] * 2
    assert (folder / "exercise.py").read_text() == BESIDE


def test_a_conftest_that_an_answer_brings_is_taken_away(tmp_path: Path) -> None:
    gives = (
        "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_pyfunc_call(pyfuncitem): return True\n"
    )
    answers = {"1": writes(tmp_path / "conftest.py", gives), "2": "pass"}
    assert [one["score"] for one in graded(tmp_path, **answers).values()] == [0, 0]
    assert not (tmp_path / "conftest.py").exists()
    assert (tmp_path / "out/changed/conftest.py").read_text() == gives


def test_bytecode_beside_an_exercise_is_not_believed(tmp_path: Path) -> None:
    def forge(source: Path, text: str, *tags: str) -> None:
        status = source.stat()
        head = struct.pack("<LLL", 0, int(status.st_mtime), status.st_size)
        data = importlib.util.MAGIC_NUMBER + head
        whole = data + marshal.dumps(compile(text, str(source), "exec"))
        for tag in tags:
            name = importlib.util.cache_from_source(str(source)).replace(".pyc", f"{tag}.pyc")
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(whole)

    for path, text in {**beside(tmp_path, "42\n"), tmp_path / "exercise.py": BESIDE}.items():
        path.write_text(text)
    easy = BESIDE.replace("assert ", "")
    forge(tmp_path / "exercise.py", easy, "", f"-pytest-{pytest.__version__}")
    forge(tmp_path / "helper.py", "def wanted(): return ''", "")
    forge(tmp_path / "later.py", "WANTED = ''", "")
    assert graded(tmp_path, exercise=BESIDE, ada="pass")["ada"]["score"] == 0


def test_what_an_exercise_does_not_read_may_change(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("")
    answers = {"1": writes(tmp_path / "log.txt", "changed"), "2": DAEMON}
    assert [one["score"] for one in graded(tmp_path, **answers).values()] == [0, 3]
    assert (tmp_path / "log.txt").read_text() == "changed"
    assert not (tmp_path / "out/changed").exists()


def test_what_an_exercise_loads_is_a_part_of_what_results_depend_on(tmp_path: Path) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    first = graded(tmp_path, exercise=BESIDE, ada="print(42)")["ada"]
    (tmp_path / "notes.txt").write_text("it is not read")
    assert graded(tmp_path, exercise=BESIDE, ada="print(42)")["ada"] == first
    (tmp_path / "helper.py").write_text("def wanted(): return 'another'")
    assert graded(tmp_path, exercise=BESIDE, ada="print(42)")["ada"]["score"] == 2


def test_what_was_changed_and_changed_back_is_seen(tmp_path: Path) -> None:
    exercise, data = tmp_path / "exercise.py", tmp_path / "data"
    exercise.write_text("")
    data.write_text("1")
    seal = Seal(exercise, [])
    seal.begin()
    seal.use(str(data))
    assert seal.broken() is None
    data.write_text("2")
    data.write_text("1")
    os.utime(data, ns=(0, 0))
    assert seal.broken() == "data"
    assert seal.changed() == []
    seal.begin()
    seal.use(str(data))
    assert seal.broken() is None
