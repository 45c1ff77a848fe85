"""Canned runs by name: what an assertion is held against, without a process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from histories import Log, Process

from pytest_proclife import wire
from pytest_proclife.records import Missing, MissingKind, Run

SPAWN = "/lib/python3.13/multiprocessing"


def daemon_exam() -> Run:
    """Main leaves while its daemon `session` still teaches."""
    log = Log()
    session = log.child(name="session", daemon=True)
    log.now += 900_000_000
    _leave(log, session)
    log.main.abandons(session)
    log.main.waits_at_exit(session)
    session.ends(signal=15)
    log.main.collects(session, -15, "implicit")
    log.main.exits()
    return log.run()


def plain_exam() -> Run:
    """The same, but `session` is no daemon: main's exit path waits for it."""
    log = Log()
    session = log.child(name="session")
    log.now += 300_000_000
    _leave(log, session)
    log.main.waits_at_exit(session)
    log.now += 600_000_000
    session.returns()
    log.main.collects(session, 0, "implicit")
    log.main.exits()
    return log.run()


def three_workers() -> Run:
    """Three workers that overlap, return, and are joined."""
    log = Log()
    workers = [log.child(name=f"worker-{number}") for number in (1, 2, 3)]
    log.now += 100_000_000
    for worker in workers:
        worker.returns()
        log.main.collects(worker, 0)
        log.now += 100_000_000
    log.main.returns()
    return log.run()


def notebook() -> Run:
    """Workers under spawn that are not to be found in main: each join() returns all the same."""
    message = "Can't get attribute 'worker' on <module '__main__' (built-in)>"
    return start_ups("AttributeError", message, "spawn.py", count=3)


def start_ups(error: str, message: str, file: str, *, count: int = 1) -> Run:
    """Children under spawn whose start-up raises."""
    log = Log()
    for number in range(count):
        child = log.child(name=f"worker-{number + 1}", method="spawn", runs=False)
        trace = f'File "{SPAWN}/{file}", line 132, in _main'
        child.says("l", "raised", error, message, trace, "", "")
        child.exits(1)
        log.main.collects(child, 1)
    log.main.returns()
    return log.run()


def ends() -> Run:
    """Main's children end in every way that there is, each named by its cause, and are joined."""
    log = Log()
    main = log.main
    names = ("returned", "raised", "sys_exit", "os_exit", "signaled", "killed", "terminated")
    children = {name: log.child(name=name) for name in names}
    polite = log.child(name="polite")
    children["raised"].leaves("raised", "job.Broken", "no chalk")
    children["raised"].exits(1)
    children["sys_exit"].leaves("sys_exit", "SystemExit", "3")
    children["sys_exit"].exits(3)
    children["os_exit"].exits(4, "os_exit")
    children["signaled"].ends(signal=6)
    main.sends(children["killed"], 9, "kill()")
    children["killed"].ends(signal=9)
    main.sends(children["terminated"], 15, "terminate()")
    children["terminated"].ends(signal=15)
    main.sends(polite, 15, "terminate()", state="caught")
    polite.catches(15)
    polite.leaves("sys_exit", "SystemExit", "7", rose_from=15)
    polite.exits(7)
    children["returned"].returns()
    codes = {"returned": 0, "raised": 1, "sys_exit": 3, "os_exit": 4, "signaled": -6}
    codes |= {"killed": -9, "terminated": -15}
    for name, child in children.items():
        main.collects(child, codes[name])
    main.collects(polite, 7)
    main.returns()
    return log.run()


def lost_report() -> Run:
    """A report of `job` is missing: its code may have ended before it called os._exit()."""
    log = Log()
    job = log.child(name="job")
    job.loses()
    job.exits(5, "os_exit")
    log.main.collects(job, 5)
    log.main.returns()
    return log.run()


def asked_by_the_test() -> Run:
    """The test ends a child: `killed`, and another: `terminated`."""
    log = Log()
    killed, terminated = log.child(name="killed"), log.child(name="terminated")
    killed.asked_by_test(9)
    killed.ends(signal=9)
    terminated.asked_by_test(15)
    terminated.ends(signal=15)
    log.main.collects(killed, -9)
    log.main.collects(terminated, -15)
    log.main.returns()
    return log.run()


def shutdowns() -> Run:
    """Main asks each child to end, 0.5 s before it does; each meets SIGTERM in its own way."""
    log = Log()
    main = log.main
    names = ("drained", "took", "passed on", "again", "killed", "died", "ignored", "blocked", "odd")
    children = {name: log.child(name=name) for name in names}
    states = {"died": "default", "ignored": "ignored", "took": "default", "blocked": "blocked"}
    for name, child in children.items():
        state = None if name == "odd" else states.get(name, "caught")
        main.sends(child, 15, "terminate()", state=state)
        if state == "caught":
            child.catches(15)
    children["took"].says(wire.CAUGHT, "15", "sigwait")
    children["passed on"].sends(children["passed on"], 15, "os.kill()", handler=15)
    main.sends(children["again"], 15, "terminate()")
    main.sends(children["killed"], 9, "kill()")
    log.now += 500_000_000
    for name in ("drained", "took", "ignored", "blocked", "odd"):
        children[name].returns()
    for name, number in (("passed on", 15), ("again", 15), ("killed", 9), ("died", 15)):
        children[name].ends(signal=number)
    main.returns()
    return log.run()


def stopping() -> Run:
    """`job` has caught SIGTERM, and still runs."""
    log = Log()
    job = log.child(name="job")
    job.asked_by_test(15, "caught")
    job.catches(15)
    return log.run()


def left_behind(*, after: int = 200, cleaned_up: bool = False) -> Run:
    """Main dies of SIGKILL; `job` runs on for so many milliseconds, or until it is cleaned up."""
    log = Log()
    job = log.child(name="job")
    background = log.child(name="background", daemon=True)
    log.now += 100_000_000
    background.returns()
    log.main.collects(background, 0)
    log.main.ends(signal=9, running=(job,))
    log.now += after * 1_000_000
    if cleaned_up:
        job.cleaned_up()
    else:
        _returns_as_orphan(job)
    return log.run()


def left_grandchild() -> Run:
    """`shop` starts a program, does not wait for it, and returns; the program runs on."""
    log = Log()
    shop = log.child(name="shop")
    sleep = log.program(shop, "/bin/sleep", "1")
    shop.leaves()
    shop.last_word("launcher", "0")
    shop.ends(0, running=(sleep,))
    log.main.collects(shop, 0)
    log.now += 100_000_000
    sleep.ends(0, orphan=True)
    log.main.returns()
    return log.run()


def left_program() -> Run:
    """A program that ended, and whose status nobody took before main was gone."""
    log = Log()
    sleep = log.program(log.main, "/bin/sleep", "0")
    sleep.ends(0, orphan=True)
    log.main.returns()
    return log.run()


def close_ends() -> Run:
    """Main and `job` end within one wake-up: nothing tells who was first."""
    log = Log()
    job = log.child(name="job")
    log.main.ends(signal=9)
    job.ends(signal=9, orphan=True, wake=log.wake)
    return log.run()


def stray() -> Run:
    """A process comes to the supervisor as an orphan; nobody saw who started it."""
    log = Log()
    shell = log.program(log.main, "/bin/sh", "-c", "daemon &")
    shell.ends(0)
    stray = log.process(how="orphan", argv=("/bin/daemon",))
    log.main.returns()
    stray.ends(0, orphan=True)
    return log.run()


def in_passing() -> Run:
    """`job` is over when its status is taken by is_alive()."""
    log = Log()
    job = log.child(name="job")
    job.returns()
    log.main.collects(job, 0, "", via="is_alive()", where="job.py:9 in <module>")
    log.main.returns()
    return log.run()


def pool() -> Run:
    """A pool's worker, which its pool ends and joins."""
    log = Log()
    worker = log.child(name="ForkPoolWorker-1", kind="pool_worker", daemon=True)
    worker.returns()
    log.main.collects(worker, 0, "library")
    log.main.returns()
    return log.run()


def untold() -> Run:
    """Reports of main are missing: who waited for `job` may be among them."""
    log = Log()
    job = log.child(name="job")
    job.returns()
    log.main.loses()
    log.main.leaves()
    log.main.exits()
    return log.run()


def unknown_daemon() -> Run:
    """A joined daemon of whose reports some are missing: it may have been abandoned."""
    log = Log()
    job = log.child(name="job", daemon=True)
    job.loses()
    log.main.leaves()
    log.main.begins_exit_path(job)
    log.main.abandons(job, state="caught")
    log.main.waits_at_exit(job)
    job.exits(0)
    log.main.collects(job, 0, "implicit")
    log.main.exits()
    return log.run()


def ignoring_daemon() -> Run:
    """A daemon that ignores the exit path's signal, and returns when it is done."""
    log = Log()
    session = log.child(name="session", daemon=True)
    _leave(log, session)
    log.main.abandons(session, state="ignored")
    log.main.waits_at_exit(session)
    log.now += 300_000_000
    session.returns()
    log.main.collects(session, 0, "implicit")
    log.main.exits()
    return log.run()


def snapshot() -> Run:
    """Main and `job` still run."""
    log = Log()
    log.child(name="job")
    return log.run()


def timed_out() -> Run:
    """Main's exit path waits for `job` until the timeout."""
    log = Log()
    job = log.child(name="job")
    _leave(log, job)
    log.main.waits(job, "", holder="exit_path")
    log.now += 500_000_000
    log.main.cleaned_up()
    job.cleaned_up()
    return log.run(timed_out=True)


def stuck_main() -> Run:
    """Main's own code is not done at the timeout."""
    log = Log()
    log.now += 500_000_000
    log.main.cleaned_up()
    return log.run(timed_out=True)


def interrupted_exit() -> Run:
    """Main dies of SIGKILL while its exit path waits for `job`."""
    log = Log()
    job = log.child(name="job")
    _leave(log, job)
    log.main.waits(job, "", holder="exit_path")
    log.now += 300_000_000
    log.main.ends(signal=9, running=(job,))
    log.now += 100_000_000
    _returns_as_orphan(job)
    return log.run()


def programs() -> Run:
    """What is no process of multiprocessing: a shell, and a fork."""
    log = Log()
    shell = log.program(log.main, "/bin/sh", "-c", "exit 4")
    fork = log.process()
    fork.hello(log.main)
    fork.exits(0, "os_exit")
    log.main.collects(fork, 0)
    shell.ends(4)
    log.main.returns()
    return log.run()


def killed_at_birth() -> Run:
    """`job` is killed before its first word."""
    log = Log()
    job = log.process()
    log.main.started(job, kind="process", name="job", daemon=False)
    log.main.sends(job, 9, "kill()")
    job.ends(signal=9)
    log.main.collects(job, -9)
    log.main.returns()
    return log.run()


def one_after_the_other() -> Run:
    """`first` ends before `last` begins; `close` begins in between, too close to tell."""
    log = Log()
    first = log.child(name="first")
    first.leaves()
    close = log.child(name="close")
    first.exits(0)
    log.now += 100_000_000
    log.main.collects(first, 0)
    last = log.child(name="last")
    for child in (close, last):
        child.returns()
        log.main.collects(child, 0)
    log.main.returns()
    return log.run()


def polled(run: Run) -> Run:
    """The same run, watched by polling."""
    witness = replace(
        run.witness,
        backend="polling",
        complete=False,
        missing=(Missing(process=None, kind=MissingKind.SHORT_LIVED, what="10 ms"),),
    )
    return replace(run, witness=witness)


def changed(run: Run, who: str, **facts: Any) -> Run:
    """The same run with other facts about one process."""
    processes = (replace(p, **facts) if p.name == who else replace(p) for p in run.processes)
    return replace(run, processes=tuple(processes))


def workers_of(count: int) -> Run:
    """So many workers, each of which raises."""
    log = Log()
    for number in range(count):
        worker = log.child(name=f"worker-{number}")
        worker.leaves("raised", "ValueError", f"lesson {number}")
        worker.exits(1)
        log.main.collects(worker, 1)
    log.main.returns()
    return log.run()


def _leave(log: Log, *alive: Process) -> None:
    log.main.leaves()
    log.main.begins_exit_path(*alive)


def _returns_as_orphan(process: Process) -> None:
    process.leaves()
    process.last_word("launcher", "0")
    process.ends(0, orphan=True)
