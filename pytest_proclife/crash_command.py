"""`proclife crash`: the crash points of a program, as a table, and what went wrong once each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing

from pytest_proclife.crash import SIGNALS, Crash, Plan
from pytest_proclife.options import Options
from pytest_proclife.records import CrashOutcome
from pytest_proclife.render import crash as words
from pytest_proclife.render import html, screen, timeline
from pytest_proclife.supervisor.points import without_digits

_FAILED, _INTERRUPTED = 125, 130
_ROWS = 12  # processes of each timeline
Write = Callable[[str, str], bool]


def crash(namespace: argparse.Namespace, options: Options, write: Write) -> int:
    """Try all points and show what happened; returns the exit status."""
    given = [_full_name(name) for name in namespace.signal or SIGNALS]
    plan = Plan(
        options,
        signals=list(dict.fromkeys(given)),
        of=namespace.of,
        at=namespace.at,
        limit=namespace.limit,
        seed=namespace.seed,
    )
    done: list[Crash] = []
    interrupted = False
    try:
        tried = plan.chosen()
        if not tried:
            print("proclife: there is no such point in this program", file=sys.stderr)
            return _FAILED
        with closing(plan.crash_each(tried, namespace.jobs)) as crashes:
            for each in crashes:
                done.append(each)
                _show_progress(len(done), len(tried), done)
    except KeyboardInterrupt:
        interrupted = True
    _end_progress()
    _show(plan, done, namespace)
    failing = list(_failures(done).values())
    if interrupted:
        print(f"proclife: interrupted after {len(done)} crashes", file=sys.stderr)
        return _INTERRUPTED
    if namespace.json and not write(_document(plan, done), namespace.json):
        return _FAILED
    if namespace.html:
        shown = [html.Shown(run=each[0].run, test=str(each[0])) for each in failing]
        first = [] if plan.first is None else [html.Shown(run=plan.first, test="without a crash")]
        if not write(html.render([*first, *shown]), namespace.html):
            return _FAILED
    return 1 if failing else 0


def _full_name(name: str) -> str:
    """SIGTERM for term and TERM, as kill(1) has it."""
    upper = name.upper()
    return upper if upper.startswith("SIG") else f"SIG{upper}"


def _show_progress(number: int, count: int, done: list[Crash]) -> None:
    if sys.stderr.isatty():
        bad = sum(crash.outcome is not CrashOutcome.CLEAN for crash in done)
        print(f"\r{number}/{count} crashes, {bad} not clean", end="", file=sys.stderr, flush=True)


def _end_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _failures(done: list[Crash]) -> dict[tuple[object, ...], list[Crash]]:
    """The crashes that were not clean, by what happened: outcome, and who was left."""
    kinds: dict[tuple[object, ...], list[Crash]] = {}
    for crash in done:
        if crash.outcome is not CrashOutcome.CLEAN:
            left = sorted({without_digits(process.name) for process in crash.left})
            kinds.setdefault((crash.outcome, *left), []).append(crash)
    return kinds


def _show(plan: Plan, done: list[Crash], namespace: argparse.Namespace) -> None:
    if not done:
        return
    print(words.table([_cell(crash) for crash in done]))
    made_for = screen.screen_of(sys.stdout, namespace.color)
    for crashes in _failures(done).values():
        more = "" if len(crashes) == 1 else f", and {len(crashes) - 1} more like this"
        print(f"\n{crashes[0].outcome}: {crashes[0]}{more}\n")
        print(timeline.render(crashes[0].run, rows=_ROWS, screen=made_for))


def _cell(crash: Crash) -> words.Cell:
    whom = "" if crash.process == "main" else f"{crash.process}: "
    text = words.outcome_words(crash.outcome, len(crash.left), crash.exitcode, crash.signal)
    return words.Cell(row=f"{whom}{crash.point}", column=crash.signal, text=text)


def _document(plan: Plan, done: list[Crash]) -> str:
    points = [
        {
            "point": f"{crash.point}" if plan.of == "main" else f"{crash.process}: {crash.point}",
            "signal": crash.signal,
            "outcome": str(crash.outcome),
            "left": [process.name for process in crash.left],
            "exitcode": crash.exitcode,
        }
        for crash in done
    ]
    return json.dumps({"points": points}, indent=1) + "\n"
