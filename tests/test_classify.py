"""The rules that give a cause, one history a line: no log, no process."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proclife.analysis.cause import classify
from pytest_proclife.analysis.gaps import Spans
from pytest_proclife.analysis.history import History, Left
from pytest_proclife.analysis.log import Asked
from pytest_proclife.records import Cause

PARENT, ME, SIBLING = 0, 1, 2
INT, QUIT, KILL, USR1, SEGV, TERM, HUP = 2, 3, 9, 10, 11, 15, 1


def history(exitcode: int | None = 0, **fields: Any) -> History:
    given: dict[str, Any] = {"id": ME, "parent": PARENT, "daemon": False, "began": 0, "ended": 100}
    return History(exitcode=exitcode, **{**given, **fields})


def asked(signal: int = TERM, at: int = 50, by: int | str = PARENT, **fields: Any) -> Asked:
    given: dict[str, Any] = {"via": "terminate()", "state": "default"}
    return Asked(signal=signal, at=at, by=by, **{**given, **fields})


def abandoning(at: int = 50, **fields: Any) -> Asked:
    return asked(at=at, via="exit path", **fields)


def left(how: str = "returned", at: int = 90, **fields: Any) -> Left:
    return Left(how=how, at=at, **{"handled": frozenset({INT}), **fields})


RAISED_INTERRUPT = left("raised", at=60, exception="KeyboardInterrupt", rose_from=INT)
EXITED_IN_HANDLER = left("sys_exit", at=60, exception="SystemExit", rose_from=TERM)
SOMEBODY_ELSES = Spans([(10, 40, SIBLING)])  # reports of a sibling's that are missing

# sentence, history, cause, ending, who
CAUSES: list[tuple[str, History, str, str, int | str | None]] = [
    # --- what its own code did
    (
        "its target returned",
        history(left=left(), last_word="launcher"),
        "returned",
        "returned",
        None,
    ),
    ("an exception left its target", history(1, left=left("raised")), "raised", "raised", None),
    ("SystemExit left its target", history(3, left=left("sys_exit")), "sys_exit", "sys_exit", None),
    (
        "SystemExit left its target, whose handler of SIGHUP had returned",
        history(3, asked=(asked(HUP, state="caught"),), left=left("sys_exit")),
        "sys_exit",
        "sys_exit",
        None,
    ),
    (
        "SystemExit came from its handler of SIGHUP",
        history(3, asked=(asked(HUP, state="caught"),), left=left("sys_exit", rose_from=HUP)),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    ("it called os._exit", history(7, last_word="os_exit"), "os_exit", "os_exit", None),
    (
        "it returned, and an exit handler called os._exit",
        history(7, left=left(), last_word="os_exit"),
        "returned",
        "os_exit",
        None,
    ),
    (
        "it had returned when a signal went to its pid, on a Python that sees no handlers",
        history(0, left=left(at=40), sees_handlers=False, asked=(asked(sure=False, state=None),)),
        "returned",
        "returned",
        None,
    ),
    ("it died of a fault", history(-SEGV), "signaled", "signaled", None),
    (
        "it sent itself a signal",
        history(-TERM, asked=(asked(by=ME, via="os.kill()"),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it returned, and died of a fault in its exit path",
        history(-SEGV, left=left()),
        "returned",
        "signaled",
        None,
    ),
    (
        "KeyboardInterrupt left main, which passes the signal on to itself",
        history(-INT, left=RAISED_INTERRUPT),
        "raised",
        "raised",
        None,
    ),
    ("a program that does not report exited", history(2, observed=False), "exited", "exited", None),
    (
        "a program that does not report took its place, and exited",
        history(0, replaced=10, left=left(at=5)),
        "exited",
        "exited",
        None,
    ),
    # --- cleaned up
    ("proclife ended it", history(-KILL, cleaned_up=90), "cleaned_up", "signaled", "proclife"),
    (
        "it ended by itself while proclife ended the run",
        history(0, cleaned_up=90, left=left(at=80)),
        "returned",
        "returned",
        None,
    ),
    (
        "another process had killed it when the clean-up came",
        history(-KILL, cleaned_up=90, asked=(asked(KILL, via="kill()"),)),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it was killed by the clean-up before another process killed it",
        history(-KILL, cleaned_up=40, asked=(asked(KILL, via="kill()"),)),
        "cleaned_up",
        "signaled",
        "proclife",
    ),
    # --- killed, terminated
    ("its parent killed it", history(-KILL, asked=(asked(KILL),)), "killed", "signaled", PARENT),
    (
        "the test killed it",
        history(-KILL, asked=(asked(KILL, by="test"),)),
        "killed",
        "signaled",
        "test",
    ),
    (
        "a sibling terminated it",
        history(-TERM, asked=(asked(by=SIBLING),)),
        "terminated",
        "signaled",
        SIBLING,
    ),
    (
        "it died of a signal that asks for nothing",
        history(-USR1, asked=(asked(USR1),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "the handler of the request raised SystemExit",
        history(5, asked=(asked(state="caught"),), caught=((TERM, 55),), left=EXITED_IN_HANDLER),
        "terminated",
        "sys_exit",
        PARENT,
    ),
    (
        "interrupt() raised KeyboardInterrupt in it",
        history(1, asked=(asked(INT, state="caught"),), left=RAISED_INTERRUPT),
        "terminated",
        "raised",
        PARENT,
    ),
    (
        "main raised KeyboardInterrupt at the test's SIGINT, and passed it on",
        history(-INT, asked=(asked(INT, by="test", state="caught"),), left=RAISED_INTERRUPT),
        "terminated",
        "raised",
        "test",
    ),
    (
        "it caught the request, drained its work and returned",
        history(asked=(asked(state="caught"),), caught=((TERM, 55),), left=left()),
        "terminated",
        "returned",
        PARENT,
    ),
    (
        "it swallowed the KeyboardInterrupt and returned",
        history(asked=(asked(INT, state="caught"),), left=left()),
        "terminated",
        "returned",
        PARENT,
    ),
    (
        "on 3.11, which shows no handlers, the kernel says that it catches the signal",
        history(asked=(asked(state="caught"),), left=left(), sees_handlers=False),
        "terminated",
        "returned",
        PARENT,
    ),
    (
        "a program that does not report caught the request and exited",
        history(0, observed=False, asked=(asked(state="caught"),)),
        "terminated",
        "exited",
        PARENT,
    ),
    (
        "its handler sent it the signal again, as a tidy program does",
        history(
            -TERM,
            asked=(asked(state="caught"), asked(by=ME, at=70)),
            caught=((TERM, 55),),
        ),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "its handler aborted",
        history(-6, asked=(asked(state="caught"),), caught=((TERM, 55),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "it did not heed the request, and was killed",
        history(-KILL, asked=(asked(state="caught"), asked(KILL, at=80)), caught=((TERM, 55),)),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it was killed on its way out",
        history(-KILL, asked=(asked(state="caught"), asked(KILL, at=80)), left=EXITED_IN_HANDLER),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it was killed on its way out, whatever its missing reports would have said",
        history(
            -KILL,
            asked=(asked(state="caught"), asked(KILL, at=80)),
            left=EXITED_IN_HANDLER,
            holes=((60, 70),),
        ),
        "killed",
        "signaled",
        PARENT,
    ),
    (
        "it killed itself on its way out, and a program that does not report had run before",
        history(
            -KILL,
            asked=(asked(state="caught"), asked(KILL, at=80, by=ME)),
            left=EXITED_IN_HANDLER,
            strangers=Spans([(10, 40, SIBLING)]),
        ),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "of two who asked, the first one is the reason",
        history(-TERM, asked=(asked(by=SIBLING, at=60), asked(at=50, state=None))),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "it had blocked the signal, and died of it later",
        history(-TERM, asked=(asked(state="blocked"),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    # --- requests that were not the reason
    (
        "it ignored the request",
        history(asked=(asked(state="ignored"),), left=left()),
        "returned",
        "returned",
        None,
    ),
    (
        "it had blocked the request",
        history(asked=(asked(state="blocked"),), left=left()),
        "returned",
        "returned",
        None,
    ),
    (
        "its code was done when the request came",
        history(asked=(asked(at=95, state=None),), left=left()),
        "returned",
        "returned",
        None,
    ),
    (
        "the handler ran in its exit path only",
        history(asked=(asked(at=95, state="caught"),), left=left(), caught=((TERM, 96),)),
        "returned",
        "returned",
        None,
    ),
    (
        "SIGHUP, which it caught, asks nobody to end",
        history(asked=(asked(HUP, state="caught"),), caught=((HUP, 55),), left=left()),
        "returned",
        "returned",
        None,
    ),
    (
        "the signal met a process that had died of its own",
        history(-TERM, asked=(asked(state=None, alive=False),)),
        "signaled",
        "signaled",
        None,
    ),
    (
        "it had sent itself the signal before",
        history(-TERM, asked=(asked(by=ME, at=40), asked(at=50, state=None))),
        "signaled",
        "signaled",
        None,
    ),
    (
        "its own KeyboardInterrupt came before the Ctrl-C in its exit path",
        history(-INT, left=RAISED_INTERRUPT, asked=(asked(INT, at=80, by="test"),)),
        "raised",
        "raised",
        None,
    ),
    (
        "another signal than the one it had been sent ended it",
        history(-SEGV, asked=(asked(state="ignored"),)),
        "signaled",
        "signaled",
        None,
    ),
    # --- abandoned
    (
        "a daemon died at its parent's exit",
        history(-TERM, daemon=True, asked=(abandoning(),)),
        "abandoned",
        "signaled",
        PARENT,
    ),
    (
        "a daemon's handler exited at its parent's exit",
        history(
            5,
            daemon=True,
            asked=(abandoning(state="caught"),),
            caught=((TERM, 55),),
            left=EXITED_IN_HANDLER,
        ),
        "abandoned",
        "sys_exit",
        PARENT,
    ),
    (
        "a daemon that had returned was not abandoned",
        history(-TERM, daemon=True, asked=(abandoning(at=95),), left=left()),
        "returned",
        "signaled",
        None,
    ),
    (
        "a daemon that ignores the signal was not abandoned",
        history(0, daemon=True, asked=(abandoning(state="ignored"),), left=left()),
        "returned",
        "returned",
        None,
    ),
    (
        "a finalizer in the parent's exit path ended what is no daemon",
        history(-TERM, asked=(abandoning(),)),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "the exit path of a copy of the parent's is not the parent's",
        history(-TERM, daemon=True, asked=(abandoning(by=SIBLING),)),
        "terminated",
        "signaled",
        SIBLING,
    ),
    (
        "it was terminated before its parent's exit path came",
        history(-TERM, daemon=True, asked=(asked(), abandoning(at=60, state=None))),
        "terminated",
        "signaled",
        PARENT,
    ),
    # --- what is missing, and changes nothing
    (
        "nothing stood in the signal's way, whoever asked before",
        history(-TERM, asked=(asked(),), missing=SOMEBODY_ELSES),
        "terminated",
        "signaled",
        PARENT,
    ),
    (
        "reports are missing of a time in which it did not live",
        history(-TERM, began=60, missing=SOMEBODY_ELSES),
        "signaled",
        "signaled",
        None,
    ),
    (
        "a hole in its own reports is not a hidden request",
        history(left=left(), missing=Spans([(10, 40, ME)])),
        "returned",
        "returned",
        None,
    ),
    (
        "reports of its own are missing before its code returned",
        history(left=left(), holes=((20, 30),)),
        "returned",
        "returned",
        None,
    ),
    (
        "a fault is its own doing, whatever else ran",
        history(-SEGV, strangers=Spans([(0, 100, SIBLING)])),
        "signaled",
        "signaled",
        None,
    ),
    (
        "a shell that ran does not make a return doubtful",
        history(left=left(), strangers=Spans([(0, 100, SIBLING)])),
        "returned",
        "returned",
        None,
    ),
    (
        "a request that may have gone to another process is the same as the one that did not",
        history(-TERM, asked=(asked(sure=False, at=20), asked(state=None))),
        "terminated",
        "signaled",
        PARENT,
    ),
]

# the fact that is missing, history, words of the reason
UNKNOWN: list[tuple[str, History, str]] = [
    ("its wait status", history(None, left=left()), "wait status"),
    ("how its code ended", history(0, last_word="launcher"), "how its code ended is missing"),
    ("everything that it said", history(0), "neither its end nor os._exit()"),
    (
        "what came after its code had ended",
        history(0, left=left(), holes=((90, 100),)),
        "another program may have taken its place",
    ),
    (
        "whether its code ended before os._exit",
        history(7, last_word="os_exit", holes=((20, 30),)),
        "before os._exit()",
    ),
    (
        "whether its code ended before the signal",
        history(-SEGV, holes=((20, 30),)),
        "before the signal",
    ),
    (
        "whether a daemon's target was done",
        history(-TERM, daemon=True, asked=(abandoning(),), holes=((20, 30),)),
        "its target may have been done",
    ),
    ("its daemon flag", history(-TERM, daemon=None, asked=(abandoning(),)), "daemon flag"),
    (
        "whose exit path it was",
        history(-TERM, daemon=True, parent=SIBLING, parent_known=False, asked=(abandoning(),)),
        "whether its parent's is not known",
    ),
    (
        "whether a request came before the one that is known",
        history(-TERM, asked=(asked(state=None),), missing=SOMEBODY_ELSES),
        "an earlier request",
    ),
    (
        "whether somebody asked for the signal that it died of",
        history(-TERM, missing=SOMEBODY_ELSES),
        "could hold a request",
    ),
    (
        "whether somebody asked for the exception that a handler raised",
        history(5, left=EXITED_IN_HANDLER, caught=((TERM, 55),), missing=SOMEBODY_ELSES),
        "could hold a request",
    ),
    (
        "whether somebody sent the SIGINT that it may have swallowed",
        history(0, left=left(), missing=SOMEBODY_ELSES),
        "could hold a request",
    ),
    (
        "whether a program that does not report killed it",
        history(-KILL, strangers=Spans([(0, 100, SIBLING)])),
        "may have sent SIGKILL",
    ),
    (
        "whether what the request made end was still its program, and not another",
        history(
            0,
            asked=(asked(INT, state="caught"),),
            left=left("raised", at=60, exception="KeyboardInterrupt", rose_from=INT),
            holes=((60, 100),),
        ),
        "another program may have taken its place",
    ),
    (
        "whether what drained its work was still its program, and not another",
        history(
            0,
            asked=(asked(state="caught"),),
            caught=((TERM, 55),),
            left=left(handled=frozenset({TERM})),
            holes=((90, 100),),
        ),
        "another program may have taken its place",
    ),
    (
        "whether a program that does not report killed it on its way out",
        history(
            -KILL,
            asked=(asked(state="caught"),),
            left=EXITED_IN_HANDLER,
            strangers=Spans([(0, 100, SIBLING)]),
        ),
        "may have sent SIGKILL",
    ),
    (
        "whether it caught the request, for its own reports are missing",
        history(0, asked=(asked(state="caught"),), left=left(), holes=((60, 70),)),
        "what it did with SIGTERM",
    ),
    (
        "whether it caught the request, on 3.11",
        history(0, asked=(asked(state=None),), left=left(), sees_handlers=False),
        "whether it caught SIGTERM",
    ),
    (
        "whether it left by its handler of SIGHUP, on 3.11",
        history(5, asked=(asked(HUP, state="caught"),), left=left("sys_exit"), sees_handlers=False),
        "whether it left by its handler of SIGHUP",
    ),
    (
        "whether it swallowed the SIGINT",
        history(0, asked=(asked(INT, state=None),), left=left()),
        "whether it caught SIGINT",
    ),
    (
        "whether SIGTERM raised the KeyboardInterrupt, by a handler that is written in C",
        history(
            1,
            asked=(asked(state=None),),
            left=left(
                "raised",
                exception="KeyboardInterrupt",
                rose_from=INT,
                handled=frozenset({INT, TERM}),
            ),
        ),
        "whether it caught SIGTERM",
    ),
    (
        "what a program that does not report did with the request",
        history(0, observed=False, asked=(asked(state=None),)),
        "what it did with SIGTERM",
    ),
    (
        "whether a signal by pid alone went to it",
        history(-TERM, asked=(asked(sure=False),)),
        "to another process",
    ),
    (
        "whether somebody else's earlier request went to it",
        history(-TERM, asked=(asked(sure=False, at=20, by=SIBLING), asked(state=None))),
        "an earlier request",
    ),
    (
        "whether an earlier request, of another kind, went to it",
        history(-TERM, asked=(asked(sure=False, at=20, via="exit path"), asked(state=None))),
        "an earlier request",
    ),
    (
        "how it died of a signal that it ignored",
        history(-TERM, asked=(asked(state="ignored"),)),
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
    verdict = classify(known)

    assert (verdict.cause, verdict.ending, verdict.ended_by) == (cause, ending, by)
    assert not verdict.reasons


@pytest.mark.parametrize(
    ("known", "words"),
    [pytest.param(*rest, id=sentence) for sentence, *rest in UNKNOWN],
)
def test_a_missing_fact_makes_the_cause_unknown_and_is_named(known: History, words: str) -> None:
    verdict = classify(known)

    assert verdict.cause == Cause.UNKNOWN
    assert verdict.ended_by is None
    assert len(verdict.reasons) == 1
    assert words in verdict.reasons[0]


def test_every_cause_has_its_history() -> None:
    assert {cause for _, _, cause, _, _ in CAUSES} == set(Cause) - {Cause.UNKNOWN}


def test_a_span_is_found_by_whom_it_does_not_belong_to() -> None:
    spans = Spans([(0, 100, 1), (20, 30, 2), (50, 60, 1)])

    assert spans.owner(40, 45) == 1
    assert spans.owner(40, 45, but=1) is None
    assert spans.owner(25, 45, but=1) == 2
    assert spans.owner(101, 200) is None
    assert Spans().owner(0, 1) is None
