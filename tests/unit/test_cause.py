"""The rules that give a cause, one history a line: no log, no process."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proclife.analysis.cause import decide
from pytest_proclife.analysis.gaps import Spans
from pytest_proclife.analysis.history import Finish, History
from pytest_proclife.analysis.log import Sent
from pytest_proclife.records import Cause, Disposition, Ending

PARENT, ME, SIBLING = 0, 1, 2
INT, QUIT, KILL, USR1, SEGV, TERM, HUP, PIPE = 2, 3, 9, 10, 11, 15, 1, 13


def history(exitcode: int | None = 0, **fields: Any) -> History:
    given: dict[str, Any] = {"id": ME, "parent": PARENT, "daemon": False, "began": 0, "ended": 100}
    return History(exitcode=exitcode, **{**given, **fields})


def signal_sent(signal: int = TERM, at: int = 50, by: int | str = PARENT, **fields: Any) -> Sent:
    given: dict[str, Any] = {"via": "terminate()", "disposition": "default", **fields}
    if given["disposition"] is not None:
        given["disposition"] = Disposition(given["disposition"])
    return Sent(signal=signal, at=at, by=by, **given)


def abandoning(at: int = 50, **fields: Any) -> Sent:
    return signal_sent(at=at, via="exit path", **fields)


def finished(how: str = "returned", at: int = 90, **fields: Any) -> Finish:
    return Finish(how=Ending(how), at=at, **{"handled": frozenset({INT}), **fields})


RAISED_INTERRUPT = finished("raised", at=60, exception=True, interrupt=True, rose_from=INT)
EXITED_IN_HANDLER = finished("sys_exit", at=60, exception=True, rose_from=TERM)
SOMEBODY_ELSES = Spans([(10, 40, SIBLING)])  # reports of a sibling's that are missing
C = Spans([(10, 40, SIBLING)])  # when a sibling could send signals below Python

# sentence, history, cause, ending, who
CAUSES: list[tuple[str, History, str, str | None, int | str | None]] = [
    # --- what its own code did
    (
        "its target returned",
        history(finish=finished(), last_report="launcher"),
        "returned",
        "returned",
        None,
    ),
    (
        "an exception left its target",
        history(1, finish=finished("raised")),
        "raised",
        "raised",
        None,
    ),
    (
        "SystemExit left its target",
        history(3, finish=finished("sys_exit")),
        "sys_exit",
        "sys_exit",
        None,
    ),
    (
        "on 3.11 SystemExit left its target, beside a program, and it had no handler of any signal",
        history(
            3,
            finish=finished("sys_exit"),
            sees_handlers=False,
            unobserved=Spans([(0, 100, SIBLING)]),
        ),
        "sys_exit",
        "sys_exit",
        None,
    ),
    (
        "SystemExit left its target, whose handler of SIGHUP had returned",
        history(
            3,
            sent=(signal_sent(HUP, disposition="caught"),),
            finish=finished("sys_exit", exception=True),
        ),
        "sys_exit",
        "sys_exit",
        None,
    ),
    (
        "SystemExit came from its handler of SIGHUP",
        history(
            3,
            sent=(signal_sent(HUP, disposition="caught"),),
            finish=finished("sys_exit", rose_from=HUP),
        ),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    (
        "it returned while functions of C and subinterpreters could have sent it a signal",
        history(finish=finished(), signallers=C, subinterpreters=C),
        "returned",
        "returned",
        None,
    ),
    (
        "it died of a signal of its parent while a function of C could have sent it one",
        history(-TERM, sent=(signal_sent(),), signallers=C),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "a program that does not report exited while a subinterpreter could have asked it to",
        history(observed=False, subinterpreters=C),
        "exited",
        "exited",
        None,
    ),
    (
        "it had set its handler of C after the signal came",
        history(
            last_report="os_exit",
            handles_in_c=60,
            sent=(signal_sent(disposition="ignored"),),
        ),
        "os_exit",
        "os_exit",
        None,
    ),
    ("it called os._exit", history(7, last_report="os_exit"), "os_exit", "os_exit", None),
    (
        "it returned, and an exit handler called os._exit",
        history(7, finish=finished(), last_report="os_exit"),
        "returned",
        "os_exit",
        None,
    ),
    (
        "it had returned when a signal went to its pid, on a Python that sees no handlers",
        history(
            0,
            finish=finished(at=40),
            sees_handlers=False,
            sent=(signal_sent(certain=False, disposition=None),),
        ),
        "returned",
        "returned",
        None,
    ),
    ("it died of a fault", history(-SEGV), "signaled", "signaled", None),
    (
        "it sent itself a signal",
        history(-TERM, sent=(signal_sent(by=ME, via="os.kill()"),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it returned, and died of a fault in its exit path",
        history(-SEGV, finish=finished()),
        "returned",
        "signaled",
        None,
    ),
    (
        "KeyboardInterrupt left main, which passes the signal on to itself",
        history(-INT, finish=RAISED_INTERRUPT),
        "raised",
        "raised",
        None,
    ),
    ("a program that does not report exited", history(2, observed=False), "exited", "exited", None),
    (
        "a program that does not report took its place, and exited",
        history(0, replaced_at=10, finish=finished(at=5)),
        "exited",
        "exited",
        None,
    ),
    (
        "it died of a fault, and what it was sent had been caught in its exit path only",
        history(
            -SEGV,
            sent=(signal_sent(disposition="caught", at=95),),
            caught=((TERM, 96),),
            finish=finished(),
        ),
        "returned",
        "signaled",
        None,
    ),
    # --- cleaned up
    ("proclife ended it", history(-KILL, clean_up=90), "cleaned_up", "signaled", "proclife"),
    (
        "it ended by itself while proclife ended the run",
        history(0, clean_up=90, finish=finished(at=95)),
        "cleaned_up",
        "returned",
        "proclife",
    ),
    (
        "its code had returned when the clean-up began, and it was still there",
        history(0, clean_up=90, finish=finished(at=80)),
        "cleaned_up",
        "returned",
        "proclife",
    ),
    (
        "it wrote to a pipe whose reader the clean-up had killed",
        history(-PIPE, clean_up=90),
        "cleaned_up",
        "signaled",
        "proclife",
    ),
    (
        "its status was not seen, and nothing else was to end it when the clean-up began",
        history(None, clean_up=90, sent=(signal_sent(disposition="caught"),)),
        "cleaned_up",
        None,
        "proclife",
    ),
    (
        "it was dying of SIGTERM when the clean-up began",
        history(-TERM, clean_up=90, sent=(signal_sent(),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "it was dying of its own signal when the clean-up began",
        history(-TERM, clean_up=90, sent=(signal_sent(by=ME),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it was leaving by its handler when the clean-up began",
        history(
            5,
            clean_up=90,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 51),),
            finish=finished("sys_exit", at=80, rose_from=TERM),
        ),
        "cleaned_up",
        "sys_exit",
        "proclife",
    ),
    (
        "it had caught SIGTERM, and the clean-up killed it",
        history(
            -KILL,
            clean_up=90,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 51),),
        ),
        "cleaned_up",
        "signaled",
        "proclife",
    ),
    (
        "another process had killed it when the clean-up came",
        history(-KILL, clean_up=90, sent=(signal_sent(KILL, via="kill()"),)),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it was killed by the clean-up before another process killed it",
        history(-KILL, clean_up=40, sent=(signal_sent(KILL, via="kill()"),)),
        "cleaned_up",
        "signaled",
        "proclife",
    ),
    # --- killed, terminated
    (
        "its parent killed it",
        history(-KILL, sent=(signal_sent(KILL),)),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "the test killed it",
        history(-KILL, sent=(signal_sent(KILL, by="test"),)),
        "killed",
        "signaled",
        "test",
    ),
    (
        "a sibling terminated it",
        history(-TERM, sent=(signal_sent(by=SIBLING),)),
        "terminated",
        "signaled",
        SIBLING,
    ),
    (
        "it died of a signal that asks for nothing",
        history(-USR1, sent=(signal_sent(USR1),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "the handler of the request raised SystemExit",
        history(
            5,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 55),),
            finish=EXITED_IN_HANDLER,
        ),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    (
        "interrupt() raised KeyboardInterrupt in it",
        history(1, sent=(signal_sent(INT, disposition="caught"),), finish=RAISED_INTERRUPT),
        "terminated",
        "raised",
        PARENT,
    ),
    (
        "main raised KeyboardInterrupt at the test's SIGINT, and passed it on",
        history(
            -INT, sent=(signal_sent(INT, by="test", disposition="caught"),), finish=RAISED_INTERRUPT
        ),
        "terminated",
        "raised",
        "test",
    ),
    (
        "it caught the request, drained its work and returned",
        history(sent=(signal_sent(disposition="caught"),), caught=((TERM, 55),), finish=finished()),
        "returned",
        "returned",
        None,
    ),
    (
        "it swallowed the KeyboardInterrupt and returned",
        history(sent=(signal_sent(INT, disposition="caught"),), finish=finished()),
        "returned",
        "returned",
        None,
    ),
    (
        "on 3.11, which shows no handlers, the kernel says that it catches the signal",
        history(sent=(signal_sent(disposition="caught"),), finish=finished(), sees_handlers=False),
        "returned",
        "returned",
        None,
    ),
    (
        "on 3.11 it caught SIGTERM, went on, and a KeyboardInterrupt of SIGINT left its code",
        history(
            -INT,
            sent=(
                signal_sent(at=30, disposition="caught"),
                signal_sent(INT, at=50, by=SIBLING, disposition="caught"),
            ),
            finish=finished(
                "raised",
                at=60,
                exception=True,
                interrupt=True,
                rose_from=INT,
                handled=frozenset({INT, TERM}),
            ),
            sees_handlers=False,
        ),
        "terminated",
        "raised",
        SIBLING,
    ),
    (
        "its handler sent it the signal again, as a tidy program does",
        history(
            -TERM,
            sent=(signal_sent(disposition="caught"), signal_sent(by=ME, at=70, handler=TERM)),
            caught=((TERM, 55),),
        ),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "its handler aborted",
        history(
            -6,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(6, at=70, by=ME, via="os.abort()", handler=TERM),
            ),
            caught=((TERM, 55),),
        ),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "its handler called os._exit",
        history(
            4,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 55),),
            last_report="os_exit",
            handler=TERM,
        ),
        "terminated",
        "os_exit",
        PARENT,
    ),
    (
        "its handler killed it with another signal",
        history(
            -KILL,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(KILL, at=70, by=ME, via="os.kill()", handler=TERM),
            ),
            caught=((TERM, 55),),
        ),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "it did not heed the request, and was killed",
        history(
            -KILL,
            sent=(signal_sent(disposition="caught"), signal_sent(KILL, at=80)),
            caught=((TERM, 55),),
        ),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it was killed on its way out",
        history(
            -KILL,
            sent=(signal_sent(disposition="caught"), signal_sent(KILL, at=80)),
            finish=EXITED_IN_HANDLER,
        ),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it was killed on its way out, whatever its missing reports would have said",
        history(
            -KILL,
            sent=(signal_sent(disposition="caught"), signal_sent(KILL, at=80)),
            finish=EXITED_IN_HANDLER,
            gaps=((60, 70),),
        ),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it killed itself on its way out, and a program that does not report had run before",
        history(
            -KILL,
            sent=(signal_sent(disposition="caught"), signal_sent(KILL, at=80, by=ME)),
            finish=EXITED_IN_HANDLER,
            unobserved=Spans([(10, 40, SIBLING)]),
        ),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "of two who asked, the first one is the reason",
        history(-TERM, sent=(signal_sent(by=SIBLING, at=60), signal_sent(at=50, disposition=None))),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "it had blocked the signal, and died of it later",
        history(-TERM, sent=(signal_sent(disposition="blocked"),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "its handler of the request raised, and another's request ran it again in its clean-up",
        history(
            5,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(at=57, by=SIBLING, disposition="caught"),
            ),
            caught=((TERM, 55), (TERM, 58)),
            finish=finished("sys_exit", at=60, exception=True, rose_from=TERM, rose_at=55),
        ),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    (
        "its handler of the request ignored further ones before it raised",
        history(
            5,
            sent=(signal_sent(disposition="ignored", disposition_at=57),),
            caught=((TERM, 55),),
            finish=EXITED_IN_HANDLER,
        ),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    (
        "it ignored the request, and its handler of another's later one raised",
        history(
            5,
            sent=(
                signal_sent(disposition="ignored", disposition_at=51),
                signal_sent(at=52, by=SIBLING, disposition="ignored", disposition_at=58),
            ),
            caught=((TERM, 55),),
            finish=EXITED_IN_HANDLER,
        ),
        "terminated",
        "sys_exit",
        SIBLING,
    ),
    (
        "it ignored the request, and caught another's later one, on 3.11, which sees no handlers",
        history(
            5,
            sent=(
                signal_sent(disposition="ignored", disposition_at=51),
                signal_sent(at=52, by=SIBLING, disposition="caught", disposition_at=53),
            ),
            finish=EXITED_IN_HANDLER,
            sees_handlers=False,
        ),
        "terminated",
        "sys_exit",
        SIBLING,
    ),
    (
        "two asked before its handler ran once: the first is the reason",
        history(
            5,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(at=52, by=SIBLING, disposition="caught"),
            ),
            caught=((TERM, 55),),
            finish=EXITED_IN_HANDLER,
        ),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    (
        "its handler of the request sent it a signal whose handler raised",
        history(
            1,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(USR1, at=56, by=ME, disposition="caught", handler=TERM),
            ),
            caught=((TERM, 55), (USR1, 57)),
            finish=finished("raised", at=60, exception=True, rose_from=USR1),
        ),
        "terminated",
        "raised",
        PARENT,
    ),
    # --- requests that were not the reason
    (
        "the program that caught the request was replaced by one that does not report",
        history(0, replaced_at=60, sent=(signal_sent(disposition="caught"),)),
        "exited",
        "exited",
        None,
    ),
    (
        "it ignored the request, and sent itself the signal later, with nothing in the way",
        history(-TERM, sent=(signal_sent(disposition="ignored"), signal_sent(at=60, by=ME))),
        "signaled",
        "signaled",
        None,
    ),
    (
        "its handler returned, and called os._exit when it ran for another's request",
        history(
            4,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(at=60, by=SIBLING, disposition="caught"),
            ),
            caught=((TERM, 55), (TERM, 65)),
            last_report="os_exit",
            handler=TERM,
        ),
        "terminated",
        "os_exit",
        SIBLING,
    ),
    (
        "its handler returned, and it raised an error of its own later",
        history(
            1,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 55),),
            finish=finished("raised", exception=True),
        ),
        "raised",
        "raised",
        None,
    ),
    (
        "its handler returned, and it called sys.exit() later",
        history(
            3,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 55),),
            finish=finished("sys_exit", exception=True),
        ),
        "sys_exit",
        "sys_exit",
        None,
    ),
    (
        "its handler returned, and it called os._exit() later",
        history(
            4,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 55),),
            last_report="os_exit",
        ),
        "os_exit",
        "os_exit",
        None,
    ),
    (
        "it sent itself what it had caught before, and only one outside could have sent that",
        history(-TERM, sent=(signal_sent(by=ME, at=70),), caught=((TERM, 55),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it sent itself what it had caught before of its own, while a program did not report",
        history(
            -TERM,
            sent=(signal_sent(by=ME, at=50, disposition="caught"), signal_sent(by=ME, at=70)),
            caught=((TERM, 55),),
            unobserved=Spans([(0, 100, SIBLING)]),
        ),
        "signaled",
        "signaled",
        None,
    ),
    (
        "its handler returned, and it sent itself another signal later",
        history(
            -USR1,
            sent=(signal_sent(disposition="caught"), signal_sent(USR1, at=70, by=ME)),
            caught=((TERM, 55),),
        ),
        "signaled",
        "signaled",
        None,
    ),
    (
        "of what it caught before the code of its own returned, some reports are missing",
        history(sent=(signal_sent(disposition="caught"),), finish=finished(), gaps=((60, 70),)),
        "returned",
        "returned",
        None,
    ),
    (
        "it ignored the request",
        history(sent=(signal_sent(disposition="ignored"),), finish=finished()),
        "returned",
        "returned",
        None,
    ),
    (
        "it had blocked the request",
        history(sent=(signal_sent(disposition="blocked"),), finish=finished()),
        "returned",
        "returned",
        None,
    ),
    (
        "its code was done when the request came",
        history(sent=(signal_sent(at=95, disposition=None),), finish=finished()),
        "returned",
        "returned",
        None,
    ),
    (
        "the handler ran in its exit path only",
        history(
            sent=(signal_sent(at=95, disposition="caught"),),
            finish=finished(),
            caught=((TERM, 96),),
        ),
        "returned",
        "returned",
        None,
    ),
    (
        "SIGHUP, which it caught, asks nobody to end",
        history(
            sent=(signal_sent(HUP, disposition="caught"),), caught=((HUP, 55),), finish=finished()
        ),
        "returned",
        "returned",
        None,
    ),
    (
        "the signal met a process that had died of its own",
        history(-TERM, sent=(signal_sent(disposition=None, alive=False),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it had sent itself the signal before",
        history(-TERM, sent=(signal_sent(by=ME, at=40), signal_sent(at=50, disposition=None))),
        "signaled",
        "signaled",
        None,
    ),
    (
        "its own KeyboardInterrupt came before the Ctrl-C in its exit path",
        history(-INT, finish=RAISED_INTERRUPT, sent=(signal_sent(INT, at=80, by="test"),)),
        "raised",
        "raised",
        None,
    ),
    (
        "another signal than the one it had been sent ended it",
        history(-SEGV, sent=(signal_sent(disposition="ignored"),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it ignored the request, and sent itself the signal later, with a handler",
        history(
            3,
            sent=(
                signal_sent(disposition="ignored"),
                signal_sent(at=55, by=ME, disposition="caught"),
            ),
            caught=((TERM, 56),),
            finish=EXITED_IN_HANDLER,
        ),
        "sys_exit",
        "sys_exit",
        None,
    ),
    (
        "its own KeyboardInterrupt, which rose from no signal, was passed on",
        history(
            -INT,
            sent=(signal_sent(INT, by="test", disposition="caught"),),
            caught=((INT, 55),),
            finish=finished("raised", at=60, exception=True, interrupt=True),
        ),
        "raised",
        "raised",
        None,
    ),
    # --- abandoned
    (
        "a daemon died at its parent's exit",
        history(-TERM, daemon=True, sent=(abandoning(),)),
        "abandoned",
        "signaled",
        PARENT,
    ),
    (
        "a daemon's handler exited at its parent's exit",
        history(
            5,
            daemon=True,
            sent=(abandoning(disposition="caught"),),
            caught=((TERM, 55),),
            finish=EXITED_IN_HANDLER,
        ),
        "abandoned",
        "sys_exit",
        PARENT,
    ),
    (
        "a daemon that had returned was not abandoned",
        history(-TERM, daemon=True, sent=(abandoning(at=95),), finish=finished()),
        "returned",
        "signaled",
        None,
    ),
    (
        "a daemon that ignores the signal was not abandoned",
        history(0, daemon=True, sent=(abandoning(disposition="ignored"),), finish=finished()),
        "returned",
        "returned",
        None,
    ),
    (
        "a finalizer in the parent's exit path ended what is no daemon",
        history(-TERM, sent=(abandoning(),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "the exit path of a copy of the parent's is not the parent's",
        history(-TERM, daemon=True, sent=(abandoning(by=SIBLING),)),
        "terminated",
        "signaled",
        SIBLING,
    ),
    (
        "it was terminated before its parent's exit path came",
        history(-TERM, daemon=True, sent=(signal_sent(), abandoning(at=60, disposition=None))),
        "terminated",
        "signaled",
        PARENT,
    ),
    # --- what is missing, and changes nothing
    (
        "nothing stood in the signal's way, whoever asked before",
        history(-TERM, sent=(signal_sent(),), lost_reports=SOMEBODY_ELSES),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "reports are missing of a time in which it did not live",
        history(-TERM, began=60, lost_reports=SOMEBODY_ELSES),
        "signaled",
        "signaled",
        None,
    ),
    (
        "a hole in its own reports is not a hidden request",
        history(finish=finished(), lost_reports=Spans([(10, 40, ME)])),
        "returned",
        "returned",
        None,
    ),
    (
        "reports of its own are missing before its code returned",
        history(finish=finished(), gaps=((20, 30),)),
        "returned",
        "returned",
        None,
    ),
    (
        "a shell that ran does not make a return doubtful",
        history(finish=finished(), unobserved=Spans([(0, 100, SIBLING)])),
        "returned",
        "returned",
        None,
    ),
    (
        "a request that may have gone to another process is the same as the one that did not",
        history(-TERM, sent=(signal_sent(certain=False, at=20), signal_sent(disposition=None))),
        "terminated",
        "signaled",
        PARENT,
    ),
]

# the fact that is missing, history, words of the reason
UNKNOWN: list[tuple[str, History, str]] = [
    (
        "on 3.11 it had a handler, beside a program that does not report, and left by sys.exit()",
        history(
            3,
            finish=finished("sys_exit", had=frozenset({HUP})),
            sees_handlers=False,
            unobserved=Spans([(0, 100, SIBLING)]),
        ),
        "a program that does not report was running, and may have sent SIGHUP",
    ),
    (
        "a program may have sent what it caught, and then sent itself again",
        history(
            -TERM,
            sent=(signal_sent(by=ME, at=70),),
            caught=((TERM, 55),),
            unobserved=Spans([(0, 100, SIBLING)]),
        ),
        "a program that does not report was running, and may have sent SIGTERM",
    ),
    (
        "on 3.11 it had a handler of what it sent itself, and a program does not report",
        history(
            -TERM,
            sent=(signal_sent(by=ME, at=70, had_handler=True),),
            sees_handlers=False,
            unobserved=Spans([(0, 100, SIBLING)]),
        ),
        "a program that does not report was running, and may have sent SIGTERM",
    ),
    ("its wait status", history(None, finish=finished()), "wait status"),
    ("how its code ended", history(0, last_report="launcher"), "how its code finished is missing"),
    ("everything that it said", history(0), "without a report of its finish or of os._exit()"),
    (
        "what came after its code had ended",
        history(0, finish=finished(), gaps=((90, 100),)),
        "another program may have replaced it",
    ),
    (
        "whether its code ended before os._exit",
        history(7, last_report="os_exit", gaps=((20, 30),)),
        "before os._exit()",
    ),
    (
        "whether its code ended before the signal",
        history(-SEGV, gaps=((20, 30),)),
        "before the signal",
    ),
    (
        "whether a daemon's target was done",
        history(-TERM, daemon=True, sent=(abandoning(),), gaps=((20, 30),)),
        "its target may have finished before",
    ),
    ("its daemon flag", history(-TERM, daemon=None, sent=(abandoning(),)), "daemon flag"),
    (
        "whose exit path it was",
        history(-TERM, daemon=True, parent=SIBLING, parent_certain=False, sent=(abandoning(),)),
        "perhaps not that of its parent",
    ),
    (
        "whether a request came before the one that is known",
        history(-TERM, sent=(signal_sent(disposition=None),), lost_reports=SOMEBODY_ELSES),
        "an earlier signal",
    ),
    (
        "whether somebody asked for the signal that it died of",
        history(-TERM, lost_reports=SOMEBODY_ELSES),
        "may have been about a signal to it",
    ),
    (
        "whether somebody asked for the exception that a handler raised",
        history(5, finish=EXITED_IN_HANDLER, caught=((TERM, 55),), lost_reports=SOMEBODY_ELSES),
        "may have been about a signal to it",
    ),
    (
        "whether a program that does not report killed it",
        history(-KILL, unobserved=Spans([(0, 100, SIBLING)])),
        "may have sent SIGKILL",
    ),
    (
        "whether what the request made end was still its program, and not another",
        history(
            0,
            sent=(signal_sent(INT, disposition="caught"),),
            finish=finished("raised", at=60, exception=True, interrupt=True, rose_from=INT),
            gaps=((60, 100),),
        ),
        "another program may have replaced it",
    ),
    (
        "whether what drained its work was still its program, and not another",
        history(
            0,
            sent=(signal_sent(disposition="caught"),),
            caught=((TERM, 55),),
            finish=finished(handled=frozenset({TERM})),
            gaps=((90, 100),),
        ),
        "another program may have replaced it",
    ),
    (
        "whether a program that does not report sent the signal of a fault",
        history(-SEGV, unobserved=Spans([(0, 100, SIBLING)])),
        "may have sent SIGSEGV",
    ),
    (
        "what a program that does not report and caught the request did with it",
        history(0, observed=False, sent=(signal_sent(disposition="caught"),)),
        "what it did with SIGTERM",
    ),
    (
        "whether a program that does not report killed it on its way out",
        history(
            -KILL,
            sent=(signal_sent(disposition="caught"),),
            finish=EXITED_IN_HANDLER,
            unobserved=Spans([(0, 100, SIBLING)]),
        ),
        "may have sent SIGKILL",
    ),
    (
        "whether main left by SystemExit that rose from a KeyboardInterrupt",
        history(
            130,
            sent=(signal_sent(INT, by="test", disposition="caught"),),
            finish=finished("sys_exit"),
        ),
        "whether it left by its handler of SIGINT",
    ),
    (
        "whether main left by its handler, whatever it ignored after that",
        history(
            3,
            sent=(
                signal_sent(disposition="caught"),
                signal_sent(at=60, by=SIBLING, disposition="ignored"),
            ),
            finish=finished("sys_exit"),
            sees_handlers=False,
        ),
        "whether it left by its handler of SIGTERM",
    ),
    (
        "whether somebody asked main to exit, on 3.11",
        history(3, finish=finished("sys_exit"), sees_handlers=False, lost_reports=SOMEBODY_ELSES),
        "may have been about a signal to it",
    ),
    (
        "whether a fault came in a handler, on 3.11",
        history(-SEGV, sent=(signal_sent(disposition="caught"),), sees_handlers=False),
        "what it did with SIGTERM",
    ),
    (
        "whose SIGINT the handler that is written in C ran for",
        history(
            1,
            sent=(
                signal_sent(INT, at=40, disposition="caught"),
                signal_sent(INT, at=50, by=SIBLING, disposition="caught"),
            ),
            finish=RAISED_INTERRUPT,
        ),
        "to another process",
    ),
    (
        "whether it left by its handler of SIGHUP, on 3.11",
        history(
            5,
            sent=(signal_sent(HUP, disposition="caught"),),
            finish=finished("sys_exit"),
            sees_handlers=False,
        ),
        "whether it left by its handler of SIGHUP",
    ),
    (
        "whether SIGTERM raised the KeyboardInterrupt, by a handler that is written in C",
        history(
            1,
            sent=(signal_sent(disposition=None),),
            finish=finished(
                "raised",
                exception=True,
                interrupt=True,
                rose_from=None,
                handled=frozenset({INT, TERM}),
            ),
        ),
        "whether it caught SIGTERM",
    ),
    (
        "the status of one that may have died of SIGTERM when the clean-up began",
        history(None, clean_up=90, sent=(signal_sent(),)),
        "its wait status could not be read",
    ),
    (
        "whether a fault came in the handler of the request",
        history(-SEGV, sent=(signal_sent(disposition="caught"),), caught=((TERM, 55),)),
        "what it did with SIGTERM",
    ),
    *(
        (
            f"whether a fault came in the handler: {disposition} was read as it ran or after it",
            history(-SEGV, sent=(signal_sent(disposition=disposition),), caught=((TERM, 55),)),
            "what it did with SIGTERM",
        )
        for disposition in ("blocked", "ignored")
    ),
    (
        "whether main had the request blocked, or its handler began, and left by SystemExit",
        history(
            3,
            sees_handlers=False,
            sent=(signal_sent(disposition="blocked"),),
            finish=finished("sys_exit"),
        ),
        "SIGTERM",
    ),
    (
        "whether it was abandoned before it was killed",
        history(
            -KILL,
            daemon=True,
            sent=(signal_sent(KILL, at=80, by=SIBLING),),
            caught=((TERM, 55),),
            gaps=((60, 70),),
            lost_reports=Spans([(40, 60, PARENT)]),
        ),
        "an earlier signal",
    ),
    (
        "whether an exception of the handler's had left it before it was killed in its exit path",
        history(
            -KILL,
            daemon=True,
            sent=(abandoning(disposition="caught"), signal_sent(KILL, at=80, by=SIBLING)),
            caught=((TERM, 55),),
            gaps=((60, 70),),
        ),
        "what it did with SIGTERM",
    ),
    (
        "what a program that does not report did with the request",
        history(0, observed=False, sent=(signal_sent(disposition=None),)),
        "what it did with SIGTERM",
    ),
    (
        "whether a signal by pid alone went to it",
        history(-TERM, sent=(signal_sent(certain=False),)),
        "to another process",
    ),
    (
        "whether somebody else's earlier request went to it",
        history(
            -TERM,
            sent=(signal_sent(certain=False, at=20, by=SIBLING), signal_sent(disposition=None)),
        ),
        "an earlier signal",
    ),
    (
        "whether an earlier request, of another kind, went to it",
        history(
            -TERM,
            sent=(
                signal_sent(certain=False, at=20, via="exit path"),
                signal_sent(disposition=None),
            ),
        ),
        "an earlier signal",
    ),
    (
        "whether a function of C sent the signal that it died of",
        history(-TERM, signallers=C),
        "may have sent SIGTERM",
    ),
    (
        "whether a function of C sent the signal whose handler raised",
        history(1, finish=finished("raised", exception=True, rose_from=TERM), signallers=C),
        "may have sent SIGTERM",
    ),
    (
        "whether a function of C asked main of 3.11 to leave by SystemExit",
        history(0, finish=finished("sys_exit"), sees_handlers=False, signallers=C),
        "may have sent a signal",
    ),
    (
        "whether a subinterpreter sent the signal that it died of",
        history(-TERM, subinterpreters=C),
        "may have sent SIGTERM",
    ),
    (
        "whether it left by a handler of C",
        history(
            0,
            finish=None,
            last_report="os_exit",
            handles_in_c=10,
            sent=(signal_sent(disposition="blocked"),),
        ),
        "whether it caught SIGTERM",
    ),
    (
        "how it exited below Python",
        history(3, finish=None, exits_in_c=True, gaps=((90, 100),)),
        "as it can below Python",
    ),
    (
        "how it died of a signal that it ignored",
        history(-TERM, sent=(signal_sent(disposition="ignored"),)),
        "ignored SIGTERM",
    ),
]


@pytest.mark.parametrize(
    ("known", "cause", "ending", "by"),
    [pytest.param(*rest, id=f"{rest[1]}: {sentence}") for sentence, *rest in CAUSES],
)
def test_a_history_has_its_cause(
    known: History, cause: str, ending: str, by: int | str | None
) -> None:
    verdict = decide(known)

    assert (verdict.cause, verdict.ending, verdict.ended_by) == (cause, ending, by)
    assert verdict.unknown is None


@pytest.mark.parametrize(
    ("known", "words"),
    [pytest.param(*rest, id=sentence) for sentence, *rest in UNKNOWN],
)
def test_a_missing_fact_makes_the_cause_unknown_and_is_named(known: History, words: str) -> None:
    verdict = decide(known)

    assert verdict.cause == Cause.UNKNOWN
    assert verdict.ended_by is None
    assert words in str(verdict.unknown)


def test_every_cause_has_its_history() -> None:
    assert {cause for _, _, cause, _, _ in CAUSES} == set(Cause) - {Cause.UNKNOWN}


def test_a_span_is_found_by_whom_it_does_not_belong_to() -> None:
    spans = Spans([(0, 100, 1), (20, 30, 2), (50, 60, 1)])

    assert spans.owner(40, 45) == 1
    assert spans.owner(40, 45, other_than=1) is None
    assert spans.owner(25, 45, other_than=1) == 2
    assert spans.owner(101, 200) is None
    assert Spans().owner(0, 1) is None
