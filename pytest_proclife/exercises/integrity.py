"""An exercise's folder as it was when grading began, and the private copies that graders load."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import all_suffixes
from pathlib import Path

_LARGEST = 100_000_000  # bytes of a folder: it is held in memory, and copied for each grader
_CACHE = "__pycache__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The contents of an exercise's folder."""

    path: Path  # of the exercise itself
    files: Mapping[str, tuple[bytes, int]]  # content and permissions by relative path

    @property
    def digest(self) -> str:
        """A hash of all files."""
        digest = hashlib.sha256()
        for name, (content, mode) in sorted(self.files.items()):
            digest.update(f"{name}\0{mode}\0".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()

    def write_to(self, folder: Path) -> None:
        for name, (content, mode) in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(mode)

    def differences(self, other: Snapshot) -> list[str]:
        """The files that are not the same in another snapshot of the folder."""
        names = {*self.files, *other.files}
        return sorted(name for name in names if self.files.get(name) != other.files.get(name))


def snapshot(exercise: Path, others: Collection[Path] = ()) -> Snapshot:
    """Read an exercise's folder. What contains one of `others` does not belong to the exercise.

    Nor do hidden folders, caches and files that cannot be read. ValueError if there is too much.
    """
    root = exercise.parent
    places = [path.parent.resolve() / path.name for path in others]
    apart = {root / path.relative_to(root).parts[0] for path in places if root in path.parents}
    files: dict[str, tuple[bytes, int]] = {}
    size = 0
    for path in _files(root, apart):
        with contextlib.suppress(OSError):  # unreadable, or a link to nothing
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # to open a pipe could block
                continue
            size += status.st_size
            if size > _LARGEST:
                raise ValueError(
                    f"the folder of the exercise, {str(root)!r}, has more than "
                    f"{_LARGEST // 1_000_000} MB: move the exercise to a folder of its own"
                )
            files[str(path.relative_to(root))] = path.read_bytes(), stat.S_IMODE(status.st_mode)
    return Snapshot(path=exercise, files=files)


def _files(root: Path, apart: Collection[Path] = ()) -> Iterator[Path]:
    """All files, and links to folders, which are not entered."""
    for name, folders, files in os.walk(root):
        folder = Path(name)
        folders[:] = [child for child in folders if child[0] != "." and child != _CACHE]
        folders[:] = [child for child in folders if folder / child not in apart]
        links = [child for child in folders if (folder / child).is_symlink()]
        yield from (folder / file for file in (*files, *links) if folder / file not in apart)


class PrivateCopy:
    """A copy of an exercise's folder, which one grader loads and its tests read."""

    def __init__(self, original: Snapshot, place: Path) -> None:
        self.original = original
        self.root = place / original.path.parent.name
        self.path = self.root / original.path.name
        original.write_to(self.root)
        # A file in place of each cache: bytecode that an answer writes there would be believed.
        for folder in {file.parent for file in _files(self.root)}:
            (folder / _CACHE).touch()
        self._stamps = {file: _stamp(file) for file in _files(self.root)}

    def change(self) -> str | None:
        """A file that was not the same all the time, or a module that was added; None if none.

        Other new files are output.
        """
        suffixes = tuple(all_suffixes())
        for file in sorted({*self._stamps, *_files(self.root)}):
            name = str(file.relative_to(self.root))
            if file in self._stamps:
                content, _ = self.original.files.get(name, (b"", 0))  # of a cache's place: empty
                with contextlib.suppress(OSError):  # what cannot be read was changed
                    if _stamp(file) == self._stamps[file] and file.read_bytes() == content:
                        continue
                return name
            if name.endswith(suffixes) or file.is_dir():  # a link to a package
                return name
        return None

    def in_original(self, text: str) -> str:
        """A text with the original's folder in place of the copy's."""
        return text.replace(str(self.root), str(self.original.path.parent))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What also differs if a file was changed and changed back: nobody can set its st_ctime."""
    try:
        status = file.lstat()
    except OSError:  # an answer removed it
        return None
    return status.st_ino, status.st_size, status.st_ctime_ns
