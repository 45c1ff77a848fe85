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
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_proclife.records import NoStackKind, StackSource

Thread = tuple[int, str, tuple[tuple[str, int, str], ...]]
Found = tuple[int, str, str, str, tuple[Thread, ...]]  # as protocol.STACKS has them
Asked = tuple[int, int, bool]  # number, pid, whether it is a Python

PROCESSES = 48  # whose stacks are read at most, main first
_AT_ONCE = 4  # readers that run at a time
_PATIENCE = 10.0  # s for all of them; the supervisor waits somewhat longer
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
    try:
        found += _read(allowed)
    except OSError as error:  # no process or no descriptor is left for a reader
        found = [_without(number, NoStackKind.FAILED, str(error)) for number, _ in pythons]
    return tuple(found)


def _read(asked: Sequence[tuple[int, int]]) -> Iterable[Found]:
    program = _py_spy()
    if program:
        found = list(_by_py_spy(program, asked))
    else:
        found = [_without(number, NoStackKind.NO_READER) for number, _ in asked]
    if sys.version_info >= (3, 14):
        unread = {number for number, _, missing, *_ in found if missing}
        again = [(number, pid) for number, pid in asked if number in unread]
        found = [entry for entry in found if entry[0] not in unread]
        found += _by_remote_debugging(again)
    return found


def _without(number: int, why: NoStackKind, details: str = "") -> Found:
    return number, StackSource.KERNEL.value, why.value, details[:300], ()


def _refused(pid: int) -> NoStackKind | None:
    """Why the kernel refuses this process the memory of another; None if it allows it."""
    try:
        # it asks for the same right as reading the memory: ptrace(2), PTRACE_MODE_ATTACH
        Path(f"/proc/{pid}/syscall").read_bytes()
    except PermissionError:
        pass
    except OSError:
        return None  # it has ended; or this kernel has no such file, and the reader will see
    else:
        return None
    if os.geteuid() != 0 and _uids(pid) != _uids("self"):
        return NoStackKind.OTHER_USER
    with contextlib.suppress(OSError):
        if Path(_SCOPE).read_text().strip() != "0":
            return NoStackKind.PTRACE_SCOPE
    return NoStackKind.REFUSED


def _uids(pid: int | str) -> list[str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith("Uid:")]
    return []


def _py_spy() -> str:
    """The path of py-spy, in this Python's environment or on PATH; "" if it is not there."""
    own = os.path.join(os.path.dirname(sys.executable or ""), "py-spy")
    return own if os.access(own, os.X_OK) else shutil.which("py-spy") or ""


def _by_py_spy(program: str, asked: Sequence[tuple[int, int]]) -> Iterable[Found]:
    command = [program, "dump", "--json", "--nonblocking", "--full-filenames", "--pid"]
    until = time.monotonic() + _PATIENCE
    for start in range(0, len(asked), _AT_ONCE):
        group = asked[start : start + _AT_ONCE]
        with _started([[*command, str(pid)] for _, pid in group]) as readers:
            for (number, _), reader in zip(group, readers, strict=True):
                output, errors = _result(reader, until)
                try:
                    threads = tuple(_threads_of_py_spy(json.loads(output)))
                except (ValueError, TypeError, KeyError, AttributeError):
                    yield _without(number, NoStackKind.FAILED, errors.strip())
                else:
                    yield number, StackSource.PY_SPY.value, "", "", threads


@contextlib.contextmanager
def _started(commands: Iterable[list[str]]) -> Iterator[list[subprocess.Popen[str]]]:
    """Readers that run; none is left, whatever happens."""
    readers: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            reader = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="backslashreplace",
                start_new_session=True,  # a Ctrl-C is not for it
            )
            readers.append(reader)
        yield readers
    finally:
        for reader in readers:
            with reader:  # closes its pipes, and waits
                reader.kill()


def _result(reader: subprocess.Popen[str], until: float) -> tuple[str, str]:
    try:
        return reader.communicate(timeout=max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "", f"not within {_PATIENCE:g} s"


def _threads_of_py_spy(values: Any) -> Iterable[Thread]:
    for thread in values:
        frames = ((f["filename"], f["line"], f["name"]) for f in thread["frames"][:_FRAMES])
        yield thread["os_thread_id"] or 0, thread["thread_name"] or "", tuple(frames)


def _by_remote_debugging(asked: Sequence[tuple[int, int]]) -> Iterable[Found]:
    if not asked:
        return
    numbers = {pid: number for number, pid in asked}
    command = [sys.executable, "-I", "-S", "-c", _UNWIND, *map(str, numbers)]
    with _started([command]) as (reader,):
        output, errors = _result(reader, time.monotonic() + _PATIENCE)
    for line in output.splitlines():
        if not line.endswith("]"):
            break  # it was cut off
        pid, problem, threads = json.loads(line)
        number = numbers.pop(pid)
        if problem:
            yield _without(number, NoStackKind.FAILED, problem)
            continue
        read = tuple((t, n, tuple(map(tuple, frames[:_FRAMES]))) for t, n, frames in threads)
        yield number, StackSource.REMOTE_DEBUGGING.value, "", "", read
    for number in numbers.values():
        yield _without(number, NoStackKind.FAILED, errors.strip().rpartition("\n")[2])
