"""What to run, and how it becomes a command line."""

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
from pytest_proclife.inside import launch
from pytest_proclife.records import TargetInfo
from pytest_proclife.supervisor.protocol import OPEN_PAYLOAD, PAYLOAD


@dataclass(frozen=True, slots=True)
class Module:
    """A module to be run as `python -m` does."""

    name: str


@dataclass(frozen=True, slots=True)
class Code:
    """A program text to be run as `python -c` does."""

    text: str


Target = Callable[..., Any] | str | os.PathLike[str] | Sequence[str] | Module | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A resolved target: the file to execute, its arguments, and whether it will report.

    `payload` is what the program reads from descriptor 3: the pickled arguments of a callable.
    `scratch` is a folder with what is run, to be removed after the run, and `left_out` what of
    the target is not run.
    """

    info: TargetInfo
    executable: str
    arguments: tuple[str, ...]
    observed: bool
    by_path: bool
    payload: bytes | None = None
    scratch: str | None = None
    left_out: tuple[str, ...] = ()


def resolve(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    cwd: str,
    env: Mapping[str, str],
) -> Launch:
    """Find out how a target is run. TargetError where it cannot be."""
    if not os.path.isdir(cwd):
        raise TargetError(f"cwd is not a folder: {cwd!r}")
    if kwargs and not callable(target):
        raise TargetError("kwargs are for a callable; a program takes strings in args")
    if isinstance(target, Module):
        return _python(["-m", target.name], "module", target.name, args, cwd)
    if isinstance(target, Code):
        return _python(["-c", target.text], "code", target.text, args, cwd)
    if isinstance(target, str | os.PathLike):
        return _script(os.fspath(target), args, cwd)
    if isinstance(target, Sequence):
        return _command([*target, *args], cwd, env)
    if callable(target):
        return _callable(target, args, kwargs or {})
    raise TargetError(
        f"a target is a callable, a path, a list of strings, Module or Code, not {target!r}"
    )


def _python(options: list[str], kind: str, text: str, args: Sequence[Any], cwd: str) -> Launch:
    strings = _strings(args)
    arguments = [sys.executable, *options, *strings]
    plan = launch.plan([sys.executable], arguments, cwd)
    return Launch(
        info=TargetInfo(kind=kind, text=text, args=tuple(strings)),
        executable=sys.executable,
        arguments=tuple(plan.arguments),
        observed=plan.observed,
        by_path=plan.by_path,
    )


def _strings(args: Sequence[Any]) -> list[str]:
    strings = []
    for value in args:
        if not isinstance(value, str | os.PathLike):
            raise TargetError(
                f"the arguments of a program are strings, not {value!r}: pass str() of it, "
                "or run a callable, which takes any values that can be pickled"
            )
        text = os.fspath(value)
        if "\0" in text:
            raise TargetError(f"an argument cannot hold a NUL character: {text!r}")
        strings.append(text)
    return strings


def _script(path: str, args: Sequence[Any], cwd: str) -> Launch:
    full = os.path.join(cwd, path)
    if not os.path.exists(full):
        hint = ""
        if " " in path:
            hint = "; a command is a list of strings, such as ['gunicorn', 'app:app']"
        raise TargetError(f"no such script: {path!r} (looked in {cwd}){hint}")
    if os.path.isdir(full) and not os.path.exists(os.path.join(full, "__main__.py")):
        raise TargetError(f"{path!r} is a folder without a __main__.py")
    if path.endswith(".ipynb"):
        return _notebook(path, full, args, cwd)
    return _python([path], "script", path, args, cwd)


def _notebook(path: str, full: str, args: Sequence[Any], cwd: str) -> Launch:
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
    return replace(
        _python([str(program)], "script", str(program), strings, cwd),
        info=TargetInfo(kind="notebook", text=path, args=tuple(strings)),
        scratch=scratch,
        left_out=cells.left_out,
    )


def _command(words: Sequence[Any], cwd: str, env: Mapping[str, str]) -> Launch:
    if not words:
        raise TargetError("a command needs at least the name of a program")
    arguments = _strings(words)
    name = arguments[0]
    search = env.get("PATH", os.defpath)
    if "/" in name:
        path = os.path.join(cwd, name)
        found = path if os.access(path, os.X_OK) and not os.path.isdir(path) else None
    else:
        path, found = name, shutil.which(name, path=search)
    if found is None:
        if os.path.exists(path) and "/" in name:
            raise TargetError(f"{name!r} is not executable: chmod +x, or run it as a script")
        where = f"in {cwd}" if "/" in name else f"on the PATH ({search})"
        raise TargetError(f"command not found: {name!r} {where}")
    plan = launch.plan([found], arguments, cwd)
    return Launch(
        info=TargetInfo(kind="command", text=name, args=tuple(arguments[1:])),
        executable=found,
        arguments=tuple(plan.arguments),
        observed=plan.observed,
        by_path=plan.by_path,
    )


def _callable(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Launch:
    module, name = _importable(function)
    head, _, rest = name.partition(".")
    call = f"{head}.{rest}" if rest else head
    payload = None
    # the caller's search path, as multiprocessing's spawn hands it to its children
    text = f"import sys; sys.path[:] = {sys.path!r}; from {module} import {head}; "
    if args or kwargs:
        try:
            payload = pickle.dumps((tuple(args), dict(kwargs)))
        except Exception as error:
            raise TargetError(
                f"the arguments of {module}.{name} cannot be pickled ({error}): "
                "they cross to another process, so pass what it can build them from"
            ) from error
        opened = OPEN_PAYLOAD % PAYLOAD
        text += f"import pickle; args, kwargs = pickle.load({opened}); {call}(*args, **kwargs)"
    else:
        text += f"{call}()"
    plan = launch.plan([sys.executable], [sys.executable, "-c", text])
    return Launch(
        info=TargetInfo(
            kind="callable", text=f"{module}:{name}", args=tuple(repr(a) for a in args)
        ),
        executable=sys.executable,
        arguments=tuple(plan.arguments),
        observed=plan.observed,
        by_path=plan.by_path,
        payload=payload,
    )


def _importable(function: Callable[..., Any]) -> tuple[str, str]:
    """The module and the name by which another process can import a callable."""
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
            f"{module}.{name} is something else than the target (a decorator replaced it?): "
            "pass the callable that its module has under that name"
        )
    return module, name
