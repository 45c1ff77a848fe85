"""What the account of a program has to say, from its plan and from what the kernel did.

The kernel decides what a race of CPython leaves open (whether a Pool's worker returns or is
terminated); the plan decides the rest, by the contract.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator
from dataclasses import dataclass, field

from programs.grammar import GOES_ON, Body, Child, Plan, Request
from programs.strace import Kernel

END = {  # of a process's own code: ending, exit code
    "return": ("returned", 0),
    "raise": ("raised", 1),
    "sys_exit_0": ("sys_exit", 0),
    "sys_exit_3": ("sys_exit", 3),
    "sys_exit_text": ("sys_exit", 1),
    "os_exit": ("os_exit", 7),
    "c_exit": ("c_exit", 8),
    "sigkill": ("signaled", -9),
    "sigterm": ("signaled", -15),
    "sighup": ("signaled", -1),
    "abort": ("signaled", -6),
}
PROGRAMS = {"true": 0, "false": 1, "exit 7": 7, "kill -ABRT $$": -6}
UNSEEN = frozenset({"exited", "unknown", "os_exit"})  # what an exit below Python may be called
WAITED = ("join", "join_timeout", "thread", "thread_left")
WAITED_BELOW = ("wait", "wait_timeout", "communicate", "communicate_timeout", "run", "run_timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The values that are right; more than one where the contract leaves it open."""

    name: str
    parent: str | None
    kind: str
    daemon: bool | None
    exitcode: frozenset[int]
    cause: frozenset[str]
    ending: frozenset[str]
    ended_by: frozenset[str | None]
    joined: frozenset[str | None]
    orphaned: frozenset[bool | None]
    start_method: str | None = None
    requests: tuple[tuple[str, str], ...] = ()  # sender, signal
    late_requests: tuple[tuple[str, str], ...] = ()  # sent when it had ended: may be seen or not
    named: bool = True  # the record has this name
    target_ran: bool = True
    deal: str = ""  # how its end was seen to
    end: str = ""  # what it did, for the kind of a contradiction


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    processes: tuple[Expected, ...]
    groups: tuple[tuple[str, Child], ...]  # with the name of the parent
    complete: bool | None


@dataclass(frozen=True, slots=True)
class _Fate:
    cause: str
    ending: str
    exitcode: int
    request: Request | None = None
    unsure: frozenset[str] = field(default=frozenset())  # causes that are right too


def expect(
    plan: Plan, kernel: Kernel, pids: dict[str, int], witnessed: bool = False
) -> Expectations:
    """What is right of a run of a plan; `witnessed`: the second witness saw what is done below
    Python, and by programs that are not Python.
    """
    main = plan.main
    expected = [_process(main, None, None, kernel, pids, witnessed)]
    groups = []
    unobserved = False
    in_c = False
    for parent, child in plan.children():
        if child.kind in ("pool", "executor", "manager"):
            groups.append((parent.name, child))
            continue
        unobserved |= child.kind == "program"
        expected.append(_process(child.body, child, parent, kernel, pids, witnessed))
    for body in plan.bodies():
        in_c |= body.goes_on and body.end == "c_exit"
    for body, sender in _asked(plan):
        for number, request in enumerate(body.requests):
            if request.via == "shell":
                unobserved = True
                expected.append(_shell(f"{body.name}_by_{number}", sender))
    complete = True if witnessed else False if unobserved else None if in_c else True
    return Expectations(processes=tuple(expected), groups=tuple(groups), complete=complete)


def _asked(plan: Plan) -> Iterator[tuple[Body, str]]:
    """Each process that is asked to end, with the name of the sender."""
    yield plan.main, plan.main.asker
    for parent, child in plan.children():
        yield child.body, parent.name if child.body.asker == "parent" else child.body.asker


def _process(
    body: Body,
    child: Child | None,
    parent: Body | None,
    kernel: Kernel,
    pids: dict[str, int],
    witnessed: bool,
) -> Expected:
    kinds = {"python": "subprocess", "program": "subprocess", "fork": "os_fork"}
    kind = "main" if child is None else kinds.get(child.kind, child.kind)
    fate = _fate(body, child, top=child is None or child.kind == "python")
    sender: str | None = None
    asker = body.asker if body.asker != "parent" or parent is None else parent.name
    if fate.request is not None:
        sender = f"{body.name}_by_{body.requests.index(fate.request)}"
        sender = sender if fate.request.via == "shell" else asker
    causes, by = {fate.cause, *fate.unsure}, {sender}
    if fate.request is not None and fate.request.via == "shell" and not witnessed:
        causes.add("unknown")
    if "unknown" in causes:
        by.add(None)
    endings = {"exited", "os_exit"} if fate.ending == "c_exit" else {fate.ending}
    requests = [
        (asker if r.via != "shell" else f"{body.name}_by_{number}", r.signal)
        for number, r in enumerate(body.requests)
        if r.via != "shell" or witnessed
    ]
    late = []
    if child is not None and child.belated and parent is not None:
        # it may have ended before
        wanted = pids.get(body.name), pids.get(parent.name), child.belated
        sent = [s.late for s in kernel.signals if (s.to, s.by, s.name) == wanted]
        requests += [(parent.name, child.belated)] * sent.count(False)
        late = [(parent.name, child.belated)] * sent.count(True)
    return Expected(
        name=body.name,
        parent=None if parent is None else parent.name,
        kind=kind,
        daemon=child.daemon if child is not None and child.kind == "process" else None,
        exitcode=frozenset({fate.exitcode}),
        cause=frozenset(causes),
        ending=frozenset(endings),
        ended_by=frozenset(by),
        joined=_joined(child),
        orphaned=_orphaned(child),
        start_method=child.method if child is not None and child.kind == "process" else None,
        requests=tuple(requests),
        late_requests=tuple(late),
        named=kind == "process",
        deal=_deal_words(child, parent),
        end=_end_words(body, child, fate),
    )


def _deal_words(child: Child | None, parent: Body | None) -> str:
    if child is None or parent is None:
        return ""
    in_c = parent.goes_on and parent.end == "c_exit"
    return child.deal + (", and its parent exits in C" if in_c else "")


def _end_words(body: Body, child: Child | None, fate: _Fate) -> str:
    request = fate.request
    if request is None:
        what = "" if child is None else " ".join(child.program[-1:])
        after = "".join(f" after {r.signal}: {r.reaction}" for r in body.requests[-1:])
        return (what or body.end) + after
    return f"{request.signal} by {request.via}: {request.reaction}"


def _shell(name: str, sender: str) -> Expected:
    return Expected(
        name=name,
        parent=sender,
        kind="subprocess",
        daemon=None,
        exitcode=frozenset({0}),
        cause=frozenset({"exited"}),
        ending=frozenset({"exited"}),
        ended_by=frozenset({None}),
        joined=frozenset({"explicit"}),
        orphaned=frozenset({False}),
        named=False,
        deal="run",
        end="kill in a shell",
    )


def _fate(body: Body, child: Child | None, top: bool) -> _Fate:
    """Its end; `top`: an exception that leaves its code meets the interpreter."""
    if child is not None and child.program and not body.requests:
        exitcode = PROGRAMS[child.program[-1]]
        if exitcode < 0:
            # a program that does not report: who sent it the signal is not seen
            return _Fate("signaled", "signaled", exitcode, unsure=frozenset({"unknown"}))
        return _Fate("exited", "exited", exitcode)
    for request in body.requests:
        if request.reaction not in GOES_ON:
            abandoned = child is not None and child.deal == "abandoned"
            return _reaction(request, abandoned, top, program=bool(child and child.program))
    ending, exitcode = END[body.end]
    if body.end == "c_exit":
        return _Fate("exited", "c_exit", exitcode, unsure=UNSEEN)
    return _Fate(ending, ending, exitcode)


def _reaction(request: Request, abandoned: bool, top: bool, program: bool) -> _Fate:
    """It ended of this request."""
    number = signals.Signals[request.signal].value
    cause = "killed" if request.signal == "SIGKILL" else "terminated"
    if abandoned:
        cause = "abandoned"
    ending, exitcode = {
        "default": ("signaled", -number),
        "leave": ("sys_exit", 5),
        "raise": ("raised", 1),
        "chained": ("raised", 1),
        "os_exit": ("os_exit", 4),
        "abort": ("signaled", -6),
        "kill_itself": ("signaled", -9),
        "ignore_and_leave": ("sys_exit", 6),
        "again": ("signaled", -number),
        "note_then_again": ("signaled", -number),
    }[request.reaction]
    if request.signal == "SIGINT" and request.reaction == "default" and not program:
        ending, exitcode = "raised", -2 if top else 1
    return _Fate(cause, ending, exitcode, request)


def _joined(child: Child | None) -> frozenset[str | None]:
    if child is None:
        return frozenset({None})
    if child.deal in ("implicit", "abandoned"):
        return frozenset({"implicit"})
    if child.kind == "process" and child.deal in WAITED:
        return frozenset({"explicit"})  # though a start() may have collected it in passing
    if child.kind == "fork":
        return frozenset({"explicit"} if child.deal in ("waitpid", "thread") else {None})
    if child.kind in ("python", "program"):
        waited = child.deal in WAITED_BELOW or child.deal == "thread"
        return frozenset({"explicit"} if waited else {None})
    return frozenset({None})


def _orphaned(child: Child | None) -> frozenset[bool | None]:
    """The kernel says whether the two ends were far enough apart to be told from each other."""
    if child is None:
        return frozenset({None})
    return frozenset({child.deal == "outlive", None})
