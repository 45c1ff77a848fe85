"""What processes can do below Python, unseen: by functions of C that they took, and otherwise."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence

from pytest_proclife import wire
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.log import ProcessFacts, Report


class Power(enum.Enum):
    """Something that a process can do without a report of it."""

    START = enum.auto()  # start programs, or become one
    FORK = enum.auto()
    SIGNAL = enum.auto()  # other processes
    EXIT = enum.auto()
    HANDLE = enum.auto()  # set a signal handler of C
    SUBINTERPRETER = enum.auto()  # signal other processes from one


Powers = Mapping[Power, float]  # since when (monotonic ns)

_OF_FUNCTIONS = (
    (wire.STARTING, {Power.START}),
    (wire.FORKING, {Power.FORK}),
    (wire.SIGNALLING, {Power.SIGNAL}),
    (wire.EXECUTING, {Power.START, Power.EXIT}),
    (wire.EXITING_IN_C, {Power.EXIT}),
    (wire.HANDLING, {Power.HANDLE}),
    (wire.ANYTHING, set(Power)),
)
_NOT_INHERITED = {
    wire.SUBINTERPRETER: {Power.START, Power.EXIT, Power.SUBINTERPRETER},
    wire.FAULTHANDLER: {Power.EXIT},
}


def find(processes: Sequence[ProcessFacts], family: Family) -> tuple[Powers, ...]:
    """The powers of each process, by number. A fork has those of its parent."""
    found: dict[int, dict[Power, float]] = {}
    inherited: dict[int, dict[Power, float]] = {}
    for number in family.order:
        process = processes[number]
        hello = process.first(wire.HELLO)
        parent = family.identities[number].forked_from
        is_fork = hello is not None and hello.field(2) == "fork" and parent is not None
        above = inherited.get(parent, {}) if is_fork and parent is not None else {}
        taken: dict[Power, float]
        taken = {p: process.began for p, since in above.items() if since <= process.began}
        for report in process.reports:
            _add(taken, report, _by_function(report))
        inherited[number] = taken
        # a fork has neither the subinterpreters nor the threads of its parent
        found[number] = dict(taken)
        for report in process.reports:
            if report.kind == wire.FOREIGN:
                _add(found[number], report, _NOT_INHERITED.get(report.field(0), ()))
    # one that could not be started is not in the order: it has none
    return tuple(found.get(process.number, {}) for process in processes)


def _by_function(report: Report) -> Iterable[Power]:
    if report.kind == wire.FOREIGN and report.field(0) not in _NOT_INHERITED:
        name = report.field(1)
    elif report.kind == wire.EARLY and report.field(0) == "function":
        name = report.field(1).rpartition(".")[2]
    else:
        return
    for names, powers in _OF_FUNCTIONS:
        if name in names.split():
            yield from powers


def _add(found: dict[Power, float], report: Report, powers: Iterable[Power]) -> None:
    for power in powers:
        found[power] = min(report.at, found.get(power, report.at))
