"""Where a document contradicts the kernel or the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from programs.grammar import Child
from programs.model import Expectations, Expected
from programs.strace import SHORT, Kernel, Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """`source` is kernel, contract, unknown (a needless one) or model (which is then wrong)."""

    source: str
    kind: str  # without names and numbers: equal for equal faults
    text: str
    pids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run: its document, what the kernel did, and what is right."""

    document: dict[str, Any]
    kernel: Kernel
    expectations: Expectations
    pids: dict[str, int]  # by the names in the plan
    main: int

    @property
    def records(self) -> dict[int, dict[str, Any]]:
        return {record["pid"]: record for record in self.document["processes"]}

    @property
    def by_id(self) -> dict[Any, int]:
        return {record["id"]: record["pid"] for record in self.document["processes"]}

    def name(self, pid: int | None) -> str:
        names = {found: name for name, found in self.pids.items()}
        if pid is None:
            return "nobody"
        record = self.records.get(pid)
        return names.get(pid, record["name"] if record else f"process {pid}")


def contradictions(case: Case) -> Iterator[Contradiction]:
    derailed = list(_derailed(case))
    yield from derailed
    yield from _processes(case)
    for pid, record in case.records.items():
        process = case.kernel.processes.get(pid)
        if process is not None:
            yield from _of_kernel(case, record, process)
    if not derailed:
        yield from _of_model(case)


# --- the kernel


def _processes(case: Case) -> Iterator[Contradiction]:
    lived = {case.main, *case.kernel.below(case.main)}
    recorded = set(case.records)
    for pid in sorted(recorded - lived):
        yield _kernel("a record of no process", f"{case.name(pid)} ({pid}) never lived", pid)
    unreported = [
        pid for pid in lived - recorded if not _below_a_program(case, case.kernel.processes[pid])
    ]
    for pid in sorted(unreported):
        process = case.kernel.processes[pid]
        if not process.programs and process.exitcode == 255:
            continue  # a child whose exec failed
        yield _kernel(
            "a process without a record",
            f"{pid}, a child of {case.name(process.parent)}, has no record",
            pid,
        )
    if lived - recorded and case.document["witness"]["complete"]:
        yield _kernel("complete, but for a process", "complete is true, and one was not recorded")


def _below_a_program(case: Case, process: Process) -> bool:
    parent = case.kernel.processes.get(process.parent or 0)
    return parent is not None and bool(parent.programs) and parent.programs[-1][0] == "sh"


def _of_kernel(case: Case, record: dict[str, Any], process: Process) -> Iterator[Contradiction]:
    name = case.name(process.pid)
    if record["exitcode"] != process.exitcode:
        yield _kernel(
            f"exitcode of a {record['kind']}",
            f"{name}: exit code {record['exitcode']}, and the kernel's is {process.exitcode}",
            process.pid,
        )
    yield from _parent(case, record, process)
    yield from _reaping(case, record, process)
    yield from _senders(case, record, process)
    yield from _order(case, record, process)
    handled = [e["signal"] for e in record["evidence"] if e["kind"] == "handler_ran"]
    came = [signal for _, signal, _ in process.delivered]
    for signal in sorted(set(handled) - set(came)):
        yield _kernel(
            "a handler ran without its signal", f"{name}: no {signal} was delivered", process.pid
        )


def _parent(case: Case, record: dict[str, Any], process: Process) -> Iterator[Contradiction]:
    parent = case.by_id.get(record["parent"])
    if record["role"] == "main" or parent == process.parent:
        return
    server = case.records.get(process.parent or 0)
    if record["start_method"] == "forkserver" and server and server["kind"] == "forkserver":
        return
    yield _kernel(
        f"parent of a {record['kind']}",
        f"{case.name(process.pid)}: its parent is {case.name(parent)}, "
        f"and the kernel's is {case.name(process.parent)}",
        process.pid,
    )


def _reaping(case: Case, record: dict[str, Any], process: Process) -> Iterator[Contradiction]:
    if record["role"] != "child" or process.reaped is None:
        return
    name, by = case.name(process.pid), process.reaped.by
    outside = by not in case.records
    for fact in record["evidence"]:
        if fact["kind"] == "reaped" and fact["orphan"] != outside:
            yield _kernel(
                "who reaped it",
                f"{name}: reaped as an orphan: {fact['orphan']}, but by {case.name(by)}",
                process.pid,
            )
        collector = case.by_id.get(fact["about"])
        served = record["start_method"] == "forkserver"
        if fact["kind"] == "collected" and collector != by and not served:
            yield _kernel(
                "who collected it",
                f"{name}: collected by {case.name(collector)}, and in truth {case.name(by)}",
                process.pid,
            )
    if record["joined"] and outside:
        yield _kernel(
            "joined, and never collected",
            f"{name}: joined is {record['joined']}, and nobody in the run took its status",
            process.pid,
        )


def _senders(case: Case, record: dict[str, Any], process: Process) -> Iterator[Contradiction]:
    name = case.name(process.pid)
    reported: Counter[tuple[int | None, str]] = Counter(
        (case.by_id.get(request["by"]), request["signal"])
        for request in record["requests"]
        if request["by"] not in (record["id"], "proclife", "test")
    )
    signals = [
        signal
        for signal in case.kernel.signals
        if signal.to == process.pid != signal.by and signal.by in case.records
    ]
    sent: Counter[tuple[int | None, str]]
    sent = Counter((signal.by, signal.name) for signal in signals if not signal.late)
    late: Counter[tuple[int | None, str]]
    late = Counter((signal.by, signal.name) for signal in signals if signal.late)
    for (by, signal), count in (reported - sent - late).items():
        yield _kernel(
            "a request that nobody sent",
            f"{name}: {count} {signal} by {case.name(by)}, never sent",
            *{process.pid, by or process.pid},
        )
    for (by, signal), count in (sent - reported).items():
        if by is None or not _is_python(case.kernel.processes[by]):
            continue  # a shell does not report
        yield _kernel(
            "a request that is missing",
            f"{name}: {count} {signal} by {case.name(by)}, not among its requests",
            process.pid,
            by,
        )
    if isinstance(record["ended_by"], int):
        by_pid = case.by_id[record["ended_by"]]
        if not any(by == by_pid for by, _ in sent):
            yield _kernel(
                "ended by one that sent nothing",
                f"{name}: ended by {case.name(by_pid)}, which sent it nothing",
                process.pid,
            )
    ours = [s for s in case.kernel.signals if s.by not in case.records and s.name == "SIGKILL"]
    killed = process.exitcode == -9 and any(s.to == process.pid for s in ours)
    # what had not ended when proclife began to kill may have ended in any way after that
    was_left = bool(ours) and (process.ended or 0) > min(s.line for s in ours)
    cleaned_up = record["cause"] == "cleaned_up"
    if (cleaned_up and not was_left) or (killed and not cleaned_up and not sent):
        yield _kernel(
            "cleaned up",
            f"{name}: cause {record['cause']}, and proclife killed it: {killed}",
            process.pid,
        )


def _is_python(process: Process) -> bool:
    return not process.programs or "python" in process.programs[-1][0]


def _order(case: Case, record: dict[str, Any], process: Process) -> Iterator[Contradiction]:
    """Orphaned, where a stop of one of the two proves which end came first."""
    parent = case.kernel.processes.get(case.by_id.get(record["parent"], 0))
    if record["role"] != "child" or parent is None or record["cause"] == "cleaned_up":
        return
    if process.ended is None or parent.ended is None:
        return
    outlived: bool | None = None
    if process.reaped_by == parent.pid:
        outlived = False
    elif process.last_stop is not None and process.last_stop > parent.ended:
        outlived = True
    elif parent.last_stop is not None and process.ended < parent.last_stop:
        outlived = False
    if outlived is None or record["orphaned"] is outlived:
        return
    apart = abs(case.kernel.time(process.ended) - case.kernel.time(parent.ended))
    if record["orphaned"] is None and apart < SHORT and process.reaped_by != parent.pid:
        return
    yield _kernel(
        f"orphaned is {record['orphaned']}, not {outlived}",
        f"{case.name(process.pid)}: orphaned is {record['orphaned']}, and the order of the ends "
        f"says {outlived}",
        process.pid,
        parent.pid,
    )


def _kernel(kind: str, text: str, *pids: int) -> Contradiction:
    return Contradiction(source="kernel", kind=kind, text=text, pids=frozenset(pids))


# --- the model


def _derailed(case: Case) -> Iterator[Contradiction]:
    """Where the program did not do what its plan says: then nothing else of the plan holds."""
    for expected in case.expectations.processes:
        process = case.kernel.processes.get(case.pids.get(expected.name, 0))
        if process is None:
            yield Contradiction(source="model", kind="never started", text=expected.name)
        elif process.exitcode not in expected.exitcode:
            yield Contradiction(
                source="model",
                kind=f"exit code of a {expected.kind} ({expected.end})",
                text=f"{expected.name}: exit code {process.exitcode} by the kernel, "
                f"{_words(expected.exitcode)} by the model",
                pids=frozenset({process.pid}),
            )


def _of_model(case: Case) -> Iterator[Contradiction]:
    for expected in case.expectations.processes:
        record = case.records.get(case.pids[expected.name])
        if record is not None:
            yield from _record(case, expected, record)
    for parent, child in case.expectations.groups:
        yield from _group(case, parent, child)
    complete = case.document["witness"]["complete"]
    if case.expectations.complete not in (None, complete):
        missing = case.document["witness"]["missing"]
        yield Contradiction(
            source="contract",
            kind=f"complete is {complete}, not {not complete}",
            text=f"complete is {complete}: {missing}",
        )


def _record(case: Case, expected: Expected, record: dict[str, Any]) -> Iterator[Contradiction]:
    parent = None if record["parent"] is None else case.name(case.by_id[record["parent"]])
    by = record["ended_by"]
    seen = {
        "parent": parent,
        "kind": record["kind"],
        "daemon": record["daemon"],
        "start_method": record["start_method"],
        "cause": record["cause"],
        "ending": record["ending"],
        "ended_by": case.name(case.by_id[by]) if isinstance(by, int) else by,
        "joined": record["joined"],
        "orphaned": record["orphaned"],
    }
    if expected.named:
        seen["name"] = record["name"]
        seen["target_ran"] = record["target_ran"]
    for field, value in seen.items():
        right = getattr(expected, field)
        right = right if isinstance(right, frozenset) else frozenset({right})
        if value in right or (field == "ended_by" and record["cause"] not in expected.cause):
            continue
        if field in ("cause", "ended_by") and _is_unseen_on_3_11(case, record):
            continue
        yield _differs(case, expected, record, field, value, right)
    requests = [
        (case.name(case.by_id.get(r["by"])), r["signal"])
        for r in record["requests"]
        if r["by"] != record["id"]
    ]
    asked, wanted = Counter(requests), Counter(expected.requests)
    if wanted - asked or asked - wanted - Counter(expected.late_requests):
        yield Contradiction(
            source="contract",
            kind="requests",
            text=f"{expected.name}: requests {requests}, not {list(expected.requests)}",
            pids=frozenset({record["pid"]}),
        )


def _is_unseen_on_3_11(case: Case, record: dict[str, Any]) -> bool:
    """Nobody sees there where SystemExit that leaves the code of a program came from."""
    reason = (record["unknown_reason"] or {}).get("kind")
    return reason == "left_by_handler" and case.document["python"].startswith("3.11.")


def _differs(
    case: Case,
    expected: Expected,
    record: dict[str, Any],
    field: str,
    value: Any,
    right: frozenset[Any],
) -> Contradiction:
    unknown = value in ("unknown", None) and field in ("cause", "ended_by", "orphaned")
    reason = ""
    if record["unknown_reason"] and field == "cause":
        reason = f" ({record['unknown_reason']['kind']})"
    kind = f"{field} of a {expected.kind}"
    if field not in ("parent", "ended_by", "name"):
        hows = {"joined": expected.deal, "orphaned": expected.deal}
        hows |= {"cause": expected.end, "ending": expected.end}
        # a missing fact is one fault, however the process ended
        how = f" ({hows[field]})" if field in hows and not unknown else ""
        kind += f"{how} is {value}{reason}" + ("" if unknown else f", not {_words(right)}")
    return Contradiction(
        source="unknown" if unknown else "contract",
        kind=kind,
        text=f"{expected.name}: {field} {value}{reason}, not {_words(right)}",
        pids=frozenset({record["pid"]}),
    )


def _group(case: Case, parent: str, child: Child) -> Iterator[Contradiction]:
    kind = {"pool": "pool_worker", "executor": "executor_worker"}.get(child.kind, child.kind)
    found = [
        record
        for record in case.records.values()
        if record["kind"] == kind and case.by_id.get(record["parent"]) == case.pids.get(parent)
    ]
    if not found:
        yield Contradiction(source="contract", kind=f"no {kind}", text=f"there is no {kind}")
    for record in found:
        process = case.kernel.processes.get(record["pid"])
        if process is not None:
            yield from _member(case, child, record, process)


def _member(
    case: Case, child: Child, record: dict[str, Any], process: Process
) -> Iterator[Contradiction]:
    """A worker or a manager; the kernel says which of its ends it had."""
    forgotten = child.deal == "forgotten"
    code = process.exitcode
    causes = {0: {"returned"}, 3: {"os_exit"}}.get(code or 0, set())
    if child.kind == "manager":
        causes = {"sys_exit"} if code == 0 else {"terminated", "killed"}
    elif code in (5, -15):
        causes = {"abandoned"} if forgotten and child.kind == "pool" else {"terminated"}
        causes |= {"returned"}  # it had, and was cut off in its exit path
    elif child.deal == "exit_on_sigterm" and code == 1:
        # sys.exit() left its exit path, and with that BaseProcess._bootstrap (process.py), which
        # has Popen._launch (popen_fork.py) take 1
        causes = {"returned", "terminated"}
    elif code == -9:
        causes = {"killed"}
    joined: set[str | None] = {"library"}
    if forgotten and child.kind == "manager":
        joined = {"implicit"}
    elif forgotten and child.kind == "pool":
        joined = {"implicit", "library"}
    elif child.kind == "executor" and child.deal == "no_wait":
        joined = {"library", "implicit"}
    expected: dict[str, set[Any]] = {"cause": causes, "joined": joined, "orphaned": {False}}
    expected["daemon"] = {child.kind == "pool"}
    for field, right in expected.items():
        if record[field] not in right:
            yield Contradiction(
                source="unknown" if record[field] == "unknown" else "contract",
                kind=f"{field} of a {record['kind']} ({child.deal}) is {record[field]}, "
                f"not {_words(right)}",
                text=f"{record['name']}: {field} {record[field]}, not {_words(right)}",
                pids=frozenset({record["pid"]}),
            )


def _words(values: Any) -> str:
    return " or ".join(sorted(map(str, values)))
