"""Which submissions there are: those of files, folders and zip files, and what was ignored."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_proclife.exercises.results import SUMMARY

SUFFIXES = (".py", ".ipynb")
MAINS = ("main.py", "main.ipynb")
CACHES = ("__pycache__", ".ipynb_checkpoints")
EACH = ("file", "folder")
_LARGEST = 200_000_000  # bytes of a zip file's contents
_MOST = 20_000  # files of a zip file
_LONGEST = 120  # bytes of a name: that of a file of results is longer
# What platforms make of a student's file: Moodle has `Ada Byron_12_assignsubmission_file_exam.py`,
# or a folder of that name without the file's; Canvas has `byronada_LATE_12_345_exam.py`.
_MOODLE = re.compile(r"(?P<who>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)")
_CANVAS = re.compile(r"(?P<who>[^_]+)(?:_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """A submission: a file or a folder."""

    path: Path
    origin: Path  # what it came in: a zip file, or itself
    problem: str = ""  # why it cannot be read
    name: str = ""  # if the platform that it comes from gives it one


@dataclass(frozen=True, slots=True)
class Intake:
    """The submissions by their names, and what is none: a path and the reason for each."""

    submissions: dict[str, HandedIn]
    ignored: tuple[tuple[str, str], ...]


def find(
    paths: Sequence[str],
    scratch: Path,
    *,
    each: str | None = None,
    exercise: Path | None = None,
    output: Path | None = None,
) -> Intake:
    """The submissions in some paths: files, folders, folders of folders, and zip files of these.

    Zip files are unpacked in `scratch`. What belongs to `exercise`, and the results in `output`,
    are no submissions. `each` is "file" or "folder" if the caller has said what a submission is.
    ValueError if a path does not exist, or if it is not clear what a submission is.
    """
    search = _Search(scratch, each, exercise, output, single=len(paths) == 1)
    found: list[HandedIn] = []
    for text in paths:
        path = Path(os.path.abspath(text))
        if not os.path.lexists(path):
            raise ValueError(f"no such submission: {text!r}")
        if search.is_of_exercise(path):
            search.ignored.append((str(path), "it belongs to the exercise"))
            continue
        found += search.submissions_in(path, text)
    unique = list({entry.path: entry for entry in found}.values())
    if not unique:
        raise ValueError(f"there are no submissions in {', '.join(map(repr, paths))}")
    names = _names(unique)
    return Intake({names[entry.path]: entry for entry in unique}, tuple(search.ignored))


def is_program(path: Path) -> bool:
    """Whether a name is that of a program. It may be of anything: a broken link, a pipe."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "."  # as macOS's ._exam.py


@dataclass(slots=True)
class _Search:
    scratch: Path
    each: str | None
    exercise: Path | None
    output: Path | None
    single: bool  # one path is given: it may well hold all submissions
    ignored: list[tuple[str, str]] = field(default_factory=list)
    unpacked: int = 0

    def submissions_in(self, path: Path, text: str) -> list[HandedIn]:
        if _is_zip(path):
            found = self._unpack(path, of_one=False)
            if found.problem:
                return [found]
            content = self._in_folder(found.path, text, path)
            return [entry if entry.problem else _of(entry, path) for entry in content]
        return self._in_folder(path, text) if path.is_dir() else [_itself(path)]

    def _in_folder(self, folder: Path, text: str, origin: Path | None = None) -> list[HandedIn]:
        ignored: list[tuple[str, str]] = []
        entries = []
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.name in CACHES or path.name == "__MACOSX":
                continue
            if reason := self._reason_to_ignore(path):
                ignored.append((str(path), reason))
            else:
                entries.append(path)
        if grouped := self._by_student(entries):
            self.ignored += ignored
            return grouped
        programs = [path for path in entries if is_program(path) and not path.is_dir()]
        zips = [path for path in entries if _is_zip(path)]
        folders = [path for path in entries if path.is_dir()]
        if self._is_exercises(folder):
            folders = [path for path in folders if self._has_program(path)]
        rest = [path for path in entries if path not in (*programs, *zips, *folders)]
        each = self._each(folder, text, programs, [*zips, *folders], rest)
        if each == "one":
            return [HandedIn(path=folder, origin=origin or folder)]
        self.ignored += ignored
        if each == "folder":
            self.ignored += [(str(path), "it is not in a folder") for path in programs]
            programs = []
        for path in rest:
            reason = "it is not a program" if path.exists() else "it is a broken link"
            self.ignored.append((str(path), reason))
        apart = sorted([*programs, *zips, *folders], key=lambda path: path.name)
        return [self._unpack(path) if path in zips else _itself(path) for path in apart]

    def _reason_to_ignore(self, path: Path) -> str:
        if path.name[0] == ".":
            return "it is hidden"
        if path.is_dir() and (path == self.output or (path / SUMMARY).exists()):
            return "it has results"
        return "it belongs to the exercise" if self.is_of_exercise(path) else ""

    def _each(
        self, folder: Path, text: str, programs: list[Path], others: list[Path], rest: list[Path]
    ) -> str:
        """What a submission is: the folder, as "one", or each "file" or "folder" in it."""
        if not programs:
            return "file" if others else "one"
        if self.each == "folder":
            return "folder" if any(map(self._has_program, others)) else "one"
        if self.each == "file":
            return "file"
        has_main = _has_main(programs)
        if not self.single:
            return "one" if has_main or len(programs) == 1 else "file"
        if len(programs) == 1 and not others:
            lies_alone = not rest or self._is_exercises(folder)
            return "file" if lies_alone and not has_main else "one"
        if has_main or (len(programs) == 1 and not any(map(self._has_program, others))):
            names = ", ".join(path.name for path in [*programs, *others][:5])
            raise ValueError(
                f"is {text!r} one submission, or does it hold several? It has {names}. Say "
                "--each=file if each file and folder in it is a submission, or --each=folder if "
                "a submission is a whole folder"
            )
        return "file"

    def _is_exercises(self, folder: Path) -> bool:
        return self.exercise is not None and folder.resolve() == self.exercise.parent

    def is_of_exercise(self, path: Path) -> bool:
        """Whether a path beside the exercise is the exercise, or belongs to it."""
        if self.exercise is None or not self._is_exercises(path.parent):
            return False
        if path.resolve() == self.exercise or path.name == "conftest.py":
            return True
        return path.stem in _imported_by(self.exercise) and (is_program(path) or path.is_dir())

    def _has_program(self, path: Path) -> bool:
        if not path.is_dir():
            return True  # a zip file: nobody hands in one without a program on purpose
        return any(is_program(child) or _is_zip(child) for child in path.rglob("*"))

    def _by_student(self, entries: list[Path]) -> list[HandedIn]:
        """The submissions of a platform's export; none if it is not one."""
        matches = [_MOODLE.fullmatch(path.name) for path in entries]
        if not entries or not all(matches):
            matches = [_CANVAS.fullmatch(path.name) for path in entries]
        if not entries or not all(matches):
            return []
        students: dict[tuple[str, str], list[tuple[Path, str]]] = {}
        for path, match in zip(entries, matches, strict=True):
            if match is not None:
                who = match["who"], match["id"]
                students.setdefault(who, []).append((path, match["file"]))
        counted = Counter(who for who, _ in students)
        return [
            self._together(who if counted[who] == 1 else f"{who}-{number}", files)
            for (who, number), files in students.items()
        ]

    def _together(self, name: str, files: list[tuple[Path, str]]) -> HandedIn:
        """The files of one student in a folder, under the names that the student gave them."""
        self.unpacked += 1
        folder = self.scratch / str(self.unpacked) / name
        folder.mkdir(parents=True)
        origin = files[0][0]
        try:
            for path, file in files:
                if path.is_dir():
                    shutil.copytree(path, folder, symlinks=True, dirs_exist_ok=True)
                elif stat.S_ISREG(path.lstat().st_mode) and not (folder / file).exists():
                    shutil.copy(path, folder / file)
        except (OSError, shutil.Error) as error:
            problem = f"it cannot be copied: {error}"
            return HandedIn(path=folder, origin=origin, name=name, problem=problem)
        return self._opened(HandedIn(path=folder, origin=origin, name=name))

    def _opened(self, found: HandedIn) -> HandedIn:
        """A folder with one zip file and no program is what is in that."""
        children = [path for path in found.path.iterdir() if path.name[0] != "."]
        zips = [path for path in children if _is_zip(path)]
        if len(zips) != 1 or any(map(is_program, children)):
            return found
        inner = self._unpack(zips[0])
        return HandedIn(
            path=inner.path, origin=found.origin, name=found.name, problem=inner.problem
        )

    def _unpack(self, path: Path, *, of_one: bool = True) -> HandedIn:
        self.unpacked += 1
        folder = self.scratch / str(self.unpacked) / path.stem
        try:
            unzip(path, folder)
        except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            problem = f"{path.name!r} cannot be unpacked: {error}"
            return HandedIn(path=path, origin=path, problem=problem)
        return HandedIn(path=_innermost(folder, of_one=of_one), origin=path, name=path.stem)


def _itself(path: Path) -> HandedIn:
    return HandedIn(path=path, origin=path)


def _of(entry: HandedIn, origin: Path) -> HandedIn:
    return HandedIn(path=entry.path, origin=origin, name=entry.name)


def _is_zip(path: Path) -> bool:
    """Whether a file has that name."""
    return path.suffix.lower() == ".zip" and path.is_file() and path.name[0] != "."


def unzip(path: Path, folder: Path) -> None:
    """Unpack a zip file, without what macOS adds. ValueError if it is too large."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MOST or sum(member.file_size for member in members) > _LARGEST:
            raise ValueError(f"it has more than {_MOST:,} files or {_LARGEST // 1_000_000} MB")
        folder.mkdir(parents=True)
        for member in members:
            if not member.filename.startswith("__MACOSX/"):
                archive.extract(member, folder)  # which leaves out .. and drive letters


def _innermost(folder: Path, *, of_one: bool = True) -> Path:
    """The folder in which the files are: many zip files have a single folder around them.

    If they are not `of_one` student, a folder with one program may be that of the only student.
    """
    while True:
        children = [path for path in folder.iterdir() if path.name[0] != "."]
        if len(children) != 1 or not children[0].is_dir() or _MOODLE.fullmatch(children[0].name):
            return folder
        inside = [path for path in children[0].iterdir() if path.name[0] != "."]
        programs = [path for path in inside if is_program(path) and not path.is_dir()]
        if not inside or (not of_one and (len(programs) == 1 or _has_main(programs))):
            return folder
        folder = children[0]


def _has_main(programs: Iterable[Path]) -> bool:
    return any(path.name.lower() in MAINS for path in programs)


def _imported_by(exercise: Path) -> set[str]:
    """The modules that an exercise imports, as far as its text says."""
    try:
        tree = ast.parse(exercise.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()  # listing its tests will say so
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _names(entries: Iterable[HandedIn]) -> dict[Path, str]:
    """Each path with its own name, after the names of its folders if two have the same."""
    entries = list(entries)
    paths = {entry.path: entry.origin for entry in entries}
    names = {entry.path: entry.name or _stem(entry.path) for entry in entries}
    for depth in range(2, 1 + max(len(origin.parts) for origin in paths.values())):
        counted = Counter(names.values())
        for path, name in names.items():
            if counted[name] > 1:
                names[path] = "-".join(paths[path].parts[-depth:]).lstrip("/")
    if len(set(names.values())) < len(paths):  # a-b/c and a/b-c
        names = {path: _digest(os.fsencode(path)) for path in paths}
    return {path: _short(name) for path, name in names.items()}


def _stem(path: Path) -> str:
    return path.stem if is_program(path) else path.name


def _short(name: str) -> str:
    data = os.fsencode(name)
    if len(data) <= _LONGEST:
        return name
    start = data[: _LONGEST - 20].decode("utf-8", "ignore")
    return f"{start}-{_digest(data)}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
