"""The grammar: a plan of a program, drawn choice by choice.

Each choice is a small number and the first option is the simplest, so that any shorter or smaller
sequence of choices is a simpler program: that is how a contradiction is shrunk. What would hang
or race is left out here, so that each plan has one truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

Option = TypeVar("Option")
Choose = Callable[[int], int]  # a number below the argument

METHODS = ("fork", "spawn", "forkserver")
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
GROUPS = ("pool", "executor", "manager")

# what a process does with a signal that it is asked with, and then goes on
GOES_ON = ("note", "nothing", "ignored", "blocked", "caught")
# the same, and it ends of it
ENDS = (
    *("default", "leave", "raise", "chained", "os_exit", "abort", "kill_itself"),
    *("ignore_and_leave", "again", "note_then_again"),
)
# how its own code ends; these run the exit path
ORDERLY = ("return", "sys_exit_0", "raise", "sys_exit_3", "sys_exit_text")
HARD = ("os_exit", "c_exit", "sigkill", "sigterm", "sighup", "abort")
HARD_REACTIONS = ("os_exit", "abort", "kill_itself", "again", "note_then_again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A signal by which a process is asked to end; `via` is the sender's call."""

    signal: str
    via: str
    reaction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a process does: it deals with its children, is asked, waits and ends.

    `asker` is "parent" or the name of one of its own children. It waits for the end of its
    "parent", or for a "gate" that the parent opens.
    """

    name: str
    end: str
    requests: tuple[Request, ...] = ()
    asker: str = "parent"
    waits: str = ""
    children: tuple[Child, ...] = ()
    watches: bool = False  # by a handler of SIGCHLD

    @property
    def goes_on(self) -> bool:
        return all(request.reaction in GOES_ON for request in self.requests)

    @property
    def blocks(self) -> bool:
        return any(request.reaction == "blocked" for request in self.requests)

    @property
    def orderly(self) -> bool:
        """Whether its exit path runs."""
        if self.goes_on:
            return self.end in ORDERLY
        last = self.requests[-1]
        if last.reaction == "default":
            return last.signal == "SIGINT"
        return last.reaction not in HARD_REACTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What a process starts: one process, or a group of a library's.

    `kind` is process, python (a subprocess that runs the same file), program (one that is not
    Python), fork, or one of GROUPS. `deal` is how its end is seen to; `when`: early (at once),
    late (after all starts) or last (after the parent's own requests).
    """

    body: Body
    kind: str
    deal: str
    method: str = "fork"
    daemon: bool = False
    program: tuple[str, ...] = ()
    when: str = "early"
    belated: str = ""  # a signal that is sent after its end

    @property
    def name(self) -> str:
        return self.body.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    main: Body
    early: str  # how multiprocessing is imported before the recorder, if it is

    def bodies(self) -> Iterator[Body]:
        return _bodies(self.main)

    def children(self) -> Iterator[tuple[Body, Child]]:
        """Each child with its parent."""
        for body in self.bodies():
            for child in body.children:
                yield body, child


def _bodies(body: Body) -> Iterator[Body]:
    yield body
    for child in body.children:
        if child.kind not in ("program", *GROUPS):
            yield from _bodies(child.body)


def from_values(values: dict[str, Any]) -> Plan:
    """A plan from what `dataclasses.asdict` made of it, through JSON."""
    return Plan(main=_body_from(values["main"]), early=values["early"])


def _body_from(values: dict[str, Any]) -> Body:
    requests = tuple(Request(**request) for request in values["requests"])
    children = tuple(
        Child(**{**child, "body": _body_from(child["body"]), "program": tuple(child["program"])})
        for child in values["children"]
    )
    return Body(**{**values, "requests": requests, "children": children})


def gates(plan: Plan) -> Iterator[str]:
    """The names of all gates that a program may use."""
    for body in plan.bodies():
        yield from (f"ready.{body.name}", f"gate.{body.name}")
        for number in range(len(body.requests)):
            yield from (f"sent.{body.name}.{number}", f"on.{body.name}.{number}")


def draw(choose: Choose) -> Plan:
    drawing = _Drawing(choose)
    main = drawing.main()
    early = drawing.pick(("",) * 10 + ("sitecustomize", "pth"))
    return Plan(main=main, early=early)


class _Drawing:
    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.names = 0
        self.groups = 1  # at most one in a program: they take their time
        self.forked = False  # its parent may have a fork server, which CPython then asks in vain

    def pick(self, options: Sequence[Option]) -> Option:
        return options[self.choose(len(options))]

    def rarely(self, one_in: int) -> bool:
        return self.choose(one_in) == one_in - 1

    def name(self) -> str:
        self.names += 1
        return f"p{self.names}"

    def main(self) -> Body:
        ends = ORDERLY if self.choose(3) < 2 else HARD
        body = Body(name="main", end=self.pick(ends))
        asker: tuple[Child, ...] = ()
        if self.rarely(4):
            requests = self.requests("main", ends=ends is ORDERLY)
            if body.end.upper() in {request.signal for request in requests}:
                body = replace(body, end="sigkill")
            body = replace(body, requests=requests)
            asker = (self.asker(body),)
            body = replace(body, asker=asker[0].name)
        return self.with_children(body, "main", depth=1, more=asker)

    def requests(self, kind: str, ends: bool = True) -> tuple[Request, ...]:
        """What a process is asked with; each signal once, and only the last ends it."""
        left = list(SIGNALS)
        found = []
        for _ in range(self.choose(3)):
            signal = left.pop(self.choose(len(left)))
            found.append(
                Request(signal=signal, via=self.via(kind, signal), reaction=self.pick(GOES_ON))
            )
        if found and (not ends or self.rarely(3)):
            return tuple(found)
        signal = self.pick([*left, "SIGKILL"])
        reaction = "default" if signal == "SIGKILL" else self.reaction(kind, signal)
        found.append(Request(signal=signal, via=self.via(kind, signal), reaction=reaction))
        return tuple(found)

    def body(self, end: str, requests: tuple[Request, ...] = (), waits: str = "") -> Body:
        """A body whose own signal, if it ends by one, meets no handler."""
        if end.upper() in {request.signal for request in requests}:
            end = "sigkill"
        return Body(name=self.name(), end=end, requests=requests, waits=waits)

    def reaction(self, kind: str, signal: str) -> str:
        reactions: tuple[str, ...] = ENDS
        if kind == "fork":  # its stack is a copy of its parent's: nothing may unwind there
            reactions = ("os_exit", "abort", "kill_itself", "again", "note_then_again")
            if signal != "SIGINT":
                reactions = ("default", *reactions)
        return self.pick(reactions)

    def via(self, kind: str, signal: str) -> str:
        options = ["os.kill", "pidfd", "thread", "shell"]
        if kind == "process":
            options += {"SIGTERM": ["terminate"] * 3, "SIGKILL": ["kill"] * 3}.get(signal, [])
        elif kind in ("python", "program"):
            options += ["send_signal"]
            options += {"SIGTERM": ["terminate"], "SIGKILL": ["kill"]}.get(signal, [])
        elif kind == "main":
            options = ["os.kill", "pidfd", "thread"]
        return self.pick(options)

    def asker(self, parent: Body) -> Child:
        """A child that asks its parent to end."""
        if parent.goes_on:
            deal, when, waits = "join", "last", ""
        elif parent.orderly:
            deal, when, waits = "implicit", "early", "gate"
        else:
            deal, when, waits = "outlive", "early", "parent"
        body = Body(name=self.name(), end=self.pick(("return", "sys_exit_3")), waits=waits)
        return Child(body=body, kind="process", deal=deal, when=when, method=self.pick(METHODS[:2]))

    def with_children(
        self, body: Body, kind: str, depth: int, daemon: bool = False, more: tuple[Child, ...] = ()
    ) -> Body:
        children = list(more)
        if kind == "main" and not more and self.rarely(8):
            # SIGCHLD's handler takes every status, so these are all of one kind
            found = [self.fork(body, 0, "watched") for _ in range(1 + self.choose(2))]
            return replace(body, children=tuple(found), watches=True)
        count = self.choose(4) + 1 if kind == "main" else self.choose(3)
        for _ in range(count):
            children.append(self.child(body, kind, depth, daemon, children))
        return replace(body, children=tuple(children))

    def child(
        self, parent: Body, parent_kind: str, depth: int, daemon: bool, others: list[Child]
    ) -> Child:
        kinds = ["process"] * 5 + ["python", "program", "program", "fork"]
        # what the main thread blocks is taken by a thread that a library leaves
        if self.groups and parent_kind == "main" and parent.orderly and not parent.blocks:
            kinds += [*GROUPS]
        if parent_kind == "fork":
            kinds = ["program", "fork"]
        elif daemon:
            kinds = ["python", "program", "fork"]
        kind = self.pick(kinds)
        if kind in GROUPS:
            self.groups -= 1
            return self.group(kind, parent)
        if kind == "process":
            return self.process(parent, parent_kind, depth)
        if kind == "fork":
            return self.fork(parent, depth)
        return self.subprocess(kind, parent, parent_kind, depth)

    def when(self, parent: Body, deal: str) -> str:
        if deal in ("implicit", "abandoned", "outlive", "finished", "steal"):
            return "early"  # the next start() would take the status of what is to be stolen
        return self.pick(("early", "late", "last") if parent.goes_on else ("early", "late"))

    def process(self, parent: Body, parent_kind: str, depth: int) -> Child:
        deals = ["join", "join", "join_timeout", "thread", "is_alive", "active_children"]
        deals += ["sentinel", "steal", "finished", "asked", "asked", "asked"]
        deals += ["abandoned", "abandoned", "implicit"] if parent.orderly else ["outlive"] * 4
        alone = parent.orderly and parent.goes_on and not parent.blocks
        if alone and parent_kind in ("main", "python"):
            deals += ["thread_left"]
        deal = self.pick(deals)
        method = self.pick(METHODS[:2] if self.forked else METHODS)
        daemon = deal == "abandoned" or (deal != "implicit" and self.rarely(4))
        requests: tuple[Request, ...] = ()
        if deal == "abandoned":
            requests = self.abandonment()
        elif deal == "asked":
            requests = self.requests("process")
            deal = self.pick(["join", "join_timeout", "thread", "is_alive", "sentinel"])
        waits = {"implicit": "gate", "thread_left": "gate", "outlive": "parent"}.get(deal, "")
        body = self.body(self.end(), requests, waits)
        if deal == "steal" and method == "forkserver":
            method = "fork"  # the server is the parent
        if depth and not self.rarely(2):
            self.forked = method == "fork"
            body = self.with_children(body, "process", depth - 1, daemon)
            self.forked = False
        when = self.when(parent, deal)
        child = Child(body=body, kind="process", deal=deal, method=method, daemon=daemon, when=when)
        return self.belated(child)

    def abandonment(self) -> tuple[Request, ...]:
        reactions = ["default", "default", *ENDS[1:], "note", "nothing", "caught"]
        return (Request(signal="SIGTERM", via="exit path", reaction=self.pick(reactions)),)

    def belated(self, child: Child) -> Child:
        may = child.deal in ("join", "is_alive", "finished") and not child.body.requests
        if may and self.rarely(6):
            return replace(child, belated=self.pick((*SIGNALS, "SIGKILL")))
        return child

    def subprocess(self, kind: str, parent: Body, parent_kind: str, depth: int) -> Child:
        deals = ["wait", "wait_timeout", "communicate", "communicate_timeout", "run"]
        deals += ["run_timeout", "poll", "finished", "del", "thread", "asked", "asked"]
        if kind == "python":
            deals += ["outlive"]
        deal = self.pick(deals)
        end = "exec" if kind == "program" else self.end()
        requests: tuple[Request, ...] = ()
        program: tuple[str, ...] = ()
        if kind == "program":
            options = (("true",), ("false",), ("sh", "-c", "exit 7"), ("sh", "-c", "kill -ABRT $$"))
            program = self.pick(options)
        if deal == "asked":
            deal = self.pick(["wait", "wait_timeout", "communicate", "poll", "thread"])
            if kind == "program":
                program = ("sleep", "30")
                signal = self.pick((*SIGNALS, "SIGKILL"))
                via = self.via(kind, signal)
                requests = (Request(signal=signal, via=via, reaction="default"),)
            else:
                requests = self.requests(kind)
        body = self.body(end, requests, "parent" if deal == "outlive" else "")
        if kind == "python" and depth and self.rarely(2):
            body = self.with_children(body, "python", 0)
        when = self.when(parent, deal)
        return Child(body=body, kind=kind, deal=deal, program=program, when=when)

    def fork(self, parent: Body, depth: int, deal: str = "") -> Child:
        deals = ["waitpid", "waitpid", "wnohang", "finished", "outlive", "asked", "thread"]
        deal = deal or self.pick(deals)
        requests: tuple[Request, ...] = ()
        if deal == "asked":
            requests = self.requests("fork")
            deal = self.pick(["waitpid", "wnohang"])
        body = self.body(self.pick(HARD), requests, "parent" if deal == "outlive" else "")
        if depth and self.rarely(2):
            body = self.with_children(body, "fork", 0)
        when = self.when(parent, deal)
        return self.belated(Child(body=body, kind="fork", deal=deal, when=when))

    def group(self, kind: str, parent: Body) -> Child:
        deals = {
            "pool": ("close", "with", "forgotten", "terminate", "exit_on_sigterm"),
            "executor": ("with", "no_wait", "forgotten", "broken"),
            "manager": ("with", "shutdown", "forgotten"),
        }
        body = Body(name=self.name(), end="return")
        return Child(body=body, kind=kind, deal=self.pick(deals[kind]), method=self.pick(METHODS))

    def end(self) -> str:
        return self.pick(ORDERLY if self.choose(3) < 2 else HARD)
