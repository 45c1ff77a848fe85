"""The submissions as they were handed in: read before any of them runs, and out of their reach."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import marshal
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_proclife.exercises.intake import CACHES, SUFFIXES, HandedIn

_LARGEST = 100_000_000  # bytes of one submission
_IN_MEMORY = 256_000_000  # bytes of all, compressed; more are kept in a file
_FILE, _FOLDER, _LINK = "file", "folder", "link"

Entry = tuple[str, str, int, bytes]  # kind, path below the submission, permissions, content


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    name: str  # of the submission's file or folder
    problem: str  # why it has no content
    offset: int = 0
    size: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A submission on its way to another machine."""

    name: str  # of its file or folder
    problem: str = ""  # why it has no content
    content: bytes = b""
    digest: bytes = b""  # of the content, once it is unpacked


class Unreadable(Exception):
    """The submission cannot be read as it was handed in; the message says why."""


class Archive:
    """The contents of submissions by their names.

    They lie in memory that the kernel lets nobody write to once it is sealed, whoever that is:
    memfd_create(2). Only if they are very large do they lie in a file, which has no name.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("proclife-submissions", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._in_memory = True
        self._size = 0
        self._places: dict[str, _Place] = {}

    def add(self, name: str, submission: HandedIn) -> str:
        """Read a submission; returns a hash of it. OSError if there is no room for it."""
        path, problem, entries = submission.path, submission.problem, []
        if not problem:
            try:
                entries = list(_entries(path))
            except Unreadable as error:
                problem = str(error)
            except OSError as error:
                problem = f"{path.name!r} cannot be read: {error.strerror}"
        if problem:
            self._places[name] = _Place(name=path.name, problem=problem)
            return hashlib.sha256(problem.encode("utf-8", "surrogateescape")).hexdigest()
        data = marshal.dumps(entries)
        digest = hashlib.sha256(data)
        content = zlib.compress(data, 1)
        self.add_packed(name, Packed(name=path.name, content=content, digest=digest.digest()))
        return digest.hexdigest()

    def add_packed(self, name: str, packed: Packed) -> None:
        """Add what another archive has."""
        offset = self._size
        self._write(packed.content)
        size = len(packed.content)
        self._places[name] = _Place(
            name=packed.name,
            problem=packed.problem,
            offset=offset,
            size=size,
            digest=packed.digest,
        )

    def packed(self, name: str) -> Packed:
        """A submission as it can be added to another archive."""
        place = self._places[name]
        content = os.pread(self._file, place.size, place.offset)
        return Packed(name=place.name, problem=place.problem, content=content, digest=place.digest)

    def seal(self) -> None:
        """Nothing can be added, or changed, from now on."""
        if self._in_memory:
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, seals)

    def close(self) -> None:
        os.close(self._file)

    def write_to(self, folder: Path, name: str) -> Path:
        """Write a submission into a new folder; returns the file or folder there.

        Unreadable if it could not be read or was changed since; OSError if there is no room.
        """
        entries = self._read(name)
        folder.mkdir(parents=True, exist_ok=True)
        top = folder / self._places[name].name
        for kind, relative, mode, content in entries:
            path = top / relative
            if kind == _FOLDER:
                path.mkdir(exist_ok=True)
            elif kind == _LINK:
                with contextlib.suppress(FileExistsError):
                    path.symlink_to(os.fsdecode(content))
            else:
                path = path.with_name(_lower(path.name))
                _write_file(path, content)
                path.chmod(mode | stat.S_IRUSR)
                top = top if relative else path
        return top

    def is_as_written(self, folder: Path, name: str) -> bool:
        """Whether all files of a copy that `write_to` made are still as they were."""
        top = folder / self._places[name].name
        try:
            for kind, relative, _, content in self._read(name):
                path = top / relative
                path = path.with_name(_lower(path.name))
                if kind == _FILE and (path.is_symlink() or path.read_bytes() != content):
                    return False
        except Unreadable:
            pass  # there is no copy
        except OSError:
            return False
        return True

    def _read(self, name: str) -> list[Entry]:
        place = self._places[name]
        if place.problem:
            raise Unreadable(place.problem)
        try:
            data = zlib.decompress(os.pread(self._file, place.size, place.offset))
        except zlib.error:
            data = b""
        if hashlib.sha256(data).digest() != place.digest:
            raise Unreadable("the submission was changed while others were being graded")
        entries: list[Entry] = marshal.loads(data)
        return entries

    def _write(self, data: bytes) -> None:
        if self._in_memory and self._size + len(data) > _IN_MEMORY:
            self._move_to_file()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._size += len(data)

    def _move_to_file(self) -> None:
        with tempfile.TemporaryFile(prefix="proclife-") as file:
            os.lseek(self._file, 0, os.SEEK_SET)
            with open(self._file, "rb") as source:  # which closes it
                shutil.copyfileobj(source, file)
            file.flush()
            self._file = os.dup(file.fileno())
        self._in_memory = False


def _entries(path: Path) -> Iterator[Entry]:
    """What there is to a submission. Unreadable if it is too large, or not a file or folder."""
    size = 0
    for file in [path, *_below(path)] if path.is_dir() else [path]:
        relative = "" if file == path else str(file.relative_to(path))
        status = file.stat() if file == path else file.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield _FOLDER, relative, 0, b""
        elif stat.S_ISLNK(status.st_mode):
            yield _LINK, relative, 0, os.fsencode(os.readlink(file))
        elif stat.S_ISREG(status.st_mode):
            size += status.st_size
            if size > _LARGEST:
                raise Unreadable(f"it has more than {_LARGEST // 1_000_000} MB")
            yield _FILE, relative, stat.S_IMODE(status.st_mode), file.read_bytes()
        elif not relative:
            raise Unreadable(f"{path.name!r} is not a file that can be read")


def _write_file(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:  # a full disk is reported without a path
        raise OSError(error.errno, error.strerror, str(path)) from None


def _below(folder: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(child for child in folders if child not in CACHES)
        for child in [*folders, *sorted(files)]:
            yield Path(name, child)


def _lower(name: str) -> str:
    """Python, and what reads notebooks, know programs by their suffix: EXAM.PY is exam.py."""
    path = Path(name)
    known = path.suffix.lower() in SUFFIXES
    return str(path.with_suffix(path.suffix.lower())) if known else name
