"""The first lines of ours in a new interpreter: announce it, set the watches."""

import posix
import sys

from pytest_proclife.inside import exit, launch, multiproc, programs, recorder, signals, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def enter(ticket: str, site: str) -> "Callable[[str, tuple[Any, ...]], None]":
    """Join the run that the ticket names; the audit hook, which is the caller's to install."""
    tells_end = launch.restore(sys.orig_argv)
    address, inherited, parent, kind, start_method = ticket.split(",")
    recorder.join_run(address, inherited, parent)
    recorder.introduce(kind)
    watch.on_event("_proclife.forked", _after_fork)
    posix.register_at_fork(after_in_child=watch.raising("_proclife.forked"))
    programs.carry_on(site)
    exit.install(kind, tells_end)
    signals.install()
    multiproc.install(start_method, kind)
    return watch.begin()


def _after_fork(arguments: "tuple[Any, ...]") -> None:
    exit.forget()
    recorder.after_fork()
