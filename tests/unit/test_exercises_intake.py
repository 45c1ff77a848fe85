"""Which submissions there are, whatever a teacher has been sent: nobody is left out in silence."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path

import pytest

from pytest_proclife.exercises import intake
from pytest_proclife.exercises.intake import Intake, find


def found(tmp_path: Path, *paths: str, **options: str | Path) -> Intake:
    scratch = Path(tempfile.mkdtemp(dir=tmp_path.parent))
    return find([str(tmp_path / path) for path in paths], scratch, **options)  # type: ignore[arg-type]


def names(tmp_path: Path, *paths: str, **options: str | Path) -> dict[str, str]:
    submissions = found(tmp_path, *paths, **options).submissions
    return {name: str(each.origin.relative_to(tmp_path)) for name, each in submissions.items()}


def write(tmp_path: Path, *paths: str) -> None:
    for path in paths:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("pass")


def write_zip(path: Path, *files: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.writestr(file, "pass")


def files(tmp_path: Path, *paths: str, **options: str | Path) -> dict[str, list[str]]:
    """The files of each submission."""
    return {
        name: sorted(
            str(file.relative_to(each.path)) for file in each.path.rglob("*") if file.is_file()
        )
        for name, each in found(tmp_path, *paths, **options).submissions.items()
    }


def test_a_file_is_a_submission_whatever_it_is(tmp_path: Path) -> None:
    write(tmp_path, "ada.py", "bob.ipynb", "eve.txt")
    assert names(tmp_path, "ada.py", "bob.ipynb", "eve.txt") == {
        "ada": "ada.py",
        "bob": "bob.ipynb",
        "eve.txt": "eve.txt",
    }


def test_a_folder_of_folders_has_a_submission_in_each(tmp_path: Path) -> None:
    write(tmp_path, "in/ada/x.py", "in/bob/x.ipynb", "in/.git/x.py", "in/__pycache__/x.py")
    (tmp_path / "in/eve").mkdir()
    assert names(tmp_path, "in") == {"ada": "in/ada", "bob": "in/bob", "eve": "in/eve"}


def test_a_folder_of_programs_has_a_submission_in_each_file(tmp_path: Path) -> None:
    write(tmp_path, "in/ada.py", "in/bob.ipynb", "in/notes.txt")
    assert names(tmp_path, "in") == {"ada": "in/ada.py", "bob": "in/bob.ipynb"}


def test_a_folder_with_a_main_or_one_program_is_one_submission(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py", "ada/other.py", "ada/package/module.py", "bob/exam.py")
    assert names(tmp_path, "ada", "bob") == {"ada": "ada", "bob": "bob"}


def test_equal_names_get_their_folders_and_equal_paths_are_one_submission(tmp_path: Path) -> None:
    write(tmp_path, "x/exam.py", "y/exam.py", "z.py")
    found = names(tmp_path, "x/exam.py", "y/exam.py", "z.py", "z.py")
    assert found == {"x-exam.py": "x/exam.py", "y-exam.py": "y/exam.py", "z": "z.py"}


def test_names_that_stay_equal_are_distinguished(tmp_path: Path) -> None:
    write(tmp_path, "a-b/c.py", "a/b-c.py", "a/b/c.py")
    assert len(names(tmp_path, "a-b/c.py", "a/b-c.py", "a/b/c.py")) == 3


@pytest.mark.parametrize("path", ["missing", "missing.py"])
def test_a_missing_path_is_a_value_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no such submission: '.*{path}'"):
        names(tmp_path, path)


def test_what_is_ignored_is_listed_with_its_reason(tmp_path: Path) -> None:
    write(
        tmp_path, "in/ada.py", "in/bob.py", "in/notes.txt", "in/.hidden.py", "in/__pycache__/x.pyc"
    )
    write(tmp_path, "in/old/summary.json")
    ignored = found(tmp_path, "in").ignored
    assert [(Path(path).name, reason) for path, reason in sorted(ignored)] == [
        (".hidden.py", "it is hidden"),
        ("notes.txt", "it is not a program"),
        ("old", "it has results"),
    ]


def test_files_and_folders_side_by_side_are_submissions_each(tmp_path: Path) -> None:
    write(tmp_path, "in/ada.py", "in/bob/exam.py", "in/eve/notes.txt", "in/zoe.ipynb")
    (tmp_path / "in/empty").mkdir()
    assert set(names(tmp_path, "in")) == {"ada", "bob", "eve", "zoe", "empty"}


def test_a_name_of_a_program_is_one_whatever_is_there(tmp_path: Path) -> None:
    write(tmp_path, "in/ada.PY", "in/bob.Ipynb")
    (tmp_path / "in/eve.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in/pipe.py")
    (tmp_path / "in/nowhere").symlink_to("nowhere")
    assert set(names(tmp_path, "in")) == {"ada", "bob", "eve", "pipe"}
    ((path, reason),) = found(tmp_path, "in").ignored
    assert (Path(path).name, reason) == ("nowhere", "it is a broken link")


def test_a_folder_of_programs_one_of_which_is_a_main_is_a_question(tmp_path: Path) -> None:
    write(tmp_path, "in/alice.py", "in/bob.py", "in/main.py")
    with pytest.raises(ValueError, match=r"is '.*in' one submission, or does it hold several") as e:
        found(tmp_path, "in")
    assert "It has alice.py, bob.py, main.py. Say --each=file if" in str(e.value)
    assert set(names(tmp_path, "in", each="file")) == {"alice", "bob", "main"}
    assert names(tmp_path, "in", each="folder") == {"in": "in"}


def test_a_program_beside_a_folder_without_one_is_a_question(tmp_path: Path) -> None:
    write(tmp_path, "in/alice.py", "in/data/words.txt")
    with pytest.raises(ValueError, match="--each=folder if a submission is a whole folder"):
        found(tmp_path, "in")
    assert set(names(tmp_path, "in", each="file")) == {"alice", "data"}
    assert names(tmp_path, "in", each="folder") == {"in": "in"}


def test_programs_beside_the_folders_of_others_are_listed_if_each_is_a_folder(
    tmp_path: Path,
) -> None:
    write(tmp_path, "in/alice.py", "in/bob/main.py")
    assert set(names(tmp_path, "in", each="folder")) == {"bob"}
    ((path, reason),) = found(tmp_path, "in", each="folder").ignored
    assert (Path(path).name, reason) == ("alice.py", "it is not in a folder")


def test_the_only_program_of_a_folder_is_that_of_a_student(tmp_path: Path) -> None:
    write(tmp_path, "in/alice.py", "ada/main.py", "bob/exam.py", "bob/data.txt")
    assert names(tmp_path, "in") == {"alice": "in/alice.py"}
    assert names(tmp_path, "ada") == {"ada": "ada"}
    assert names(tmp_path, "bob") == {"bob": "bob"}  # what it needs is beside it


def test_an_exercise_beside_the_answers_is_none(tmp_path: Path) -> None:
    write(tmp_path, "alice.py", "bob.py", "exercise.py", "conftest.py", "helper.py")
    write(tmp_path, "data/words.txt", "results/summary.json", "carol/exam.py")
    (tmp_path / "exercise.py").write_text("import helper")
    exercise = tmp_path / "exercise.py"
    assert set(names(tmp_path, ".", exercise=exercise)) == {"alice", "bob", "carol"}
    (tmp_path / "bob.py").unlink()
    (tmp_path / "carol/exam.py").unlink()
    (tmp_path / "carol").rmdir()
    assert set(names(tmp_path, ".", exercise=exercise)) == {"alice"}
    with pytest.raises(ValueError, match="there are no submissions in"):
        found(tmp_path, "exercise.py", exercise=exercise)


def test_a_zip_file_in_a_folder_is_one_submission(tmp_path: Path) -> None:
    write(tmp_path, "in/alice.py")
    write_zip(tmp_path / "in/bob.zip", "main.py", "helper.py", "__MACOSX/._main.py")
    write_zip(tmp_path / "in/carol.ZIP", "exam/exam.py", "exam/data/words.txt")
    assert names(tmp_path, "in") == {
        "alice": "in/alice.py",
        "bob": "in/bob.zip",
        "carol": "in/carol.ZIP",
    }
    assert files(tmp_path, "in")["bob"] == ["helper.py", "main.py"]
    assert files(tmp_path, "in")["carol"] == ["data/words.txt", "exam.py"]


@pytest.mark.parametrize("around", ["", "all/"])
def test_a_zip_file_has_what_a_folder_would_have(around: str, tmp_path: Path) -> None:
    write_zip(tmp_path / "all.zip", *(f"{around}{name}" for name in ("ada.py", "bob.py")))
    assert set(names(tmp_path, "all.zip")) == {"ada", "bob"}
    write_zip(tmp_path / "all.zip", f"{around}ada/exam.py", f"{around}bob/exam.py")
    assert set(names(tmp_path, "all.zip")) == {"ada", "bob"}


def test_the_only_folder_of_a_zip_file_is_that_of_a_student(tmp_path: Path) -> None:
    write_zip(tmp_path / "all.zip", "ada/exam.py")
    assert set(names(tmp_path, "all.zip")) == {"ada"}


MOODLE = (
    "Ada Byron_101_assignsubmission_file_",
    "Bob Smith_102_assignsubmission_file_",
    "Bob Smith_103_assignsubmission_file_",
)


def test_a_zip_file_of_moodle_has_a_row_for_each_student(tmp_path: Path) -> None:
    write_zip(
        tmp_path / "moodle.zip",
        f"{MOODLE[0]}/exam.py",
        f"{MOODLE[0]}/helper/words.py",
        f"{MOODLE[1]}/exam.ipynb",
        f"{MOODLE[2]}/exam.py",
        "Ada Byron_101_assignsubmission_onlinetext_/onlinetext.html",
    )
    assert files(tmp_path, "moodle.zip") == {
        "Ada Byron": ["exam.py", "helper/words.py", "onlinetext.html"],
        "Bob Smith-102": ["exam.ipynb"],
        "Bob Smith-103": ["exam.py"],
    }


def test_files_of_moodle_without_folders_get_their_own_names_again(tmp_path: Path) -> None:
    write_zip(tmp_path / "moodle.zip", f"{MOODLE[0]}main.py", f"{MOODLE[0]}helper.py")
    assert files(tmp_path, "moodle.zip") == {"Ada Byron": ["helper.py", "main.py"]}


def test_a_zip_file_of_canvas_has_a_row_for_each_student(tmp_path: Path) -> None:
    inner = tmp_path / "inner.zip"
    write_zip(inner, "project/main.py")
    write_zip(
        tmp_path / "canvas.zip",
        "byronada_1001_5001_exam.py",
        "smithbob_LATE_1002_5002_main.py",
        "smithbob_LATE_1002_5003_helper_1.py",
    )
    with zipfile.ZipFile(tmp_path / "canvas.zip", "a") as archive:
        archive.write(inner, "zuseeve_1003_5004_project.zip")
    assert files(tmp_path, "canvas.zip") == {
        "byronada": ["exam.py"],
        "smithbob": ["helper_1.py", "main.py"],
        "zuseeve": ["main.py"],
    }


def test_a_zip_file_that_cannot_be_unpacked_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "in/ada.py", "in/bob.zip")
    submission = found(tmp_path, "in").submissions["bob.zip"]
    assert submission.problem == "'bob.zip' cannot be unpacked: File is not a zip file"
    write_zip(tmp_path / "in/bob.zip", "a.py", "../../out.py", "/absolute.py")
    assert files(tmp_path, "in")["bob"] == ["a.py", "absolute.py", "out.py"]
    monkeypatch.setattr(intake, "_LARGEST", 11)
    submission = found(tmp_path, "in").submissions["bob.zip"]
    assert submission.problem.startswith("'bob.zip' cannot be unpacked: it has more than")


def test_a_long_name_is_shortened(tmp_path: Path) -> None:
    write(tmp_path, "in/" + "a" * 250 + ".py", "in/" + "a" * 249 + "b.py", "in/c.py")
    lengths = [len(name) for name in names(tmp_path, "in")]
    assert len(lengths) == 3
    assert max(lengths) <= 120
