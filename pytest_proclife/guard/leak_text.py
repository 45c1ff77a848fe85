"""The words for a leak, for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from pytest_proclife.guard.leak import Leak, State
from pytest_proclife.records import MULTIPROCESSING_KINDS
from pytest_proclife.render.hang import call_words
from pytest_proclife.render.text import plain

_LINE = 160  # characters of a command line that are shown

_UNKNOWN = "at an unknown line"

_STATES = {
    State.RUNNING: "running for {age:.1f} s",
    State.ZOMBIE: "exited, never waited for",
    State.UNJOINED: "exited, never joined",
}
_SUMMARIES = {
    State.RUNNING: "",
    State.ZOMBIE: ", never waited for",
    State.UNJOINED: ", never joined",
}
_ADVICE = {
    "process": "join() it, or kill() it and join() it",
    "pool_worker": "close() or terminate() the Pool, then join() it",
    "executor_worker": "shutdown() the executor, or use it in a with statement",
    "manager": "shutdown() the manager, or use it in a with statement",
    "subprocess": "wait() for it, or kill() it and wait() for it",
    "posix_spawn": "wait for it with os.waitpid(), or kill it first",
    "os_fork": "wait for it with os.waitpid(), or kill it first",
    "other": "end it together with the process that started it",
}
_ADVICE_IF_EXITED = {
    **dict.fromkeys(MULTIPROCESSING_KINDS, "join() it"),
    "subprocess": "wait() for it",
}


def line(leak: Leak) -> str:
    """A leak in one line, with the reason if it is excused."""
    excuse = leak.reason or ("in the baseline" if leak.in_baseline else "")
    return f"{_headline(leak)}, {_start(leak)}{f' ({excuse})' if excuse else ''}"


def summary(leak: Leak) -> str:
    """A leak in a few words, for pytest's short summary."""
    place = plain(leak.place) or "an unknown line"
    return f"{plain(leak.name)} (pid {leak.pid}){_SUMMARIES[leak.state]}, started at {place}"


def account(leaks: Iterable[Leak]) -> str:
    """The leaks, by owner, without those that are excused; empty if there are no others."""
    groups = groupby((leak for leak in leaks if not leak.is_excused), key=lambda leak: leak.owner)
    return "\n\n".join(_account_of(owner, list(group)) for owner, group in groups)


def processes(number: int) -> str:
    return f"{number} process{'' if number == 1 else 'es'}"


def total(leaks: Sequence[Leak]) -> str:
    """How many processes leaked, of how many owners."""
    owners = len({leak.owner for leak in leaks})
    by = f"{owners} {'test or fixture' if owners == 1 else 'tests or fixtures'}"
    text = f"{processes(len(leaks))} leaked by {by}"
    for number, what in (
        (sum(leak.is_excused for leak in leaks), "allowed or in the baseline"),
        (sum(leak.killed for leak in leaks), "killed by the guard"),
    ):
        if number:
            text += f", {number} of them {what}"
    return text


def _account_of(owner: str, leaks: Sequence[Leak]) -> str:
    lines = [f"{owner} leaked {processes(len(leaks))}:"]
    for leak in leaks:
        lines += ["", f"  {_headline(leak)}", f"      {_start(leak)}"]
        if leak.argv:
            lines.append(f"      command line: {plain(leak.command)[:_LINE]}")
        end = "the fixture is torn down" if leak.of_fixture else "the test ends"
        lines.append(f"      {_advice(leak)}, before {end}")
    if any(leak.killed for leak in leaks):
        lines += [
            "",
            "  The guard has killed what was running; --proclife-guard-keep would let it run.",
        ]
    return "\n".join(lines)


def _headline(leak: Leak) -> str:
    state = _STATES[leak.state].format(age=leak.age)
    return f"{plain(leak.name)} ({leak.kind}, pid {leak.pid}), {state}{_stands(leak)}"


def _stands(leak: Leak) -> str:
    """Where it stood, if that is known."""
    call = f" in {call_words(leak.call)}" if leak.call else ""
    return f",{call} at {plain(leak.line)}" if leak.line else ""


def _start(leak: Leak) -> str:
    place = f"at {plain(leak.place)} in {plain(leak.function)}" if leak.place else _UNKNOWN
    if leak.through:
        place += f", through {plain(leak.through)}"
    if leak.ancestor is None:
        return f"started {place}"
    fork = f"a fork (pid {leak.ancestor_pid})" if leak.ancestor_pid else "a fork"
    return f"started by {plain(leak.ancestor) or fork}, which was started {place}"


def _advice(leak: Leak) -> str:
    if leak.state is State.RUNNING:
        return _ADVICE.get(leak.kind, _ADVICE["other"])
    return _ADVICE_IF_EXITED.get(leak.kind, "wait for it with os.waitpid()")
