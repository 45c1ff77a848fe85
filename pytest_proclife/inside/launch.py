"""Is a command line a Python, and how does the recorder get into it?

A Python is entered through PYTHONPATH (`site/sitecustomize.py`). One that ignores PYTHONPATH or
does not run `site` (-I, -E, -S) is entered through planted bytecode: every interpreter imports the
package `encodings` before any code of the program runs, and looks for its bytecode in the folder
that `-X pycache_prefix` names. The planted bytecode first runs `site/boot.py`, which takes the
option back, and then the package's own code. Any other program is seen from outside only.
"""

import marshal
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside.fork_exec import text
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pytest_proclife.inside.fork_exec import Path

_OPTIONS_WITH_VALUE = "WX"
_EMPTY = b"/."  # stands behind the path of `site` if PYTHONPATH was set, and empty


class Plan:
    """How a program is started."""

    exists = True  # there is such a program
    observed = False  # it will report
    by_path = False  # it is entered through PYTHONPATH

    def __init__(self, arguments: "list[Any]") -> None:
        self.arguments = arguments  # the ones to use


class _Options:
    """The options of an interpreter, as far as they matter here."""

    ignores_path = False  # it ignores PYTHONPATH, or does not run `site`
    runs = True  # it runs a program, and not only shows help or its version
    has_prefix = False  # they name a folder for bytecode already
    text: "int | None" = None  # the index of the text of -c


def plan(
    executables: "Iterable[Path]", arguments: "Sequence[Path]", cwd: "Path | None" = None
) -> Plan:
    """Decide for a command line; `executables` are the paths to be tried in turn."""
    found = Plan(list(arguments))
    path = _first_executable(executables, cwd)
    if path is None:
        found.exists = False
        return found
    if not is_interpreter(path):
        shebang = _shebang(path)
        # the kernel makes a script's command line: no option can be added to it
        found.observed = shebang is not None and not _options(shebang).ignores_path
        found.by_path = found.observed
        return found
    options = _options([text(argument) for argument in arguments[1:]])
    if not options.runs:
        return found
    is_same = _same_file(path, sys.executable)
    folder = None
    if options.ignores_path:
        folder = None if options.has_prefix or not is_same else planted_folder()
        if folder is None:
            return found
    found.observed = True
    found.by_path = folder is None
    if options.text is not None and _is_3_11(path, is_same):  # 3.11:
        found.arguments[1 + options.text] = _with_end(text(arguments[1 + options.text]))
    if folder is not None:
        # right behind the interpreter's name
        found.arguments[1:1] = "-X", f"{_PREFIX_OPTION}={folder}"
    return found


def search_path(before: "bytes | None", site: bytes) -> bytes:
    """The new PYTHONPATH, from which `site/sitecustomize.py` can tell the old one."""
    if before is None:
        return site
    return site + b":" + before if before else site + _EMPTY


def candidates(path: "Path", search: bool) -> "list[str]":
    """The paths that posix_spawnp tries, in turn."""
    name = text(path)
    if not search or "/" in name:
        return [name]
    folders = text(posix.environ.get(b"PATH", b"/bin:/usr/bin")).split(":")
    return [f"{folder}/{name}" if folder else name for folder in folders]


def is_interpreter(path: str) -> bool:
    """Whether a path is a CPython, by its name or that of a file that it links to."""
    if path == sys.executable:
        return True
    for _ in range(40):  # links, as many as the kernel follows
        name = path[path.rfind("/") + 1 :]
        if name.startswith("python") and not name[6:].strip("0123456789.td"):
            return True
        try:
            link = posix.readlink(path)
        except OSError as error:
            if not is_ours(error):
                raise
            return False
        path = link if link.startswith("/") else f"{path[: path.rfind('/') + 1]}{link}"
    return False


def _is_3_11(path: str, is_same: bool) -> bool:
    """3.11: whether a Python sees how a text of -c ends only with our line behind it."""
    if is_same:
        return sys.version_info < (3, 12)  # 3.11:
    for _ in range(40):  # as above; the version is in the last name, or not known
        if path[path.rfind("/") + 1 :].rstrip("td") == "python3.11":
            return True
        try:
            link = posix.readlink(path)
        except OSError as error:
            if not is_ours(error):
                raise
            return False
        path = link if link.startswith("/") else f"{path[: path.rfind('/') + 1]}{link}"
    return False


def _with_end(program: str) -> str:
    """3.11: the text of -c with a line that raises wire.TEXT_ENDED.

    A text that does not compile stays as it is: the error message would show that line.
    """
    try:
        compile(program, "<string>", "exec", dont_inherit=True)
    except Exception as error:
        if not is_ours(error):
            raise
        return program
    return program + wire.AT_END


def _same_file(path: str, other: str) -> bool:
    if path == other:
        return True
    try:
        first, second = posix.stat(path), posix.stat(other)
    except OSError as error:
        if not is_ours(error):
            raise
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _first_executable(executables: "Iterable[Path]", cwd: "Path | None") -> "str | None":
    for executable in executables:
        path = text(executable)
        if cwd is not None and not path.startswith("/"):
            path = f"{text(cwd)}/{path}"
        if posix.access(path, posix.X_OK):
            return path
    return None


def _shebang(path: str) -> "list[str] | None":
    """The options of a script's Python; None if it is not a script for Python."""
    with open(path, "rb") as file:
        if file.read(2) != b"#!":
            return None
        parts = text(file.readline(500)).split()
    if parts and parts[0].endswith("/env"):
        parts = [part for part in parts[1:] if part != "-S" and "=" not in part]
    return parts[1:] if parts and is_interpreter(parts[0]) else None


def _options(arguments: "list[str]") -> _Options:
    found = _Options()
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        if not argument.startswith("-") or argument in ("-", "--"):
            break
        if argument.startswith("--"):
            found.runs = found.runs and not argument.startswith(("--help", "--version"))
            index += 2 if argument == "--check-hash-based-pycs" else 1
            continue
        for place, letter in enumerate(argument[1:], 1):
            rest = argument[place + 1 :]
            if letter in "IES":
                found.ignores_path = True
            elif letter == "c":
                found.text = None if rest or index + 1 == len(arguments) else index + 1
                return found
            elif letter == "m":
                return found
            elif letter in "hV?":
                found.runs = False
            elif letter in _OPTIONS_WITH_VALUE:
                if not rest:
                    index += 1
                    rest = arguments[index] if index < len(arguments) else ""
                found.has_prefix = found.has_prefix or rest.startswith(_PREFIX_OPTION)
                break
        index += 1
    return found


# --- planted bytecode

_PREFIX_OPTION = "pycache_prefix"
_INSIDE = __file__[: __file__.rindex("/")]
_BOOT = f"{_INSIDE}/site/boot.py"
_OPTIMIZED = ("", ".opt-1", ".opt-2")

_folder: "str | None" = None  # of the last call


def planted_folder() -> "str | None":
    """A folder with planted bytecode for this very interpreter; None if it cannot be written."""
    global _folder
    try:
        # an interpreter that has started has imported it, so it has a spec
        source = sys.modules["encodings"].__spec__.origin  # type: ignore[union-attr]
        if source is None or not source.endswith("/encodings/__init__.py"):
            return None
        status, boot = posix.stat(source), posix.stat(_BOOT)
        stamp = f"{sys.implementation.cache_tag}-{boot.st_mtime_ns:x}-{status.st_mtime_ns:x}"
        if _folder is not None and _folder.endswith(stamp) and _is_planted(_folder, source):
            return _folder
        for parent in _parents():
            folder = f"{parent}/planted-{stamp}"
            if _is_planted(folder, source) or _plant(folder, source, status):
                _folder = folder
                return folder
    except Exception as error:
        if not is_ours(error):
            raise
        # else such a program is seen from outside only, and `witness.missing` says so
    return None


def _parents() -> "list[str]":
    """The folders that it may be in: that of the package's bytecode, and one of the user."""
    parents = [] if sys.dont_write_bytecode else [f"{_INSIDE}/__pycache__"]
    user = posix.geteuid()
    temporary = posix.environ.get(b"TMPDIR", b"/tmp").decode()
    own = f"{temporary}/proclife-{user}"
    try:
        posix.mkdir(own, 0o700)
    except OSError as error:
        if not is_ours(error):
            raise
        # else it exists, or cannot be made
    try:
        status = posix.lstat(own)
        # bytecode that somebody else could have written is not used
        if status.st_uid == user and status.st_mode & 0o170022 == 0o040000:
            parents.append(own)
    except OSError as error:  # as above
        if not is_ours(error):
            raise
    return parents


def _path(folder: str, source: str, optimized: str) -> str:
    tag = sys.implementation.cache_tag
    return f"{folder}{source[: source.rindex('/')]}/__init__.{tag}{optimized}.pyc"


def _is_planted(folder: str, source: str) -> bool:
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
    except OSError as error:
        if not is_ours(error):
            raise
        return False  # the folder cannot be written to
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
