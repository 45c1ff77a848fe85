"""A run whose every text is hostile: what a target chooses, from its name to its traceback."""

from __future__ import annotations

from dataclasses import replace

import lives

from pytest_proclife.records import ExceptionInfo, Run, TargetInfo

MARKUP = "</script><img src=x onerror=hurt()>"
NAMES = (
    MARKUP,
    "\u202edesrever",
    "日本語のプロセス",
    "n" * 400,
    "two\nlines\tand a tab",
    "\udcff not text",
    "&amp;<b>bold</b>",
    "__proto__",
    "\x1b[2J",
)


def hostile_run() -> Run:
    run = lives.ends()
    processes = tuple(
        replace(process, name=name, argv=(MARKUP, "--><!--", "</style>"))
        for process, name in zip(run.processes, NAMES, strict=True)
    )
    error = ExceptionInfo(type=MARKUP, message=MARKUP, traceback=f"Traceback\n  {MARKUP}\x1b[2J")
    processes = tuple(
        replace(process, exception=error) if process.exception is not None else process
        for process in processes
    )
    target = TargetInfo(kind="script", text=MARKUP + "'\"", args=(MARKUP,))
    return replace(run, target=target, processes=processes)


def many_processes(count: int) -> Run:
    """So many children that end in several ways, one after the other."""
    run = lives.workers_of(8)
    worker = run.processes[1]
    ends = lives.ends().processes[1:]
    processes = [run.main]
    for number in range(count):
        end = ends[number % len(ends)]
        begin = number * run.duration / count
        processes.append(
            replace(
                end,
                id=number + 1,
                pid=worker.pid + number,
                name=f"worker-{number}",
                started_at=begin,
                finished_at=None,
                ended_at=begin + run.duration / 10,
                ended_by=None,
                requests=(),
            )
        )
    return replace(run, processes=tuple(processes), duration=run.duration * 1.1)
