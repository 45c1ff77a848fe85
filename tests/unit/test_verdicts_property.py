"""Whatever reports are lost, late or out of order: the cause is the true one, or unknown.

`World` lives the lives of a small tree of processes and writes the log of them. The true causes
it notes as it goes, by what happens and not by what is reported: it knows nothing of `assemble`.

One loss is left out, for it cannot be: the last report of a process that dies of a signal. The
socket (AF_UNIX, SOCK_SEQPACKET) delivers in order and drops nothing, so that what is missing at
the very end of a stream was never written; and a process that dies of a signal has no last word
that could be missed. What is lost before something that arrives, and all that is lost of a
process that exits, shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from histories import Log, Process
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pytest_proclife import wire
from pytest_proclife.records import Cause
from pytest_proclife.supervisor import protocol

INT, KILL, SEGV, TERM = 2, 9, 11, 15


@dataclass(eq=False)
class Life:
    """One process: what is true of it, whether or not anybody reports it."""

    process: Process
    parent: Life | None
    daemon: bool
    handlers: dict[int, str] = field(default_factory=lambda: {INT: "interrupt", TERM: "default"})
    alive: bool = True
    left: str | None = None
    caught_by: str | None = None  # the cause that the request makes whose handler raised
    caught: bool = False  # a handler ran
    rose: bool = False  # what left its code rose from a handler
    ended_by_signal: bool = False
    silent: bool = False  # a program that does not report took its place
    # the causes of what it caught and went on, by signal: if it then sends itself the same one, and
    # ends of that, either is right
    went_on: dict[int, set[str]] = field(default_factory=dict)
    cause: str | None = None
    also: set[str] = field(default_factory=set)  # causes that are right too
    children: list[Life] = field(default_factory=list)


class World:
    """Draws what happens, writes the log, and notes why each process ended."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.log = Log()
        self.main = Life(self.log.main, None, daemon=False)
        self.lives = [self.main]
        self.server: Process | None = None
        self.doubtful = False  # something happened of which even a complete log cannot be sure

    def living(self) -> list[Life]:
        return [life for life in self.lives if life.alive]

    def one_of(self, values: list[Any]) -> Any:
        return self.draw(st.sampled_from(values))

    def step(self) -> None:
        deeds = ["fork", "fork", "send", "send", "handle", "leave", "finish", "crash", "suicide"]
        deeds += ["os_exit", "exec", "test", "group", "send_to_dead", "unseen"]
        getattr(self, self.one_of(deeds))()

    # --- deeds; each looks for somebody who can do it

    def fork(self) -> None:
        able = [p for p in self.living() if not p.daemon and not p.silent and p.left is None]
        if not able or len(self.lives) > 6:
            return
        parent = self.one_of(able)
        daemon = self.draw(st.booleans())
        served = self.draw(st.booleans()) and self.main.alive and not self.main.silent
        if served:
            self.server = self.server or self.log.server()
            life = Life(self.log.served(self.server, parent.process, daemon=daemon), parent, daemon)
        else:
            life = Life(self.log.child(parent.process, daemon=daemon), parent, daemon)
            life.handlers = dict(parent.handlers)
        self.lives.append(life)
        parent.children.append(life)

    def handle(self) -> None:
        able = [p for p in self.living() if not p.silent]
        signal = self.one_of([TERM, INT])
        hows = (
            ["raise", "drain", "default"] if signal == TERM else ["interrupt", "swallow", "drain"]
        )
        how = self.one_of(["ignored", *hows])
        if able:
            self.one_of(able).handlers[signal] = how

    def send(self) -> None:
        senders = [p for p in self.living() if not p.silent]
        if not senders:
            return
        sender = self.one_of(senders)
        targets = [p for p in self.living() if p is not sender]
        if targets:
            self.signal(sender, self.one_of(targets), self.one_of([TERM, TERM, INT, KILL]))

    def test(self) -> None:
        if not self.living():
            return
        target, signal = self.one_of(self.living()), self.one_of([TERM, INT, KILL])
        target.process.asked_by_test(signal, state=self.state(target, signal))
        self.meets(target, signal, "killed" if signal == KILL else "terminated")

    def group(self) -> None:
        senders = [p for p in self.living() if not p.silent]
        if not senders:
            return
        sender = self.one_of(senders)
        members = [p for p in self.living() if p is not sender and self.draw(st.booleans())]
        sender.process.says(wire.KILL_GROUP, "77", str(TERM), "os.kill()", "job.py:8 in go")
        gone = [p for p in members if p.handlers[TERM] == "default" and self.draw(st.booleans())]
        self.doubtful = True  # who was gone, or ends at once, may have been a member or not
        asked = [p for p in members if p not in gone]  # for their group, while they have one
        for member in asked:
            state = self.state(member, TERM)
            self.log.add(protocol.STATE, member.process.number, TERM, state)
        numbers = tuple(member.process.number for member in asked)
        self.log.add(protocol.GROUP, sender.process.number, TERM, numbers, ())
        self.log.wake += 1
        for member in members:
            self.meets(member, TERM, "terminated", wake=self.log.wake)

    def send_to_dead(self) -> None:
        pairs = [(p, c) for p in self.living() for c in p.children if not c.alive and not p.silent]
        if pairs:
            parent, child = self.one_of(pairs)
            parent.process.sends(child.process, TERM, "terminate()", state=None, alive=False)

    def unseen(self) -> None:
        senders = [p for p in self.living() if p.silent]
        targets = [p for p in self.living() if p not in senders]
        if senders and targets:
            self.doubtful = True  # nobody reports that signal
            self.meets(self.one_of(targets), self.one_of([TERM, KILL]), None)

    def leave(self) -> None:
        able = [p for p in self.living() if p.left is None and not p.silent]
        if able:
            self.leaves(self.one_of(able), self.one_of(["returned", "raised", "sys_exit"]))

    def finish(self) -> None:
        able = [p for p in self.living() if p.left is not None]
        if able:
            self.exits(self.one_of(able))

    def crash(self) -> None:
        if self.living():
            life = self.one_of(self.living())
            others = [other for other in self.lives if other is not life]
            # another may have sent the signal, or it came in a handler
            self.doubtful |= life.caught or any(other.silent for other in others)
            self.dies(life, SEGV, "signaled")

    def suicide(self) -> None:
        able = [p for p in self.living() if not p.silent]
        if able:
            life, signal = self.one_of(able), self.one_of([TERM, KILL])
            life.process.sends(life.process, signal, state=self.state(life, signal))
            life.also |= life.went_on.get(signal, set())
            if signal == KILL or life.handlers[signal] == "default":
                self.dies(life, signal, "signaled")
            else:
                self.meets(life, signal, "own")

    def os_exit(self) -> None:
        able = [p for p in self.living() if not p.silent]
        if able:
            life = self.one_of(able)
            life.process.last_word("os_exit", "7")
            self.ends(life, 7, "os_exit")

    def exec(self) -> None:
        able = [p for p in self.living() if p is not self.main and not p.silent]
        if able:
            life = self.one_of(able)
            life.process.says(wire.EXEC, "0", "/bin/sleep", "9")
            life.silent = True
            # whatever it had caught: it drained nothing, it became something else
            life.left = life.caught_by = None
            life.rose = False
            life.handlers = {signal: self.kept(life, signal) for signal in (INT, TERM)}

    def kept(self, life: Life, signal: int) -> str:
        """What becomes of a disposition at exec; the new program may set one of its own."""
        if life.handlers[signal] == "ignored":
            return "ignored"
        return str(self.one_of(["default", "exits"]))

    # --- what follows

    def state(self, life: Life, signal: int) -> str | None:
        if signal == KILL:
            return None
        how = life.handlers[signal]
        if how == "default":  # it may be dead before anybody looks
            return str(self.one_of(["default", "gone"])).replace("gone", "") or None
        return "ignored" if how == "ignored" else "caught"

    def signal(self, sender: Life, target: Life, signal: int, via: str = "os.kill()") -> None:
        sender.process.sends(target.process, signal, via, state=self.state(target, signal))
        cause = "killed" if signal == KILL else "terminated"
        if via == "exit path" and target.parent is sender and target.daemon and not target.silent:
            done = self.ended_as_caught(target) or target.left
            cause = "abandoned" if target.left is None else str(done)
        if via == "exit path" and target.parent is sender and target.daemon and target.silent:
            cause = "abandoned"
        self.meets(target, signal, cause)

    def meets(
        self, life: Life, signal: int, cause: str | None, *, wake: float | None = None
    ) -> None:
        """A signal arrives; `cause` is what the end is due to if it ends of it."""
        true = cause if cause is not None else "killed" if signal == KILL else "terminated"
        how = "default" if signal == KILL else life.handlers[signal]
        if how == "default":
            if life.rose and (true != "killed" or life.caught_by == "abandoned"):
                true = self.ended_as_caught(life) or str(life.left)
            self.dies(life, signal, true, wake=wake, asked=True)
            return
        if how == "ignored":
            return
        if how == "exits":  # a program that does not report takes it, and exits
            self.doubtful = True  # it may have exited for a reason of its own
            self.ends(life, 1, true)
            return
        if how in ("raise", "drain"):
            life.process.catches(signal)
            life.caught = True
            if true != "own":
                life.went_on.setdefault(signal, set()).add(true)
        if life.left is None and how in ("raise", "interrupt"):
            life.caught_by = true
            self.leaves(life, "sys_exit" if how == "raise" else "raised", signal)

    def leaves(self, life: Life, how: str, rose_from: int | None = None) -> None:
        handled = " ".join(
            str(s) for s, h in sorted(life.handlers.items()) if h not in ("default", "ignored")
        )
        error = {"sys_exit": "SystemExit", "raised": "ValueError"}.get(how, "")
        if rose_from == INT:
            error = "KeyboardInterrupt"
        life.process.leaves(how, error, rose_from=rose_from, handled=handled)
        life.left = how
        life.rose = rose_from is not None

    def exits(self, life: Life) -> None:
        """Its exit path, as multiprocessing's: end the daemons, join them all, leave."""
        running = [child for child in life.children if child.alive]
        life.process.begins_exit_path(*(child.process for child in running))
        for child in running:
            if child.daemon:
                self.signal(life, child, TERM, "exit path")
        life.process.says(wire.EXIT_PATH_DONE)
        if life is self.main:
            life.process.last_word("exit")
        else:
            life.process.last_word("launcher", "0")
        self.ends(life, 0, str(life.left))

    def dies(
        self, life: Life, signal: int, cause: str, *, wake: float | None = None, asked: bool = False
    ) -> None:
        life.ended_by_signal = True
        if not asked or cause == "own":
            cause = self.own_death(life, signal)
        self.over(life, cause)
        life.process.ends(signal=signal, wake=wake)

    def own_death(self, life: Life, signal: int) -> str:
        """A death of its own doing, in the exit path that a request led to, is that request's."""
        if life.caught_by is not None:
            return self.ended_as_caught(life) or life.left or "signaled"
        return life.left or "signaled"

    def ends(self, life: Life, code: int, cause: str) -> None:
        if life.silent and cause not in ("terminated", "killed", "abandoned"):
            cause = "exited"
        elif not life.silent:
            cause = self.ended_as_caught(life) or life.left or cause
        self.over(life, cause)
        life.process.ends(code)

    def ended_as_caught(self, life: Life) -> str | None:
        return life.caught_by if life.caught_by not in (None, "own") else None

    def over(self, life: Life, cause: str) -> None:
        life.alive = False
        life.cause = cause

    def end_all(self) -> None:
        """Nobody is left: who can exits, then the others are cleaned up."""
        left = []
        for life in self.living():
            if not life.alive:
                continue
            if life.silent or self.draw(st.booleans()):
                if life.silent and self.draw(st.booleans()):
                    self.ends(life, 0, "exited")
                else:
                    left.append(life)
                continue
            if life.left is None:
                self.leaves(life, "returned")
            self.exits(life)
        for life in left:
            life.ended_by_signal = True
            self.over(life, "cleaned_up")
            life.process.cleaned_up()


@st.composite
def worlds(draw: Any) -> World:
    world = World(draw)
    for _ in range(draw(st.integers(2, 14))):
        world.step()
    world.end_all()
    if world.server is not None:
        world.server.leaves("sys_exit")
        world.server.exits(0, "exit")
    return world


def causes(world: World) -> list[tuple[Life, Cause | None]]:
    run = world.log.run()
    by_pid = {process.pid: process.cause for process in run.processes}
    return [(life, by_pid[life.process.pid]) for life in world.lives]


def show(world: World) -> None:
    for entry in world.log.entries:
        note(repr(entry))


many = settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@many
@given(world=worlds())
def test_a_complete_log_tells_the_true_causes(world: World) -> None:
    show(world)
    for life, cause in causes(world):
        if cause == Cause.UNKNOWN and world.doubtful:
            continue
        assert cause in {life.cause, *life.also}, life.process.name or "main"


@many
@given(world=worlds(), data=st.data())
def test_lost_late_and_disordered_reports_never_make_a_wrong_cause(
    world: World, data: st.DataObject
) -> None:
    world.log.entries = perturbed(world, data)
    show(world)
    for life, cause in causes(world):
        assert cause in {life.cause, Cause.UNKNOWN, *life.also}, life.process.name or "main"


def perturbed(world: World, data: st.DataObject) -> list[Any]:
    """The log as it might have been: reports lost, and others received later than others."""
    bundles = bundled(world.log.entries)
    last = {bundle[0][2]: bundle for bundle in bundles if bundle[0][1] == protocol.REPORT}
    must = {id(last[p.process.number]) for p in world.lives if p.ended_by_signal}
    kept = []
    for bundle in bundles:
        said = bundle[0][1] == protocol.REPORT
        if said and id(bundle) not in must and data.draw(st.booleans() | st.just(False)):
            continue
        kept.append(bundle)
    result: list[list[Any]] = []
    late: list[tuple[int, list[Any]]] = []
    ended: set[int] = set()
    for bundle in kept:
        for due in [one for one in late if one[0] <= len(result)]:
            late.remove(due)
            result.append(received_at(bundle[0][0], due[1], ended))
        if bundle[0][1] == protocol.REPORT and data.draw(st.integers(0, 5)) == 0:
            late.append((len(result) + data.draw(st.integers(1, 12)), bundle))
            continue
        if bundle[0][1] == protocol.ENDED:
            ended.add(bundle[0][2])
        result.append(bundle)
    end = kept[-1][-1][0]
    result += [received_at(end, bundle, ended) for _, bundle in late]
    return [entry for bundle in result for entry in bundle]


def bundled(entries: list[Any]) -> list[list[Any]]:
    """A report, and what the supervisor asked the kernel when it arrived, go together."""
    bundles: list[list[Any]] = []
    for entry in entries:
        follows = entry[1] in (protocol.STATE, protocol.GROUP)
        if follows and bundles and bundles[-1][0][1] in (protocol.REPORT, protocol.ORDERED):
            bundles[-1].append(entry)
        else:
            bundles.append([entry])
    return bundles


def received_at(at: int, bundle: list[Any], ended: set[int]) -> list[Any]:
    """The same report, received later: of those that have ended since nothing can be asked."""
    result = []
    for _, kind, number, *rest in bundle:
        if kind == protocol.STATE and number in ended:
            rest = [rest[0], None]
        if kind == protocol.GROUP:
            rest = [rest[0], tuple(member for member in rest[1] if member not in ended), ()]
        result.append((at, kind, number, *rest))
    return result
