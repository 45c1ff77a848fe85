"""Print how soon a wait wakes after its event, and what it costs while nothing happens.

    python benchmarks/waiting.py [--rounds N] [--seconds S]

Main writes down the moment at which it acts (on the monotonic clock, which all processes share);
the wait's return is taken in the caller. Each kind of event is measured in turn, N rounds. The
processor time of a wait for nothing is that of a wait of S seconds less that of one of none,
which asks for a snapshot and says what was seen, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator

from costs import Spread

from pytest_proclife import Code, Run, RunningMain, RunTimeout, start

PROGRAM = """
import os, time
import signal
def act(number, frame):
    now = time.monotonic_ns()
    if number == signal.SIGUSR1:
        os.write(1, b"at %d\\n" % now)
    else:
        child = os.fork()
        if child == 0:
            now = time.monotonic_ns()
            os.write(2, b"child %d\\n" % now)
            os._exit(0)
        os.waitpid(child, 0)
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
signal.signal(signal.SIGUSR1, act)
signal.signal(signal.SIGUSR2, act)
print("ready", flush=True)
while True:
    os.read(reader, 1)
"""
EACH = 5  # rounds of one main: the account of many processes takes its time to put together
BOUND = 5.0  # ms, the promise for the median


def rounds(main: RunningMain, count: int) -> Iterator[tuple[str, float]]:
    """Each event in turn: (what is waited for, ms from the event to the wait's return)."""
    for number in range(1, count + 1):
        os.kill(main.pid, 10)
        match = main.wait_for_output(r"at (\d+)\n", times=number)
        yield "output", (time.monotonic_ns() - int(match[1])) / 1e6
        os.kill(main.pid, 12)
        run = main.wait_for(_ended(number))
        end = time.monotonic_ns()
        written = [int(text) for text in re.findall(r"child (\d+)", run.stderr or "")]
        if len(written) == number:
            yield "a child's end", (end - written[-1]) / 1e6


def _ended(count: int) -> Callable[[Run], bool]:
    return lambda run: sum(p.cause is not None for p in run.children) >= count


def of_the_end(count: int) -> Iterator[float]:
    """ms from main's last statement to the return of wait(), with nothing that lingers."""
    text = "import os, time; os.write(1, b'%d' % time.monotonic_ns()); os._exit(0)"
    for _ in range(count):
        with start(Code(text), linger=0.0) as main:
            run = main.wait()
            yield (time.monotonic_ns() - int(run.stdout or "0")) / 1e6


def idle(main: RunningMain, seconds: float) -> tuple[float, float]:
    """Processor time in ms of the caller and of the supervisor, in a wait for nothing."""
    supervisor = _parent(main.pid)
    figures = []
    for timeout in (0.0, 0.0, seconds):  # the first one loads what it needs
        before, theirs = time.process_time(), _ticks(supervisor)
        with contextlib.suppress(RunTimeout):
            main.wait(timeout=timeout)
        figures.append(((time.process_time() - before) * 1e3, _ticks(supervisor) - theirs))
    _, nothing, waited = figures
    return max(0.0, waited[0] - nothing[0]), max(0.0, waited[1] - nothing[1])


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _ticks(pid: int) -> float:
    """Its processor time in ms, from its scheduler's statistics: proc_pid_schedstat(5)."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n")
    print("| event | ms until the wait returns: median (quartiles) |\n| --- | --- |")
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds // EACH):
        with start(Code(PROGRAM), linger=0.0) as running:
            running.wait_for_output("ready")
            for event, milliseconds in rounds(running, EACH):
                found.setdefault(event, []).append(milliseconds)
    with start(Code(PROGRAM), linger=0.0) as running:
        running.wait_for_output("ready")
        caller, supervisor = idle(running, options.seconds)
    found["main's end"] = list(of_the_end(options.rounds // 2))
    for event, values in found.items():
        spread = Spread.of(values)
        verdict = "" if spread.median <= BOUND else f", above {BOUND}"
        print(f"| {event} | {spread:.2f}{verdict} |")
    print(f"\nIn a wait of {options.seconds:.0f} s for nothing, processor time:", end=" ")
    print(f"caller {caller:.2f} ms, supervisor {supervisor:.2f} ms")


if __name__ == "__main__":
    main()
