"""Every answer is graded with the exercise as `proclife grade` read it at its start."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TARGETS
from marking import DAEMON, EXERCISE, grade, graded, results

pytestmark = pytest.mark.once  # each runs pytest several times

EASY = EXERCISE.replace("assert ", "").replace("assert_abandoned(", "(")


def writes(path: Path, text: str) -> str:
    """An answer that writes over a file."""
    return f"import pathlib; pathlib.Path({str(path)!r}).write_text({text!r})\n"


def writes_copies(name: str, text: str) -> str:
    """An answer that writes over a file of its own grader's copy of the exercise."""
    return (
        "import pathlib\n"
        "place = pathlib.Path.cwd()\n"  # .../answers/0
        "copy = place.parent.parent / 'exercises' / place.name\n"
        f"for path in copy.rglob({name!r}): path.write_text({text!r})\n"
    )


@pytest.mark.slow
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
    assert [(result["status"], result["score"]) for result in results(tmp_path).values()] == [
        ("graded", 0)
    ] * 4
    assert (tmp_path / "exercise.py").read_text() == EASY  # it may be the teacher's own change
    assert (tmp_path / "out/exercise/exercise.py").read_text() == EXERCISE
    text = "exercise.py changed during grading, by you or by an answer; the results are for the "
    text += "exercise as it was at the start, which is in out/exercise\n"
    assert text in done.stderr


@pytest.mark.slow
def test_an_exercise_is_what_it_was_while_an_answer_rewrites_it(tmp_path: Path) -> None:
    log = tmp_path / "loads"
    tells = f"open({str(log)!r}, 'a').write('+')\n"
    # over and over again, so that each grader that loads while this answer runs would meet it
    cheats = (
        "import os, pathlib\n"
        f"path = pathlib.Path({str(tmp_path / 'exercise.py')!r})\n"
        f"while len(open({str(log)!r}).read()) < 4:\n"
        f"    path.with_suffix('.new').write_text({tells + EASY!r})\n"
        "    os.replace(path.with_suffix('.new'), path)\n"
    )
    answers = {"1": cheats, "2": "pass", "3": "pass", "4": "pass", "5": "pass"}
    found = graded(tmp_path, "-j", "2", exercise=tells + EXERCISE, **answers)
    assert [(result["status"], result["score"]) for result in found.values()] == [("graded", 0)] * 5


BESIDE = (TARGETS / "exercises" / "beside.py").read_text()
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
    assert {name: (result["status"], result["score"]) for name, result in found.items()} == {
        "1": ("graded", 3),
        "2": ("graded", 0),
        "3": ("graded", 3),
        "4": ("graded", 0),
        "5": ("graded", 3),
    }
    assert all(path.read_text() == text for path, text in beside(tmp_path, "").items())
    kept = beside(tmp_path / "out/exercise", "42\n")
    assert all(path.read_text() == text for path, text in kept.items())


@pytest.mark.slow
def test_an_answer_that_rewrites_the_copy_it_is_graded_with_is_tampered(tmp_path: Path) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    answers = {"1": writes_copies("data.json", '""'), "2": "print(42)", "3": "print(42)"}
    found = graded(tmp_path, "-j", "2", exercise=BESIDE, **answers)
    assert {name: (result["status"], result["score"]) for name, result in found.items()} == {
        "1": ("tampered", 0),
        "2": ("graded", 3),
        "3": ("graded", 3),
    }
    assert found["1"]["reason"] == (
        "'data.json' of the exercise was changed while this answer was graded"
    )


@pytest.mark.slow
def test_an_answer_whose_copy_another_one_rewrites_is_graded_again(tmp_path: Path) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    os.mkfifo(tmp_path / "done")
    waits = f"print(42 if open({str(tmp_path / 'done')!r}).read() else 0)"
    cheats = (
        "import os, pathlib\n"
        "place = pathlib.Path.cwd()\n"
        "(path,) = (place.parent.parent / 'exercises/1').rglob('data.json')\n"
        f"pipe = open({str(tmp_path / 'done')!r}, 'w')\n"  # the other runs
        "path.write_text('0')\n"
        f"os.unlink({str(tmp_path / 'done')!r})\n"
        f"open({str(tmp_path / 'done')!r}, 'w').write('1')\n"  # for the second time
        "pipe.write('1')\n"
    )
    found = graded(tmp_path, "-j", "2", exercise=BESIDE, **{"1": cheats, "2": waits})
    assert (found["2"]["status"], found["2"]["score"]) == ("graded", 3), found["2"]


@pytest.mark.slow
def test_an_answer_whose_copy_another_one_rewrites_each_time_keeps_its_points(
    tmp_path: Path,
) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    cheats = (
        "import pathlib\n"
        "copies = pathlib.Path.cwd().parent.parent / 'exercises'\n"
        "for path in copies.rglob('data.json'): path.write_text('0')\n"
    )
    found = graded(tmp_path, exercise=BESIDE, **{"1": cheats, "2": "print(42)"})
    assert {name: (result["status"], result["score"]) for name, result in found.items()} == {
        "1": ("tampered", 0),
        "2": ("graded", 3),
    }


def test_tests_have_a_copy_and_the_folder_is_left_alone(tmp_path: Path) -> None:
    text = """
import pathlib
HERE = pathlib.Path(__file__).parent
def test_copy(submission):
    assert (HERE / "data.txt").read_text() == "data"
    (HERE / "out.txt").write_text("output")
    assert submission.run(cwd=HERE).exitcode == 0
    assert (HERE / "answer.txt").exists()
"""
    (tmp_path / "data.txt").write_text("data")
    (tmp_path / "exercise.py").write_text(text)
    (tmp_path / "ada.py").write_text("open('answer.txt', 'w').close()")
    before = sorted(os.listdir(tmp_path))
    done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out")
    assert results(tmp_path)["ada"]["marks"][0]["outcome"] == "passed", results(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "out"])
    assert "changed" not in done.stderr


def test_a_failure_names_the_exercise_and_not_the_copy(tmp_path: Path) -> None:
    text = "def test_it(submission):\n    assert not __file__, __file__"
    (mark,) = graded(tmp_path, exercise=text, ada="pass")["ada"]["marks"]
    assert mark["sentences"] == [str(tmp_path / "exercise.py")]
    assert f"{tmp_path / 'exercise.py'}:2: in test_it" in mark["detail"]


@pytest.mark.slow
def test_an_answer_that_deletes_the_folder_of_the_exercise_affects_no_result(
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
    found = results(tmp_path).values()
    assert [(result["status"], result["score"]) for result in found] == [("graded", 3)] * 3
    assert (tmp_path / "out/exercise/exercise.py").read_text() == BESIDE


@pytest.mark.slow
def test_a_conftest_that_an_answer_writes_is_not_loaded(tmp_path: Path) -> None:
    gives = (
        "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_pyfunc_call(pyfuncitem): return True\n"
    )
    answers = {"1": writes(tmp_path / "conftest.py", gives), "2": "pass"}
    assert [result["score"] for result in graded(tmp_path, **answers).values()] == [0, 0]


@pytest.mark.slow
def test_a_conftest_of_the_working_directory_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "week").mkdir()
    (tmp_path / "week/exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text("pass")
    (tmp_path / "conftest.py").write_text("open('loaded', 'w').close()")
    assert grade(tmp_path, "week/exercise.py", "ada.py", "-o", "out").returncode == 0
    assert not (tmp_path / "loaded").exists()


@pytest.mark.slow
def test_check_says_that_the_exercise_was_changed(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text(writes(tmp_path / "exercise.py", EASY))
    command = [sys.executable, "-m", "pytest_proclife", "check", "exercise.py", "ada.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        "proclife: exercise.py changed during grading, by you or by an answer; the results are "
        "for the exercise as it was at the start\n"
    )


@pytest.mark.slow
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


@pytest.mark.slow
def test_bytecode_in_a_folder_for_all_bytecode_is_not_believed(tmp_path: Path) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    forges = (
        "import importlib.util, marshal, pathlib, struct\n"
        "place = pathlib.Path.cwd()\n"
        "(path,) = (place.parent.parent / 'exercises' / place.name).rglob('later.py')\n"
        "status, code = path.stat(), compile('WANTED = \"\"', str(path), 'exec')\n"
        "head = struct.pack('<LLL', 0, int(status.st_mtime), status.st_size)\n"
        "cache = pathlib.Path(importlib.util.cache_from_source(str(path)))\n"
        "cache.parent.mkdir(parents=True)\n"
        "cache.write_bytes(importlib.util.MAGIC_NUMBER + head + marshal.dumps(code))\n"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "caches")}
    (tmp_path / "exercise.py").write_text(BESIDE)
    (tmp_path / "ada.py").write_text(forges)
    assert grade(tmp_path, "exercise.py", "ada.py", "-o", "out", env=environment).returncode == 0
    (found,) = results(tmp_path).values()
    assert list((tmp_path / "caches").rglob("later.*.pyc")), "it was written"
    assert [mark["sentences"][0] for mark in found["marks"]] == ["helper", "later", "data"]


@pytest.mark.slow
def test_results_depend_on_all_that_lies_in_the_folder_of_the_exercise(tmp_path: Path) -> None:
    for path, text in beside(tmp_path, "42\n").items():
        path.write_text(text)
    first = graded(tmp_path, exercise=BESIDE, ada="print(42)")["ada"]
    assert graded(tmp_path, exercise=BESIDE, ada="print(42)")["ada"] == first
    (tmp_path / "data.json").write_text(json.dumps("another"))
    assert graded(tmp_path, exercise=BESIDE, ada="print(42)")["ada"]["score"] == 2


@pytest.mark.slow
def test_results_do_not_depend_on_other_submissions_and_results(tmp_path: Path) -> None:
    first = graded(tmp_path, ada=DAEMON)["ada"]
    (tmp_path / "ada.py").write_text(DAEMON)
    assert grade(tmp_path, "exercise.py", "ada.py", "-o", "others").returncode == 0
    (tmp_path / "ada.py").unlink()
    assert graded(tmp_path, ada=DAEMON, bob="pass")["ada"] == first
