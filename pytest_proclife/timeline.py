"""A run as text: who lived when, and why each process ended."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_proclife.records import Cause, Ending, ProcessRecord, Role, Run

_WIDTH = 32  # columns of the bar


def render(run: Run) -> str:
    """The timeline: a line for main, one for each process, and what was not seen."""
    rows = list(_in_tree_order(run))
    label = max([12, *(2 * depth + len(p.name) for p, depth in rows)])
    pid = max(len(str(p.pid)) for p, _ in rows)
    head = f"{_title(run)}: {run.duration:.2f} s, Python {run.python}"
    scale = f"0 s{f'{run.duration:.2f} s':>{_WIDTH - 3}}"
    lines = [head, "", f"{'pid':>{pid}}  {'process':<{label}}  {'flag':<6}  {scale}"]
    for process, depth in rows:
        name = f"{'  ' * depth}{process.name}"
        flag = "daemon" if process.daemon else "helper" if process.role is Role.HELPER else ""
        lines.append(
            f"{process.pid:>{pid}}  {name:<{label}}  {flag:<6}  "
            f"{_bar(process, run.duration)}  {describe(process)}"
        )
    if not run.witness.complete:
        lines += ["", *(f"not seen: {reason}" for reason in run.witness.missing)]
    return "\n".join(lines)


def _title(run: Run) -> str:
    text = run.target.text.splitlines()[0] if run.target.text else ""
    return f"{run.target.kind} {text[:60]}"


def _in_tree_order(run: Run) -> Iterator[tuple[ProcessRecord, int]]:
    below: dict[int | None, list[ProcessRecord]] = {}
    for process in run.processes[1:]:
        below.setdefault(process.parent_id, []).append(process)

    def walk(process: ProcessRecord, depth: int) -> Iterator[tuple[ProcessRecord, int]]:
        yield process, depth
        for child in below.get(process.id, ()):
            yield from walk(child, depth + 1)

    yield from walk(run.main, 0)
    for process in below.get(None, ()):  # whose parent was not seen
        yield from walk(process, 1)


def _bar(process: ProcessRecord, duration: float) -> str:
    end = process.ended_at if process.ended_at is not None else duration
    scale = _WIDTH / duration if duration else 0.0
    first = min(int(process.started_at * scale), _WIDTH - 1)
    last = max(first + 1, min(round(end * scale), _WIDTH))
    done = process.finished_at
    middle = last if done is None else max(first, min(round(done * scale), last))
    text = " " * first + "━" * (middle - first) + "╌" * (last - middle)
    return f"{text:<{_WIDTH}}"


def describe(process: ProcessRecord) -> str:
    """Why and how a process ended, in a few words."""
    if process.ending is Ending.RUNNING:
        return "running"
    words = [str(process.cause).replace("_", " ")]
    if process.ended_by is not None:
        words.append(f"by {_who(process)}")
    if process.cause is Cause.ABANDONED:
        words[-1] += "'s exit path" if process.ended_by is not None else ""
    if process.exception is not None and process.ending is Ending.RAISED:
        words.append(f"({process.exception.type})")
    if process.signal is not None:
        words.append(process.signal)
    else:
        words.append(f"exit code {process.exitcode}")
    extra = []
    if process.joined is not None:
        extra.append({"implicit": "joined by the exit path"}.get(process.joined, "joined"))
    if process.orphaned and process.role is not Role.HELPER:
        extra.append("outlived its parent")
    if process.target_ran is False:
        extra.append("its target never ran")
    return ", ".join([" ".join(words), *extra])


def _who(process: ProcessRecord) -> str:
    if isinstance(process.ended_by, int):
        return process.run.processes[process.ended_by].name
    return str(process.ended_by)


def waiting_for(run: Run) -> str:
    """What main was doing when a run was ended at its deadline."""
    left = [
        p
        for p in run.main.children
        if p.cause is Cause.CLEANED_UP or p.cause is Cause.UNKNOWN
    ]
    if run.main.finished_at is None:
        doing = "its own code was still running"
    else:
        doing = f"its code was done at {run.main.finished_at:.2f} s"
    if not left:
        return doing
    names = ", ".join(str(p) for p in left)
    return f"{doing}; still running were {names}"
