"""The register of this process: one for all sessions of pytest that run in it."""

from __future__ import annotations

import os
import sys

from pytest_proclife.guard.ledger import Ledger
from pytest_proclife.guard.register import Register

_registers: dict[int, Register] = {}  # by the process that they are of


def lacking() -> str:
    """What the platform lacks for the guard, in words; empty where there is all."""
    if sys.platform != "linux":
        return f"{sys.platform} has no /proc that tells of children, and no pidfds"
    if not hasattr(os, "pidfd_open") or not hasattr(os, "memfd_create"):
        return "this Python was built without os.pidfd_open or os.memfd_create"
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return "/proc is not mounted, or does not tell of children (CONFIG_PROC_CHILDREN)"
    return ""


def register() -> Register:
    """The register; begun at the first call. What is there already is nobody's."""
    if os.getpid() not in _registers:
        _registers.clear()
        _registers[os.getpid()] = Register(Ledger())
    return _registers[os.getpid()]
