"""Run first by planted bytecode, in place of the package `encodings` (see `launch`).

The interpreter is half built here: there is neither a codec yet nor `site`. So this undoes the
option as far as it has taken effect, and waits for the audit event that comes right before
`__main__`. It is executed with MODULE, the names of `encodings`, INSIDE, our folder, and
FOLDER, the one that the option names.
"""

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    MODULE: dict[str, Any] = {}
    INSIDE = FOLDER = ""

_OPTION = "pycache_prefix"


def _undo_option() -> None:
    """Undo the option. Called twice: the interpreter sets some of these anew as it starts."""
    before = None
    if not sys.flags.ignore_environment:
        before = posix.environ.get(b"PYTHONPYCACHEPREFIX") or None
    sys.pycache_prefix = before and before.decode()
    sys._xoptions.pop(_OPTION, None)
    arguments = sys.orig_argv
    ours = f"{_OPTION}={FOLDER}"
    if arguments[1:3] == ["-X", ours]:
        del arguments[1:3]


def _enter() -> None:
    global _recorder
    ticket = posix.environ.pop(b"_PROCLIFE", None)
    if ticket is None:
        return
    posix.unsetenv(b"_PROCLIFE")
    path = f"{INSIDE}/site/loader.py"
    source_loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
    names: dict[str, Any] = {}
    exec(source_loader("loader", path).get_code("loader"), names)
    _recorder = names["load"](INSIDE).enter(ticket.decode(), f"{INSIDE}/site")


_is_waiting = True
_recorder: "Callable[[str, tuple[Any, ...]], None] | None" = None  # its audit hook


def _hook(event: str, arguments: "tuple[Any, ...]") -> None:
    global _is_waiting
    if _is_waiting and event.startswith("cpython.run_"):
        _is_waiting = False
        try:
            _undo_option()
            _enter()
        except Exception:
            pass  # the observed program must never see a fault of the recorder
    if _recorder is not None:
        _recorder(event, arguments)


_undo_option()
MODULE["__spec__"].cached = None  # found anew when asked for
if "__cached__" in MODULE:
    MODULE["__cached__"] = MODULE["__spec__"].cached
sys.addaudithook(_hook)
