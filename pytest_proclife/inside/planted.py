"""The way into a Python that sees neither PYTHONPATH nor `site` (-I, -E, -S).

Every interpreter imports the package `encodings` before anything of the program's runs, and
looks for its bytecode under the folder that `-X pycache_prefix` names. There we plant
bytecode that first runs `site/boot.py`, which takes the option back, and then the package's
own code. What the program runs in, its frames and its modules, is the interpreter's own work.
"""

import marshal
import posix
import sys

_OPTION = "pycache_prefix"
_INSIDE = __file__[: __file__.rindex("/")]
_BOOT = f"{_INSIDE}/site/boot.py"
_OPTIMIZED = ("", ".opt-1", ".opt-2")

_folder: "str | None" = None


def options(prefix: str) -> "list[str]":
    """What to put right behind the interpreter's name."""
    return ["-X", f"{_OPTION}={prefix}"]


def folder() -> "str | None":
    """A folder with the planted bytecode for this very interpreter; None if it cannot be had."""
    global _folder
    try:
        source = sys.modules["encodings"].__spec__.origin  # type: ignore[union-attr]
        if source is None or not source.endswith("/encodings/__init__.py"):
            return None
        status, boot = posix.stat(source), posix.stat(_BOOT)
        stamp = f"{sys.implementation.cache_tag}-{boot.st_mtime_ns:x}-{status.st_mtime_ns:x}"
        if _folder is not None and _folder.endswith(stamp) and _planted(_folder, source):
            return _folder
        for place in _places():
            name = f"{place}/planted-{stamp}"
            if _planted(name, source) or _plant(name, source, status):
                _folder = name
                return name
    except Exception:
        pass  # then such a program is seen from outside only, and the account says so
    return None


def _places() -> "list[str]":
    """Where bytecode may be kept: beside the package's own, or in a folder of the user's."""
    places = [] if sys.dont_write_bytecode else [f"{_INSIDE}/__pycache__"]
    user = posix.geteuid()
    temporary = posix.environ.get(b"TMPDIR", b"/tmp").decode()
    own = f"{temporary}/proclife-{user}"
    try:
        posix.mkdir(own, 0o700)
    except OSError:
        pass  # it is there, or cannot be had
    try:
        status = posix.lstat(own)
        # a folder that somebody else can write to could hold anything
        if status.st_uid == user and status.st_mode & 0o170022 == 0o040000:
            places.append(own)
    except OSError:
        pass  # as above
    return places


def _path(folder: str, source: str, optimized: str) -> str:
    tag = sys.implementation.cache_tag
    return f"{folder}{source[: source.rindex('/')]}/__init__.{tag}{optimized}.pyc"


def _planted(folder: str, source: str) -> bool:
    return all(posix.access(_path(folder, source, o), posix.R_OK) for o in _OPTIMIZED)


def _plant(folder: str, source: str, status: "posix.stat_result") -> bool:
    """Write the bytecode, as `importlib` would: https://peps.python.org/pep-0552/."""
    with open(_BOOT, "rb") as file:
        boot = compile(file.read(), _BOOT, "exec", dont_inherit=True)
    with open(source, "rb") as file:
        text = file.read()
    magic: bytes = sys.modules["_frozen_importlib_external"].MAGIC_NUMBER
    numbers = (0, int(status.st_mtime), status.st_size)
    head = magic + b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in numbers)
    try:
        _make_folders(_path(folder, source, ""))
        for level, optimized in enumerate(_OPTIMIZED):
            own = compile(text, source, "exec", dont_inherit=True, optimize=level)
            both = compile(
                f"exec(__import__('marshal').loads({marshal.dumps(boot)!r}),"
                f" {{'MODULE': globals(), 'INSIDE': {_INSIDE!r}, 'FOLDER': {folder!r}}})\n"
                f"exec(__import__('marshal').loads({marshal.dumps(own)!r}))\n",
                source,
                "exec",
                dont_inherit=True,
            )
            _write(_path(folder, source, optimized), head + marshal.dumps(both))
    except OSError:
        return False  # nothing may be written there
    return True


def _make_folders(path: str) -> None:
    index = path.find("/planted-")
    while index > 0:
        index = path.find("/", index + 1)
        if index > 0 and not posix.access(path[:index], posix.F_OK):
            posix.mkdir(path[:index], 0o755)


def _write(path: str, data: bytes) -> None:
    temporary = f"{path}.{posix.getpid()}"
    with open(temporary, "wb") as file:
        file.write(data)
    posix.rename(temporary, path)
