"""Claims about a shutdown: it was asked to end, caught the request, and ended in its own way."""

from __future__ import annotations

from pytest_proclife import records
from pytest_proclife.assertions.causes import (
    about_cause,
    about_signal,
    met_by_nobody,
    own_signal,
)
from pytest_proclife.assertions.violation import (
    Offence,
    Records,
    Violation,
    named,
    on_each,
    outcome,
    unseen,
)
from pytest_proclife.records import (
    Cause,
    Disposition,
    Ending,
    ProcessRecord,
    SignalSent,
    Source,
    UnknownKind,
)
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain, seconds

_ASKING = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP")  # unless a claim names another signal
_MET = {Disposition.IGNORED: "it ignored", Disposition.BLOCKED: "it had blocked"}


def shut_down(
    processes: Records,
    by: ProcessRecord | str | None,
    signal: str | None,
    within: float | None,
    exitcode: int | None,
) -> Violation | None:
    """It was asked to end, caught that, and ended other than by the uncaught signal or SIGKILL."""
    who = "nobody" if by is None else "the test" if isinstance(by, str) else named(by)

    def check(process: ProcessRecord) -> Offence | None:
        requests = _requests(process, by, signal)
        if not requests:
            return _not_asked(process, who, signal or "request to end")
        caught = next((sent for sent in requests if _was_caught(process, sent)), None)
        if caught is None:
            return _not_caught(process, requests)
        offence = _another_end(process, caught) or _too_late(process, requests[0], within)
        if offence is not None or exitcode in (None, process.exitcode):
            return offence
        return Offence(process, f"its exit code is {process.exitcode}", about_cause(process, None))

    expected = f"to have shut down on {signal or 'a request'}"
    expected += "" if by is None else f" from {who}"
    expected += "" if within is None else f" within {seconds(within)}"
    expected += "" if exitcode is None else f" with exit code {exitcode}"
    return on_each(processes, expected, check)


def _requests(
    process: ProcessRecord, by: ProcessRecord | str | None, signal: str | None
) -> list[SignalSent]:
    """The signals that asked it to end, as far as the claim is about them, in order."""
    wanted = _ASKING if signal is None else (signal,)
    sent = (s for s in _sent(process) if s.signal in wanted and s.about != process.id)
    met = [s for s in sent if s.certain and s.alive is not False]
    if isinstance(by, str):
        return [s for s in met if s.source is Source.TEST]
    return [s for s in met if by is None or s.about == by.id]


def _sent(process: ProcessRecord, signal: str | None = None) -> list[SignalSent]:
    sent = (fact for fact in process.evidence if isinstance(fact, SignalSent))
    return [fact for fact in sent if signal in (None, fact.signal)]


def _was_caught(process: ProcessRecord, sent: SignalSent) -> bool:
    if sent.disposition is Disposition.CAUGHT:
        return True
    kinds, since = records.HandlerRan | records.SignalTaken, sent.at or 0
    facts = (fact for fact in process.evidence if isinstance(fact, kinds))
    runs = [fact.at or 0 for fact in facts if fact.signal == sent.signal]
    ran = min((at for at in runs if at >= since), default=None)
    if ran is None or sent.disposition is not Disposition.IGNORED:
        return ran is not None
    # its handler may have set that before it was read, but not if it ran for a later signal
    later = (fact for fact in _sent(process, sent.signal) if since < (fact.at or 0) <= ran)
    return all(f.about != process.id and f.disposition is Disposition.IGNORED for f in later)


def _not_asked(process: ProcessRecord, who: str, wanted: str) -> Offence:
    hint = "process.requests lists every signal that was sent to it, with its sender"
    met = next((fact for fact in met_by_nobody(process) if fact.signal in (wanted, *_ASKING)), None)
    if met is not None:
        it = "its handler of {} ran" if isinstance(met, records.HandlerRan) else "it took {}"
        actual = f"{it.format(met.signal)}, and its sender is not known ({describe(process)})"
        return Offence(process, actual, hint, known=False)
    reason = unseen(process) or _may_have_been_asked(process)
    if reason is not None:
        actual = f"whether it was sent any {wanted} is not known: {reason}"
        return Offence(process, actual, hint, known=False)
    own = own_signal(process)
    if own is not None and own.signal in (wanted, *_ASKING):
        hint = f"{about_signal(process)}: that is not a request of another process"
    sent = f"{who} sent it {'a' if who == 'nobody' else 'no'} {wanted}"
    return Offence(process, f"{sent} ({describe(process)})", hint)


_UNSEEN_REQUEST = (
    UnknownKind.UNOBSERVED_SENDER,
    UnknownKind.FOREIGN_SENDER,
    UnknownKind.REQUEST_REPORT,
    UnknownKind.EARLIER_REQUEST_REPORT,
    UnknownKind.UNCERTAIN_REQUEST,
    UnknownKind.UNCERTAIN_EARLIER_REQUEST,
)


def _may_have_been_asked(process: ProcessRecord) -> str | None:
    """Why a signal that its requests do not list may have come, if its cause says so."""
    reason = process.unknown_reason
    return plain(str(reason)) if reason is not None and reason.kind in _UNSEEN_REQUEST else None


def _not_caught(process: ProcessRecord, requests: list[SignalSent]) -> Offence:
    hint = "process.evidence says what each request met"
    if any(sent.disposition is None for sent in requests):
        actual = f"whether it caught {requests[0].signal} could not be seen ({describe(process)})"
        return Offence(process, actual, hint, known=False)
    met = _MET.get(requests[0].disposition or Disposition.DEFAULT, "it had no handler for")
    return Offence(process, f"{met} {requests[0].signal} ({describe(process)})", hint)


def _another_end(process: ProcessRecord, caught: SignalSent) -> Offence | None:
    """The offence of a process that still runs, or was killed after it had caught the request."""
    by_test = caught.source is Source.TEST or caught.about is None
    sender = "the test" if by_test else plain(process.run.processes[caught.about or 0].name)
    it = f"it caught {caught.signal} from {sender}, and"
    hint = about_cause(process, None)
    if process.ended_at is None:
        return Offence(process, f"{it} is still running", hint)
    if process.exitcode is None:
        return Offence(process, f"{it} how it ended is not known", hint, known=False)
    ended_by_other = _was_ended_by_other(process)
    if process.cause is Cause.CLEANED_UP or (ended_by_other and process.signal == "SIGKILL"):
        return Offence(process, f"{it} then {outcome(process)}", hint)
    if ended_by_other:
        return Offence(process, f"{it} then died of a {process.signal} that it did not catch", hint)
    return None


def _was_ended_by_other(process: ProcessRecord) -> bool:
    """Whether it died of a signal that another process sent it; SIGKILL may come from anywhere."""
    if process.signal is None or process.ending is not Ending.SIGNALED:
        return False  # main passes its own KeyboardInterrupt on to itself
    sent = [fact for fact in _sent(process, process.signal) if fact.alive is not False]
    last = max(sent, key=lambda fact: fact.at or 0, default=None)
    return process.signal == "SIGKILL" if last is None else last.about != process.id


def _too_late(process: ProcessRecord, first: SignalSent, within: float | None) -> Offence | None:
    took = (process.ended_at or 0) - (first.at or 0)
    if within is None or took <= within:
        return None
    actual = f"it took {seconds(took)} from {first.signal} to its end ({describe(process)})"
    return Offence(
        process, actual, "`within` counts from the first request that the assertion is about"
    )
