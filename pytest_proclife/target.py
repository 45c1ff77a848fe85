"""What to run, in what surroundings, and how it becomes a command line."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import types
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from importlib.machinery import BuiltinImporter, ExtensionFileLoader, ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from pytest_proclife import notebook
from pytest_proclife.errors import TargetError
from pytest_proclife.records import TargetInfo
from pytest_proclife.supervisor.protocol import OPEN_PAYLOAD, PAYLOAD


@dataclass(frozen=True, slots=True)
class Module:
    """A module to run as `python -m` does. `name` is its dotted name."""

    name: str


@dataclass(frozen=True, slots=True)
class Code:
    """The text of a program to run as `python -c` does."""

    text: str


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook to run as a program, by its path; a path alone will do, without `keep_going`.

    With `keep_going` a cell that raises does not end the run: its traceback goes to stderr, and
    the first exception leaves main when all cells were run.
    """

    path: str | os.PathLike[str]
    keep_going: bool = False


Target = Callable[..., Any] | str | os.PathLike[str] | Sequence[str] | Module | Code | Notebook


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What main is to run. The fields are arguments of `pytest_proclife.run`."""

    target: Target
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    cwd: str | os.PathLike[str] | None = None
    env: Mapping[str, str] | None = None
    input: str | bytes | None = None

    @property
    def folder(self) -> str:
        """Main's working directory."""
        return os.path.abspath("" if self.cwd is None else self.cwd)

    @property
    def environment(self) -> Mapping[str, str]:
        """Main's environment, but for what the recorder needs."""
        return os.environ if self.env is None else self.env


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a target is executed."""

    target: TargetInfo
    executable: str
    arguments: tuple[str, ...]
    payload: bytes | None = None  # the pickled arguments of a callable, for main's descriptor 3
    scratch: str | None = None  # a folder with the program, to be removed after the run
    left_out: tuple[str, ...] = ()  # parts of the target that are not run


def resolve(program: Program) -> Launch:
    """Decide how the target is executed. TargetError if it cannot be."""
    target = program.target
    if program.cwd is not None and not isinstance(program.cwd, str | os.PathLike):
        raise TargetError(f"cwd must be the path of a folder, or None, not {program.cwd!r}")
    cwd = program.folder
    if not os.path.isdir(cwd):
        raise TargetError(f"cwd is not a folder: {cwd!r}")
    args, kwargs = _given_args(program.args), _given_kwargs(program.kwargs)
    if kwargs and not callable(target):
        raise TargetError(
            "kwargs are for a callable: pass a program's arguments as strings in args"
        )
    if isinstance(target, Module):
        _check_module(target.name, cwd, program.environment)
        return _python("module", target.name, ["-m", target.name], args)
    if isinstance(target, Code):
        (text,) = _strings([target.text], "the text of Code")
        return _python("code", text, ["-c", text], args)
    if isinstance(target, Notebook):
        (path,) = _strings([target.path], "the path of a Notebook")
        if not path.endswith(".ipynb"):
            raise TargetError(f"a Notebook is a file that ends in .ipynb, not {path!r}")
        return _script(path, args, cwd, keep_going=bool(target.keep_going))
    if isinstance(target, str | os.PathLike):
        (path,) = _strings([target], "the path of a script")
        return _script(path, args, cwd)
    if isinstance(target, Sequence) and not isinstance(target, bytes | bytearray | memoryview):
        return _command([*target, *args], cwd, program.environment)
    if callable(target):
        return _callable(target, args, kwargs)
    raise TargetError(
        "a target must be a callable, a path, a list of strings, Module, Code or Notebook, not "
        f"{target!r}{_target_hint(target)}"
    )


def _target_hint(target: object) -> str:
    if target is None:
        return ": pass the function itself, not what a call of it returned"
    return f": pass Module({target.__name__!r})" if isinstance(target, types.ModuleType) else ""


def environment_of(program: Program) -> dict[bytes, bytes]:
    """Main's environment, but for what the recorder needs. TargetError if it cannot be one."""
    given: object = program.environment
    if not isinstance(given, Mapping):
        raise TargetError(
            "env must be a dict with strings as its keys and values, such as "
            f"{{**os.environ, 'DEBUG': '1'}}, not {given!r}"
        )
    encoded = {}
    for name, value in given.items():
        if not isinstance(name, str | bytes) or {*b"=\0"} & {*os.fsencode(name)}:
            raise TargetError(
                f"a name in env must be a string without '=' and NUL characters, not {name!r}"
            )
        if not isinstance(value, str | bytes | os.PathLike):
            raise TargetError(f"env[{name!r}] must be a string, not {value!r}: pass str() of it")
        if b"\0" in os.fsencode(value):
            raise TargetError(f"env[{name!r}] cannot hold a NUL character: {value!r}")
        encoded[os.fsencode(name)] = os.fsencode(value)
    return encoded


def input_of(program: Program) -> bytes | None:
    """Main's standard input, None for an empty one. TargetError if it is not text or bytes."""
    given: object = program.input
    if isinstance(given, str):
        return given.encode()
    if given is None or isinstance(given, bytes | bytearray | memoryview):
        return given if given is None else bytes(given)
    raise TargetError(f"input must be a string, bytes or None, not {given!r}")


_ANY_VALUES = ": pass str() of it, or run a callable, which takes any values that can be pickled"


def _given_args(args: object) -> tuple[Any, ...]:
    """The arguments, one by one. A string would be taken apart into its characters."""
    if isinstance(args, str | bytes | bytearray | memoryview | os.PathLike):
        raise TargetError(f"args must be a list or a tuple, not {args!r}: pass [{args!r}]")
    if isinstance(args, Mapping | Set) or not isinstance(args, Iterable):
        raise TargetError(f"args must be a list or a tuple, not {args!r}")
    return tuple(args)


def _given_kwargs(kwargs: object) -> Mapping[str, Any]:
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise TargetError(f"kwargs must be a dict with strings as its keys, not {kwargs!r}")
    return kwargs


def _python(kind: str, text: str, options: Sequence[str], args: Sequence[Any]) -> Launch:
    strings = _strings(args, hint=_ANY_VALUES)
    target = TargetInfo(kind=kind, text=text, args=strings)
    arguments = (sys.executable, *options, *strings)
    return Launch(target=target, executable=sys.executable, arguments=arguments)


def _strings(
    values: Iterable[Any], what: str = "an argument of a program", hint: str = ""
) -> tuple[str, ...]:
    strings = []
    for value in values:
        text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
        if not isinstance(text, str):
            raise TargetError(f"{what} must be a string, not {value!r}{hint}")
        if "\0" in text:
            raise TargetError(f"{what} cannot hold a NUL character: {text!r}")
        try:
            os.fsencode(text)
        except UnicodeEncodeError as error:
            raise TargetError(f"{what} cannot be encoded: {error}") from error
        strings.append(text)
    return tuple(strings)


def _script(path: str, args: Sequence[Any], cwd: str, *, keep_going: bool = False) -> Launch:
    full = os.path.join(cwd, path)
    if not os.path.exists(full):
        example = "; a command is a list of strings, such as ['gunicorn', 'app:app']"
        hint = example if " " in path else ""
        raise TargetError(f"no such script: {path!r} (looked in {cwd}){hint}")
    if os.path.isdir(full) and not os.path.exists(os.path.join(full, "__main__.py")):
        raise TargetError(f"{path!r} is a folder without a __main__.py")
    if not os.access(full, os.R_OK):
        raise TargetError(f"{path!r} cannot be read: chmod +r makes it readable")
    if path.startswith("-"):
        path = f"./{path}"  # Python would take it for an option
    if path.endswith(".ipynb"):
        return _notebook(path, full, args, keep_going)
    return _python("script", path, [path], args)


def _notebook(path: str, full: str, args: Sequence[Any], keep_going: bool) -> Launch:
    strings = _strings(args, hint=_ANY_VALUES)
    try:
        cells = notebook.read(full)
    except (notebook.NotebookError, OSError) as error:
        raise TargetError(str(error)) from error
    try:
        scratch = tempfile.mkdtemp(prefix="proclife-")
    except OSError as error:  # as with a root that is mounted read-only
        raise TargetError(f"the program of {path!r} cannot be written: {error}") from error
    try:
        search = os.path.dirname(os.path.abspath(full))
        program = notebook.write_program(cells, Path(scratch), search, keep_going=keep_going)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise TargetError(f"the program of {path!r} cannot be written: {error}") from error
    launch = _python("notebook", path, [str(program)], strings)
    return replace(launch, scratch=scratch, left_out=cells.left_out)


def _command(command: Sequence[Any], cwd: str, env: Mapping[str, str]) -> Launch:
    if not command:
        raise TargetError("a command needs at least the name of a program")
    arguments = _strings(command, hint=": pass str() of it")
    name = arguments[0]
    target = TargetInfo(kind="command", text=name, args=arguments[1:])
    return Launch(target=target, executable=_executable(name, cwd, env), arguments=arguments)


def _executable(name: str, cwd: str, env: Mapping[str, str]) -> str:
    if "/" in name:
        path = os.path.join(cwd, name)
        if not os.path.exists(path):
            raise TargetError(f"command not found: {name!r} in {cwd}")
        if os.path.isdir(path) or not os.access(path, os.X_OK):
            raise TargetError(f"{name!r} is not executable: chmod +x, or run it as a script")
        return path
    search = env.get("PATH", os.defpath)
    found = shutil.which(name, path=search)
    if found is None:
        raise TargetError(f"command not found: {name!r} on the PATH ({search})")
    return found


def _callable(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Launch:
    _refuse_suspending(function)
    module, name = _importable(function)
    payload = None
    # the caller's search path, as the spawn method of multiprocessing passes it to its children
    code = f"import sys; sys.path[:] = {sys.path!r}; "
    code += f"from {module} import {name.partition('.')[0]}; "
    if args or kwargs:
        try:
            payload = pickle.dumps((tuple(args), dict(kwargs)))
        except Exception as error:  # a value's own `__reduce__` may raise anything
            raise TargetError(
                f"the arguments of {module}.{name} cannot be pickled ({error}): "
                "they are sent to another process, so pass values that can be pickled"
            ) from error
        opened = OPEN_PAYLOAD % PAYLOAD
        code += f"import pickle; args, kwargs = pickle.load({opened}); "
    call = f"{name}()" if payload is None else f"{name}(*args, **kwargs)"
    code += _CHECKED.format(call=call, name=name) if _wraps_suspending(function) else call
    target = TargetInfo(kind="callable", text=f"{module}:{name}", args=tuple(map(repr, args)))
    arguments = (sys.executable, "-c", code)
    return Launch(target=target, executable=sys.executable, arguments=arguments, payload=payload)


def _importable(function: Callable[..., Any]) -> tuple[str, str]:
    """The module and the name from which another process can import a callable."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not module or not name:
        raise TargetError(
            f"{function!r} has no name to import it by: pass a function at the top of a module"
        )
    if "<lambda>" in name:
        raise TargetError(
            f"the target is a lambda of {module}, which another process cannot import by its name: "
            "write it as a function (`def`) at the top level of a module"
        )
    if "<locals>" in name:
        raise TargetError(
            f"the local function {name} of {module} cannot be imported by another process: "
            "move it to the top level of its module"
        )
    if inspect.ismethod(function) and not isinstance(function.__self__, type):
        raise TargetError(
            f"the target is the method {name} of an object of {module}, which main does not have: "
            "pass a function that makes the object and calls the method"
        )
    if module == "__main__":
        raise TargetError(
            f"{name} is defined in __main__, which another process cannot import by that name: "
            "move it to a module"
        )
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"{module}.{name} cannot be imported: {error}") from error
    if found != function:
        raise TargetError(
            f"{module}.{name} is not the target (a decorator replaced it?): "
            "pass the callable that its module has under that name"
        )
    return module, name


# --- callables whose call does not run their code

_CONTEXTLIB = contextlib.contextmanager.__code__.co_filename
_CACHED = type(functools.cache(id))

# Where only a call shows it: a decorator may run what it wraps, by asyncio.run() say.
_CHECKED = """result = {call}
if any(hasattr(result, name) for name in ("cr_code", "gi_code", "ag_code")):
    raise TypeError("{name}() has not run: it made a " + type(result).__name__)
"""


def _refuse_suspending(function: object) -> None:
    """TargetError for a callable that makes a coroutine or the like, and runs none of its code."""
    found = _suspends(function)
    if found is not None:
        what, made, hint = found
        name = getattr(function, "__qualname__", None) or repr(function)
        raise TargetError(
            f"{name} is {what}: calling it only makes {made}, and runs none of its code: "
            f"pass a function that {hint}"
        )


def _suspends(function: Any) -> tuple[str, str, str] | None:
    """What kind of function it is, what its call makes, and what to do instead."""
    while True:
        if isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        elif isinstance(function, staticmethod | classmethod | _CACHED):
            function = function.__wrapped__
        else:
            break
    own = function
    if not isinstance(function, type) and not hasattr(function, "__code__"):
        own = getattr(type(function), "__call__", None)  # noqa: B004 - needed, not asked for
    for each in (function, own):
        if inspect.iscoroutinefunction(each):
            return "a coroutine function", "a coroutine", "calls asyncio.run() of it"
        if inspect.isasyncgenfunction(each):
            hint = "goes through it with `async for`, below asyncio.run()"
            return "an asynchronous generator function", "a generator", hint
        if inspect.isgeneratorfunction(each):
            hint = "goes through it, as `for _ in generator(): pass` does"
            return "a generator function", "a generator", hint
    code = getattr(function, "__code__", None)
    if code is not None and code.co_filename == _CONTEXTLIB and hasattr(function, "__wrapped__"):
        return "a context manager", "an object for `with`", "enters it by `with`"
    return None


def _wraps_suspending(function: Any) -> bool:
    """Whether it is around a callable that suspends, as a decorator says by `functools.wraps`."""
    for _ in range(100):  # a bound: a wrapper may claim to wrap itself
        function = getattr(function, "__wrapped__", None)
        if function is None:
            return False
        if _suspends(function) is not None:
            return True
    return False


# --- modules

# Run by the target's Python, in its folder and environment, if the module is not where most are:
# finders, .pth files and the user's own site-packages are known there only.
_FIND = """
import importlib.util, json, sys
try:
    spec = importlib.util.find_spec(sys.argv[1])
except (ImportError, ValueError):
    spec = None
found = None
if spec is not None:
    folders = spec.submodule_search_locations
    loader = spec.loader if isinstance(spec.loader, type) else type(spec.loader)
    found = spec.origin, None if folders is None else list(folders), loader.__name__
print("proclife:" + json.dumps(found))
"""
_NO_PYTHON = (BuiltinImporter.__name__, ExtensionFileLoader.__name__)
# A package with one of these in its source may find its modules elsewhere than in its folder.
_OPENS = (b"__path__", b"sys.modules", b"__getattr__", b"meta_path", b"path_hooks", b"exec(")
_SEARCH = 60.0  # s

_Found = tuple[str | None, list[str] | None, str]  # file, folders if it is a package, loader


def _check_module(name: object, cwd: str, env: Mapping[str, str]) -> None:
    """TargetError if `python -m` would find no such module. No code of the program is run."""
    if not isinstance(name, str) or "\0" in name or not all(name.split(".")):
        raise TargetError(f"the name of a Module must be the dotted name of a module, not {name!r}")
    if _missing(name, _find_nearby(name, cwd, env)) is None:
        return
    found, known = _ask_python(name.partition(".")[0], cwd, env)
    reason = _missing(name, found) if known else None
    if reason is not None:
        hint = ""
        if name.endswith(".py"):
            hint = f"; Module({name[:-3]!r}) is the module, and {name!r} the script"
        raise TargetError(f"{reason} (looked from {cwd}){hint}")


def _missing(name: str, found: _Found | None) -> str | None:
    """What `python -m` will not find; None if it may find all. `found` is the topmost package."""
    top, *rest = name.split(".")
    if found is None:
        return f"no module named {top!r}"
    done = top
    for part in [*rest, "__main__"]:
        file, folders, loader = found
        if part == "__main__" and done == name and folders is None:
            return f"{name!r} has no code in Python" if loader in _NO_PYTHON else None
        below = f"{done}.{part}"
        spec = None if folders is None else PathFinder.find_spec(below, folders)
        if spec is None:
            if _may_open(file, loader):
                return None
            if done == name:
                return f"{name!r} is a package without a __main__, so it cannot be run"
            return f"no module named {below!r}"
        found, done = _of_spec(spec), below
    return None


def _may_open(file: str | None, loader: str) -> bool:
    """Whether a package may have modules that are not in its folder, as far as its source shows."""
    if file is None:
        return loader == "FrozenImporter"  # else it is a folder without an __init__.py
    try:
        with open(file, "rb") as source:
            text = source.read()
    except OSError:
        return True
    return not file.endswith(".py") or any(word in text for word in _OPENS)


def _of_spec(spec: ModuleSpec) -> _Found:
    folders = spec.submodule_search_locations
    return spec.origin, None if folders is None else list(folders), type(spec.loader).__name__


def _find_nearby(name: str, cwd: str, env: Mapping[str, str]) -> _Found | None:
    """Look for the topmost package where most are, which costs no process."""
    folders = [] if env.get("PYTHONSAFEPATH") else [cwd]
    folders += [os.path.join(cwd, path) for path in env.get("PYTHONPATH", "").split(":") if path]
    folders += [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib")]
    spec = PathFinder.find_spec(name.partition(".")[0], folders)
    return None if spec is None else _of_spec(spec)


def _ask_python(top: str, cwd: str, env: Mapping[str, str]) -> tuple[_Found | None, bool]:
    """Have the target's Python look for the topmost package; and whether it answered."""
    try:
        with subprocess.Popen(
            [sys.executable, "-c", _FIND, top],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                answer = process.communicate(timeout=_SEARCH)[0]
            except BaseException:
                process.kill()
                raise
        found = json.loads(answer.decode().rpartition("proclife:")[2])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None, False  # the run will show what is wrong
    return None if found is None else (found[0], found[1], found[2]), True
