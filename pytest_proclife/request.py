"""What a supervisor is asked for: a resolved target and all that main inherits of its caller."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import os
import signal
import sys
import tempfile
from typing import IO, Any

from pytest_proclife import wire
from pytest_proclife.inside import commandline
from pytest_proclife.target import Launch

OUTPUT_LIMIT = 1 << 20  # bytes kept of each stream, half of them its head

_VALID = frozenset(int(number) for number in signal.valid_signals())
_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside", "site")


def check_seconds(name: str, value: float | None, *, or_none: bool) -> None:
    """ValueError where a setting is no number of seconds."""
    if value is None and or_none:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        none = " or None" if or_none else ""
        raise ValueError(f"{name} is a number of seconds, 0 or more{none}, not {value!r}")


def request_for(
    launch: Launch,
    environment: dict[str, str],
    cwd: str,
    start_method: str | None,
    timeout: float | None,
    linger: float,
    group: int | None,
    capture: bool,
    pass_output: bool,
    live: bool,
) -> dict[str, Any]:
    """The request as the plain values that cross to a supervisor; seconds for times.

    `group` is the process group that main joins, None for one of its own. With `capture`
    output is kept, and with `pass_output` copied to the streams that come with the request.
    `live`: the caller looks at the run, and acts on it, while it lasts.
    """
    env = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
    if launch.observed:
        # whoever watches the run puts in where reports go: the address, main's descriptor
        ticket = f"ADDRESS,FD,,main,{start_method or ''}"
        env[wire.VARIABLE.encode()] = ticket.encode()
        if launch.by_path:
            path = commandline.search_path(env.get(b"PYTHONPATH"), os.fsencode(_SITE))
            env[b"PYTHONPATH"] = path
    ignored = [
        number
        # _signal: the numbers as they are, where signal.py makes an enum of each
        for number in range(1, signal.NSIG)
        # these two are ignored by every Python, which gives them back to what it starts
        # (`restore_signals` of subprocess)
        if number not in (signal.SIGPIPE, signal.SIGXFSZ)
        and number in _VALID
        and _signal.getsignal(number) == _signal.SIG_IGN
    ]
    return {
        "executable": launch.executable,
        "arguments": list(launch.arguments),
        "env": env,
        "ticket": wire.VARIABLE.encode(),
        "observed": launch.observed,
        "cwd": cwd,
        "timeout": timeout,
        "linger": linger,
        "group": 0 if group is None else group,
        "limit": OUTPUT_LIMIT,
        "ignored": ignored,
        "mask": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "umask": _umask(),
        "capture": capture,
        "pass_output": pass_output,
        "live": live,
    }


def _umask() -> int:
    """The caller's umask, read where reading does not change it: proc_pid_status(5)."""
    with (
        contextlib.suppress(FileNotFoundError),  # polling leaves it to the kernel
        open("/proc/self/status", encoding="ascii", errors="replace") as file,
    ):
        for line in file:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def opened_input(input: str | bytes | None) -> IO[bytes]:
    """A file with the input at its beginning; nothing to read for None. The caller closes it."""
    if input is None:
        return open(os.devnull, "rb")
    file: IO[bytes]
    if sys.platform == "linux":
        file = os.fdopen(os.memfd_create("proclife-input"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(input.encode() if isinstance(input, str) else input)
    file.flush()
    file.seek(0)
    return file
