"""What to run, in what surroundings, and how it becomes a command line."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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


Target = Callable[..., Any] | str | os.PathLike[str] | Sequence[str] | Module | Code


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
    target, args, cwd = program.target, program.args, program.folder
    if not os.path.isdir(cwd):
        raise TargetError(f"cwd is not a folder: {cwd!r}")
    if program.kwargs and not callable(target):
        raise TargetError("kwargs are for a callable; a program takes strings in args")
    if isinstance(target, Module):
        return _python("module", target.name, ["-m", target.name], args)
    if isinstance(target, Code):
        return _python("code", target.text, ["-c", target.text], args)
    if isinstance(target, str | os.PathLike):
        return _script(os.fspath(target), args, cwd)
    if isinstance(target, Sequence):
        return _command([*target, *args], cwd, program.environment)
    if callable(target):
        return _callable(target, args, program.kwargs or {})
    raise TargetError(
        f"a target must be a callable, a path, a list of strings, Module or Code, not {target!r}"
    )


def _python(kind: str, text: str, options: Sequence[str], args: Sequence[Any]) -> Launch:
    strings = _strings(args)
    target = TargetInfo(kind=kind, text=text, args=strings)
    arguments = (sys.executable, *options, *strings)
    return Launch(target=target, executable=sys.executable, arguments=arguments)


def _strings(args: Sequence[Any]) -> tuple[str, ...]:
    strings = []
    for value in args:
        if not isinstance(value, str | os.PathLike):
            raise TargetError(
                f"the arguments of a program must be strings, not {value!r}: pass str() of it, "
                "or run a callable, which takes any values that can be pickled"
            )
        text = os.fspath(value)
        if "\0" in text:
            raise TargetError(f"an argument cannot hold a NUL character: {text!r}")
        strings.append(text)
    return tuple(strings)


def _script(path: str, args: Sequence[Any], cwd: str) -> Launch:
    full = os.path.join(cwd, path)
    if not os.path.exists(full):
        example = "; a command is a list of strings, such as ['gunicorn', 'app:app']"
        hint = example if " " in path else ""
        raise TargetError(f"no such script: {path!r} (looked in {cwd}){hint}")
    if os.path.isdir(full) and not os.path.exists(os.path.join(full, "__main__.py")):
        raise TargetError(f"{path!r} is a folder without a __main__.py")
    if path.endswith(".ipynb"):
        return _notebook(path, full, args)
    return _python("script", path, [path], args)


def _notebook(path: str, full: str, args: Sequence[Any]) -> Launch:
    strings = _strings(args)
    try:
        cells = notebook.read(full)
    except (notebook.NotebookError, OSError) as error:
        raise TargetError(str(error)) from error
    scratch = tempfile.mkdtemp(prefix="proclife-")
    try:
        search = os.path.dirname(os.path.abspath(full))
        program = notebook.write_program(cells, Path(scratch), search)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise TargetError(f"the program of {path!r} cannot be written: {error}") from error
    launch = _python("notebook", path, [str(program)], strings)
    return replace(launch, scratch=scratch, left_out=cells.left_out)


def _command(command: Sequence[Any], cwd: str, env: Mapping[str, str]) -> Launch:
    if not command:
        raise TargetError("a command needs at least the name of a program")
    arguments = _strings(command)
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
                "they cross to another process, so pass what it can build them from"
            ) from error
        opened = OPEN_PAYLOAD % PAYLOAD
        code += f"import pickle; args, kwargs = pickle.load({opened}); {name}(*args, **kwargs)"
    else:
        code += f"{name}()"
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
    if "<lambda>" in name or "<locals>" in name:
        what = "a lambda" if "<lambda>" in name else f"the local function {name}"
        raise TargetError(
            f"{what} of {module} cannot be imported by another process: "
            "move it to the top level of its module"
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
