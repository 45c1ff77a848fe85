"""Our first lines in a new interpreter: announce it, and begin to watch."""

import posix
import sys

from pytest_proclife.inside import exit, multiproc, programs, recorder, signals, waits, watch
from pytest_proclife.inside.builtins import audit_function

TYPE_CHECKING = False
if sys.version_info < (3, 12):  # 3.11:
    from pytest_proclife.inside import rewrite
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_FORKED = "_proclife.forked"  # an audit event


def enter(ticket: str, site: str) -> "Callable[[str, tuple[Any, ...]], None]":
    """Join the run that the ticket names; returns the audit hook, the caller's to install."""
    if sys.version_info < (3, 12):  # 3.11:
        rewrite.main.remove_end(sys.orig_argv)
    address, inherited, parent, kind, start_method = ticket.split(",")
    recorder.join_run(address, inherited, parent)
    recorder.introduce(kind)
    watch.on_event(_FORKED, _after_fork)
    posix.register_at_fork(after_in_child=audit_function(_FORKED))
    programs.install(site)
    exit.install(kind)
    signals.install()
    waits.install()
    multiproc.install(start_method, kind)
    return watch.begin()


def _after_fork(arguments: "tuple[Any, ...]") -> None:
    exit.after_fork()
    recorder.after_fork()
