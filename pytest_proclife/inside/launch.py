"""Is a command line a Python, and how does the recorder get into it?

A Python is entered through PYTHONPATH (`site/sitecustomize.py`). One that ignores PYTHONPATH or
does not run `site` (-I, -E, -S) is entered through planted bytecode: every interpreter imports the
package `encodings` before any code of the program runs, and looks for its bytecode in the folder
that `-X pycache_prefix` names. The planted bytecode first runs `site/boot.py`, which takes the
option back, and then the package's own code.
"""

import marshal
import posix
import sys

from pytest_proclife.inside.fork_exec import text

TYPE_CHECKING = False

_OPTION = "pycache_prefix"
_INSIDE = __file__[: __file__.rindex("/")]
_BOOT = f"{_INSIDE}/site/boot.py"
_OPTIMIZED = ("", ".opt-1", ".opt-2")

_folder: "str | None" = None


def planting_options(prefix: str) -> "list[str]":
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


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pytest_proclife.inside.fork_exec import Path

END = "_proclife.end"  # an audit event of ours
_AT_END = f"\n__import__('sys').audit('{END}')"
_TELLS_NO_END = sys.hexversion < 0x030C0000  # 3.11 has no sys.monitoring
_OPTIONS_WITH_VALUE = "WX"
_EMPTY = b"/."  # after the path of `site`: PYTHONPATH was set, and empty


class Plan:
    """How a program is started: the arguments to use, whether it will report, and by which way."""

    __slots__ = ("arguments", "by_path", "exists", "observed")

    def __init__(
        self,
        arguments: "list[Any]",
        observed: bool = False,
        by_path: bool = False,
        exists: bool = True,
    ) -> None:
        self.exists = exists
        self.arguments = arguments
        self.observed = observed
        self.by_path = by_path


class _Options:
    """What the options of an interpreter say."""

    __slots__ = ("no_path", "no_site", "prefix", "runs", "text")

    def __init__(self) -> None:
        self.no_path = self.no_site = False  # PYTHONPATH is not looked at; nor is `site` run
        self.runs = True  # a program, and not help or a version alone
        self.prefix = False  # they name a folder for bytecode already
        self.text: int | None = None  # the index of the text of -c

    @property
    def closed(self) -> bool:
        return self.no_path or self.no_site


def plan(
    executables: "Iterable[Path]", arguments: "Sequence[Path]", cwd: "Path | None" = None
) -> Plan:
    """Decide for a command line; `executables` are the paths to be tried in turn."""
    arguments = list(arguments)
    path = _existing(executables, cwd)
    if path is None:
        return Plan(arguments, exists=False)
    if not is_interpreter(path):
        line = _shebang(path)
        # the command line of a script that looks neither at PYTHONPATH nor for `site` is the
        # kernel's to make
        if line is None or _options(line).closed:
            return Plan(arguments)
        return Plan(arguments, observed=True, by_path=True)
    options = _options([text(argument) for argument in arguments[1:]])
    ours = _same_file(path, sys.executable)
    if not options.runs:
        return Plan(arguments)
    prefix = None
    if options.closed:
        prefix = None if options.prefix or not ours else folder()
        if prefix is None:
            return Plan(arguments)
    if options.text is not None and _TELLS_NO_END and ours:
        arguments = _with_end(arguments, 1 + options.text)
    if prefix is None:
        return Plan(arguments, observed=True, by_path=True)
    return Plan([arguments[0], *planting_options(prefix), *arguments[1:]], observed=True)


def _with_end(arguments: "list[Path]", index: int) -> "list[Path]":
    """3.11 cannot tell whether the text of -c came to its end or left by sys.exit(0): let it say.

    A text that does not compile stays as it is: its error would show ours.
    """
    program = text(arguments[index])
    try:
        compile(program, "<string>", "exec", dont_inherit=True)
    except Exception:
        return arguments
    return [*arguments[:index], program + _AT_END, *arguments[index + 1 :]]


def restore(arguments: "list[str]") -> bool:
    """Take out of `sys.orig_argv` what was put into the text of -c; whether anything was."""
    for index, argument in enumerate(arguments):
        if argument.endswith(_AT_END):
            arguments[index] = argument.removesuffix(_AT_END)
            return True
    return False


def search_path(before: "bytes | None", site: bytes) -> bytes:
    """What PYTHONPATH becomes, so that `search_path_before` can tell what it was."""
    if before is None:
        return site
    return site + b":" + before if before else site + _EMPTY


def search_path_before(now: "bytes | None", site: bytes) -> "bytes | None":
    """What PYTHONPATH was."""
    if now is None or now == site:
        return None
    return b"" if now == site + _EMPTY else now.removeprefix(site + b":")


def candidates(path: "Path", search: bool) -> "list[str]":
    """The paths that posix_spawnp tries, in turn."""
    name = text(path)
    if not search or "/" in name:
        return [name]
    folders = text(posix.environ.get(b"PATH", b"/bin:/usr/bin")).split(":")
    return [f"{folder}/{name}" if folder else name for folder in folders]


def is_interpreter(path: str) -> bool:
    """Whether a path is a CPython, by its name (that of the link, or of what it leads to)."""
    if path == sys.executable:
        return True
    for _ in range(40):  # links, as many as the kernel follows
        name = path[path.rfind("/") + 1 :]
        if name.startswith("python") and not name[6:].strip("0123456789.td"):
            return True
        try:
            link = posix.readlink(path)
        except OSError:
            return False
        path = link if link.startswith("/") else f"{path[: path.rfind('/') + 1]}{link}"
    return False


def _same_file(path: str, other: str) -> bool:
    if path == other:
        return True
    try:
        one, two = posix.stat(path), posix.stat(other)
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def _existing(executables: "Iterable[Path]", cwd: "Path | None") -> "str | None":
    for executable in executables:
        path = text(executable)
        if cwd is not None and not path.startswith("/"):
            path = f"{text(cwd)}/{path}"
        if posix.access(path, posix.X_OK):
            return path
    return None


def _shebang(path: str) -> "list[str] | None":
    """The options of a script's Python, as a list; None if it is no script for Python."""
    with open(path, "rb") as file:
        if file.read(2) != b"#!":
            return None
        words = text(file.readline(500)).split()
    if words and words[0].endswith("/env"):
        words = [word for word in words[1:] if word != "-S" and "=" not in word]
    if not words or not is_interpreter(words[0]):
        return None
    return words[1:]


def _options(words: "list[str]") -> _Options:
    found = _Options()
    index = 0
    while index < len(words):
        word = words[index]
        if not word.startswith("-") or word in ("-", "--"):
            break
        if word.startswith("--"):
            found.runs = found.runs and not word.startswith(("--help", "--version"))
            index += 2 if word == "--check-hash-based-pycs" else 1
            continue
        for place, letter in enumerate(word[1:], 1):
            rest = word[place + 1 :]
            if letter in "IE":
                found.no_path = True
            elif letter == "S":
                found.no_site = True
            elif letter == "c":
                found.text = None if rest else index + 1
                return found
            elif letter == "m":
                return found
            elif letter in "hV?":
                found.runs = False
            elif letter in _OPTIONS_WITH_VALUE:
                if not rest:
                    index += 1
                    rest = words[index] if index < len(words) else ""
                found.prefix = found.prefix or rest.startswith("pycache_prefix")
                break
        index += 1
    return found
