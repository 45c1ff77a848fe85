"""`_posixsubprocess.fork_exec`, by which `subprocess` and `multiprocessing` start programs."""

import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside.builtins import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Instead

    Path = Any  # str, bytes or os.PathLike

SERVICES = ("resource_tracker", "forkserver")  # multiprocessing's own processes


def replace(instead: "Instead") -> None:
    """Stand in for it, in `subprocess` too, which has its own name for it."""
    module: Any = sys.modules["_posixsubprocess"]
    real = module.fork_exec
    stand_in(module, "fork_exec", instead)
    subprocess = sys.modules.get("subprocess")
    if subprocess is not None and getattr(subprocess, "_fork_exec", None) is real:
        subprocess.__dict__["_fork_exec"] = module.fork_exec


def kind_of(caller: "FrameType | None") -> str:
    """The kind of process that a call starts."""
    if caller is None or caller.f_code.co_name != "spawnv_passfds" or caller.f_back is None:
        return "subprocess"
    path = caller.f_back.f_code.co_filename
    for kind in SERVICES:
        if path.endswith(f"/{kind}.py"):
            return kind
    if path.endswith("/billiard/semaphore_tracker.py"):
        return "resource_tracker"  # as it was called in multiprocessing up to 3.7
    return "process"


def text(path: "Path") -> str:
    """Do what `os.fsdecode` does."""
    name: str | bytes = posix.fspath(path)
    if isinstance(name, str):
        return name
    return name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def texts(arguments: "Sequence[Any]") -> "list[str]":
    """A command line, for a report."""
    return [wire.clip(text(a), 1000) for a in arguments[: wire.ARGV_LIMIT]]
