"""The stacks of processes that run Python: read from outside, by whatever can read them here.

That is py-spy (the extra `stacks`), or for CPython 3.14 and later its own `_remote_debugging`, by
another process of the same Python. Both read the memory of a process and change nothing in it; it
is not even stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_proclife.records import NoStackKind, StackSource

Thread = tuple[int, str, tuple[tuple[str, int, str], ...]]
Found = tuple[int, str, str, str, tuple[Thread, ...]]  # as protocol.STACKS has them
Asked = tuple[int, int, bool]  # number, pid, whether it is a Python

PROCESSES = 48  # whose stacks are read at most, main first
_AT_ONCE = 4  # readers that run at a time
_PATIENCE = 8.0  # s for one of them
_FRAMES = 200  # of a thread
_SCOPE = "/proc/sys/kernel/yama/ptrace_scope"

# Reads the stacks of the processes whose pids are its arguments: a line of JSON for each.
_UNWIND = """
import json, sys
from _remote_debugging import RemoteUnwinder
for pid in map(int, sys.argv[1:]):
    try:
        found = RemoteUnwinder(pid, all_threads=True).get_stack_trace()
        # from 3.15 on they are listed by interpreter
        threads = [t for part in found for t in getattr(part, "threads", [part])]
        stacks = []
        for thread in threads:
            frames = []
            for frame in thread.frame_info:
                place = getattr(frame, "location", None)
                line = frame.lineno if hasattr(frame, "lineno") else place and place.lineno
                frames.append((frame.filename, line or 0, frame.funcname))
            stacks.append((thread.thread_id, "", frames))
        print(json.dumps([pid, "", stacks]), flush=True)
    except Exception as error:
        print(json.dumps([pid, f"{type(error).__name__}: {error}", []]), flush=True)
"""


def read(asked: Sequence[Asked]) -> tuple[Found, ...]:
    """Read the stacks of processes; says of each Python why there is none, if there is none."""
    pythons = [(number, pid) for number, pid, is_python in asked if is_python]
    skipped = pythons[PROCESSES:]
    found = [_without(number, NoStackKind.TOO_MANY) for number, _ in skipped]
    allowed = []
    for number, pid in pythons[:PROCESSES]:
        refused = _refused(pid)
        if refused is None:
            allowed.append((number, pid))
        else:
            found.append(_without(number, refused))
    program = _py_spy()
    if program:
        found += _by_py_spy(program, allowed)
    elif sys.version_info >= (3, 14):
        found += _by_remote_debugging(allowed)
    else:
        found += [_without(number, NoStackKind.NO_READER) for number, _ in allowed]
    return tuple(found)


def _without(number: int, why: NoStackKind, details: str = "") -> Found:
    return number, StackSource.KERNEL.value, why.value, details[:300], ()


def _refused(pid: int) -> NoStackKind | None:
    """Why the kernel does not let this process look into another; None if it does."""
    try:
        # it asks for the same right as reading the memory: ptrace(2), PTRACE_MODE_ATTACH
        Path(f"/proc/{pid}/syscall").read_bytes()
    except PermissionError:
        pass
    except OSError:
        return None  # it has ended; or this kernel has no such file, and the reader will see
    else:
        return None
    with contextlib.suppress(OSError):
        uids = {line for line in _status(pid) if line.startswith("Uid:")}
        if os.geteuid() != 0 and uids != {line for line in _status("self") if line[:4] == "Uid:"}:
            return NoStackKind.OTHER_USER
        if Path(_SCOPE).read_text().strip() != "0":
            return NoStackKind.PTRACE_SCOPE
    return NoStackKind.REFUSED


def _status(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()


def _py_spy() -> str:
    """The path of py-spy: that of this environment, or of PATH; "" if there is none."""
    own = os.path.join(os.path.dirname(sys.executable or ""), "py-spy")
    return own if os.access(own, os.X_OK) else shutil.which("py-spy") or ""


def _by_py_spy(program: str, asked: Sequence[tuple[int, int]]) -> Iterable[Found]:
    # it does not stop the process; with --locals it would say more than is needed
    command = [program, "dump", "--json", "--nonblocking", "--full-filenames", "--pid"]
    for start in range(0, len(asked), _AT_ONCE):
        group = asked[start : start + _AT_ONCE]
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(_start([*command, str(pid)])) for _, pid in group]
            for (number, _), reader in zip(group, readers, strict=True):
                output, errors = _result(reader)
                try:
                    threads = tuple(_threads_of_py_spy(json.loads(output)))
                except (ValueError, TypeError, KeyError, AttributeError):
                    yield _without(number, NoStackKind.FAILED, errors.strip())
                else:
                    yield number, StackSource.PY_SPY.value, "", "", threads


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        start_new_session=True,  # a Ctrl-C is not for it
    )


def _result(reader: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return reader.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        reader.kill()
        return "", f"it took longer than {_PATIENCE:g} s"


def _threads_of_py_spy(values: Any) -> Iterable[Thread]:
    for thread in values:
        frames = ((f["filename"], f["line"], f["name"]) for f in thread["frames"][:_FRAMES])
        yield thread["os_thread_id"] or 0, thread["thread_name"] or "", tuple(frames)


def _by_remote_debugging(asked: Sequence[tuple[int, int]]) -> Iterable[Found]:
    if not asked:
        return
    numbers = {pid: number for number, pid in asked}
    with _start([sys.executable, "-I", "-S", "-c", _UNWIND, *map(str, numbers)]) as reader:
        output, errors = _result(reader)
    for line in output.splitlines():
        pid, problem, threads = json.loads(line)
        number = numbers.pop(pid)
        if problem:
            yield _without(number, NoStackKind.FAILED, problem)
            continue
        read = tuple((t, n, tuple(map(tuple, frames[:_FRAMES]))) for t, n, frames in threads)
        yield number, StackSource.REMOTE_DEBUGGING.value, "", "", read
    for number in numbers.values():
        yield _without(number, NoStackKind.FAILED, errors.strip().rpartition("\n")[2])
