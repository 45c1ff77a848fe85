"""Our first lines in a new interpreter: announce it, and begin to watch."""

import _thread
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import (
    early,
    exit,
    foreign,
    multiproc,
    programs,
    recorder,
    signals,
    waits,
    watch,
)
from pytest_proclife.inside.builtins import audit_function

TYPE_CHECKING = False
if sys.version_info < (3, 12):  # 3.11:
    from pytest_proclife.inside import rewrite
else:
    from pytest_proclife.inside import monitoring
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FORKED = "_proclife.forked"  # an audit event
_CFFI, _FAULTHANDLER = "_cffi_backend", "faulthandler"
# the modules of C that `foreign` watches; it is loaded when it is needed
_OF_C = (_CFFI, _FAULTHANDLER, "_interpreters", "_testcapi", "_testinternalcapi")
# The last module that `site` needs, or under -S the interpreter; and what may stand behind it in
# sys.modules if neither a .pth file nor an embedding program has imported anything.
_LAST = ("_sitebuiltins", "io")
_BEHIND = ("sitecustomize", "site", "__main__", "linecache", "_distutils_hack")


def enter(ticket: str, site: str) -> "Callable[[str, tuple[Any, ...]], None]":
    """Join the run that the ticket names; returns the audit hook, the caller's to install."""
    if sys.version_info < (3, 12):  # 3.11:
        rewrite.main.remove_end(sys.orig_argv)
    address, inherited, parent, kind, start_method, statuses, held = ticket.split(",")
    recorder.identity.tells_statuses = statuses == "1"
    if held == "1":
        recorder.identity.is_held = True
        recorder.prepare()
    recorder.join_run(address, inherited, parent)
    recorder.introduce(kind)
    watch.on_event(_FORKED, _after_fork)
    posix.register_at_fork(after_in_child=audit_function(_FORKED))
    programs.install(site)
    exit.install(kind)
    signals.install()
    waits.install()
    multiproc.install(start_method, kind)
    _watch_foreign()
    if sys.version_info >= (3, 12):  # 3.11: rewritten functions are always seen
        monitoring.became_blind = _report_blindness
    hook = watch.begin()
    if kind != "exec" and _had_children():  # by exec, they are those of a program that reported
        recorder.report(wire.EARLY, "child", "")
    if _thread._count():
        recorder.report(wire.EARLY, "thread", "")
    if _is_late():
        early.attach()
    return hook


def _after_fork(arguments: "tuple[Any, ...]") -> None:
    exit.after_fork()
    recorder.after_fork()


def _report_blindness() -> None:
    recorder.report(wire.UNSEEN, "sys.monitoring: the program uses all tools")


def _watch_foreign() -> None:
    watch.on_event("ctypes.dlsym", _on_symbol)
    watch.on_event("ctypes.dlsym/handle", _on_symbol)
    watch.on_module("cffi/api.py", lambda module: foreign.watch_cffi(module))
    watch.on_name(_CFFI, lambda code: foreign.module_runs(code))
    watch.on_event("import", _on_import)
    if _FAULTHANDLER in sys.modules:  # by -X faulthandler
        foreign.watch_module(sys.modules[_FAULTHANDLER])
    if sys.version_info < (3, 13):  # `foreign` has what comes in its place
        watch.on_event("cpython.PyInterpreterState_New", lambda _: foreign.new_interpreter())


def _on_symbol(arguments: "tuple[Any, ...]") -> None:
    """The program takes a function of C, by ctypes."""
    foreign.take(arguments[1], "ctypes")


def _on_import(arguments: "tuple[Any, ...]") -> None:
    if arguments[0] in _OF_C:
        foreign.module_comes(arguments[0])


# --- what was there before


def _is_late() -> bool:
    """Whether something has been imported that an interpreter does not need to start.

    Or something keeps `os._exit`: the stand-in alone has the real one, as for `os.closerange`.
    """
    left, alone = posix._exit, posix.closerange
    if sys.getrefcount(left._real) != sys.getrefcount(alone._real):  # type: ignore[attr-defined]
        return True
    for name in reversed(sys.modules):
        if name in _LAST:
            return False
        if name not in _BEHIND and not name.startswith("encodings."):
            return True
    return True


def _had_children() -> bool:
    """Whether this process has a child, or has waited for one.

    Source: cminflt of proc_pid_stat(5), the page faults of the children that it waited for.
    """
    try:
        posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
        return True
    except OSError:
        pass  # it has none now
    try:
        file = posix.open("/proc/self/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False  # there is no /proc
    try:
        return posix.read(file, 1000).rpartition(b") ")[2].split()[8] != b"0"
    finally:
        posix.close(file)
