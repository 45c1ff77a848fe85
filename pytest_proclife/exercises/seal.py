"""The seal on each result, by which `proclife grade` knows those that it wrote itself."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "seal.key"
FIELD = "seal"  # of a result's document
_SIZE = 32  # bytes


class Seal:
    """A key that is kept in a folder, but not while answers run: then it is in memory alone.

    `take` blanks the file, `leave` fills it again. If this process is killed in between, the key is
    lost, and so is the trust in the results that it sealed.
    """

    def __init__(self, key: bytes | None = None, file: int = -1) -> None:
        self._key = key or secrets.token_bytes(_SIZE)
        self._file = file  # keeps its place on the disk, which may be full later

    @classmethod
    def take(cls, folder: Path) -> Seal:
        """The seal of a folder; a new one if it has none."""
        key = _read(folder / FILE)
        return cls(key, _new_file(folder))

    @classmethod
    def of(cls, folder: Path) -> Seal | None:
        """The seal of a folder, which keeps it; None if it has none."""
        key = _read(folder / FILE)
        return None if key is None else cls(key)

    def leave(self, folder: Path) -> None:
        """Write the key to the folder, for `take`. Nobody else may read the file."""
        if self._file < 0 or not _is_at(self._file, folder / FILE):
            self._file = _new_file(folder)  # an answer has removed or replaced it
        os.pwrite(self._file, self._key.hex().encode(), 0)
        os.close(self._file)
        self._file = -1

    def sign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a document with their seal."""
        return {**values, FIELD: self._code(values)}

    def is_on(self, values: Mapping[str, Any]) -> bool:
        """Whether the seal of a document is this one, and its values are as they were sealed."""
        found = values.get(FIELD)
        return isinstance(found, str) and hmac.compare_digest(found, self._code(values))

    def _code(self, values: Mapping[str, Any]) -> str:
        sealed = {name: value for name, value in values.items() if name != FIELD}
        text = json.dumps(sealed, sort_keys=True)
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def _read(file: Path) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            key = bytes.fromhex(opened.read(1000).decode())
    except (OSError, ValueError):
        return None
    return key if len(key) == _SIZE else None


def _new_file(folder: Path) -> int:
    """A descriptor of a new file for a key, which is blank."""
    path = folder / FILE
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(file, b"-" * 2 * _SIZE + b"\n")
    except OSError as error:  # a full disk is reported without a path
        raise OSError(error.errno, error.strerror, str(path)) from None
    return file


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
