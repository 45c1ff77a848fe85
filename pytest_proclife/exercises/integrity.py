"""An exercise as it was at the start: what it reads of its folder, and what became of that."""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_SMALL = 1 << 20  # bytes of a file that can be written back
_IN_ALL = 64 << 20  # bytes of all of them
_CACHES = "__pycache__"
_LATER = "conftest.py"  # pytest would load it at the next start, where there was none at this one

# What tells a file from another, and its state from every other: nobody can set a time of change
# (st_ctime), so what was changed and changed back is seen too.
_Look = tuple[int, int, int, int]


class Seal:
    """What lies beside an exercise, as it was when it was read. `used` is what it has read of it.

    What answers write over can be written back, where it is small.
    """

    def __init__(self, exercise: Path, others: Collection[Path]) -> None:
        self.exercise = exercise
        self.root = str(exercise.parent)
        self.used: set[str] = {str(exercise)}
        self._others = {str(path) for path in others}  # submissions and results: not its own
        self._listening = False
        self._looks: dict[str, _Look] = {}
        self._bytes: dict[str, bytes] = {}
        left = _IN_ALL
        for path in self._files():
            look = _look(path)
            if look is None:
                continue
            self._looks[path] = look
            size = look[2]
            if path == str(exercise) or (size <= _SMALL and size <= left):
                try:
                    self._bytes[path] = Path(path).read_bytes()
                except OSError:
                    continue
                left -= size
        self._begun = dict(self._looks)

    def listen(self) -> None:
        """From now on know what this process reads of the folder; its modules from their source."""
        self._listening = True
        sys.addaudithook(self._heard)
        sys.path_hooks.insert(0, self._finder)
        sys.path_importer_cache.clear()

    def begin(self) -> None:
        """An answer's turn begins: what has been written back is as it was."""
        for path, look in self._looks.items():
            now = _look(path)
            if now is not None and (now == look or self._as_it_was(path)):
                self._begun[path] = now
        self.used = {str(self.exercise)}

    def use(self, path: str) -> None:
        path = os.path.abspath(path)
        if path.startswith(self.root + os.sep):
            above = [path, *map(str, Path(path).parents)]
            if not self._others.intersection(above[: above.index(self.root)]):
                self.used.add(path)

    def broken(self, *, whole: bool = False) -> str | None:
        """A file that was read since the turn began, and has not been the same all the time.

        The exercise itself is not, after it was loaded as a `whole`, but to show its lines.
        """
        own = self.used if whole else self.used - {str(self.exercise)}
        for path in sorted(own | self._gone()):
            if _look(path) != self._begun.get(path):
                return os.path.relpath(path, self.root)
        return None

    def digest(self) -> str:
        """A digest of all that was used, as it was at the start."""
        digest = hashlib.sha256()
        for path in sorted(self.used & set(self._looks)):
            name = os.path.relpath(path, self.root)
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            content = self._bytes.get(path)
            part = repr(self._looks[path]).encode() if content is None else content
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def changed(self) -> list[str]:
        """What was used and is not as it was, by content; modules that are gone."""
        found = sorted(self._gone() - self.used)
        for path in sorted(self.used & set(self._looks)):
            now = _look(path)
            if now != self._looks[path]:
                if now is not None and self._as_it_was(path):
                    self._looks[path] = now
                else:
                    found.append(path)
        later = os.path.join(self.root, _LATER)
        if later not in self._looks and os.path.lexists(later):
            found.append(later)
        return found

    def restore(self, path: str, keep: Path | None) -> bool:
        """Write a file back, and keep what stood there in a folder; whether it could be done."""
        try:
            if keep is not None and os.path.isfile(path):
                copy = keep / os.path.relpath(path, self.root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(Path(path).read_bytes())
            if path not in self._looks:
                os.unlink(path)
                return True
            if path not in self._bytes:
                return False
            os.makedirs(os.path.dirname(path), exist_ok=True)
            half = f"{path}.{os.getpid()}"
            Path(half).write_bytes(self._bytes[path])
            os.replace(half, path)
        except OSError:
            return False
        look = _look(path)
        if look is not None:
            self._looks[path] = look
        return True

    def _files(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".")
                and name != _CACHES
                and os.path.join(folder, name) not in self._others
            ]
            for name in files:
                path = os.path.join(folder, name)
                if path not in self._others:
                    yield path

    def _gone(self) -> set[str]:
        """Modules that were there: an import that finds none leaves no trace of what it wanted."""
        return {p for p in self._bytes if p.endswith(".py") and not os.path.lexists(p)}

    def _as_it_was(self, path: str) -> bool:
        listening, self._listening = self._listening, False  # what we read the exercise does not
        try:
            return path in self._bytes and Path(path).read_bytes() == self._bytes[path]
        except OSError:
            return False
        finally:
            self._listening = listening

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self._listening:
            return
        path, _, flags = arguments
        if isinstance(path, bytes | os.PathLike):
            path = os.fsdecode(path)
        if isinstance(path, str) and isinstance(flags, int) and not flags & os.O_ACCMODE:
            self.use(path)

    def _finder(self, path: str) -> importlib.machinery.FileFinder:
        if path != self.root and not path.startswith(self.root + os.sep):
            raise ImportError
        return importlib.machinery.FileFinder(
            path,
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (_FromSource, importlib.machinery.SOURCE_SUFFIXES),
        )


class _FromSource(importlib.machinery.SourceFileLoader):
    """A loader that reads no __pycache__, where an answer can have put what it likes."""

    def path_stats(self, path: str) -> Any:
        raise OSError


def _look(path: str) -> _Look | None:
    """None where it is no regular file: to open a pipe could wait for ever."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
