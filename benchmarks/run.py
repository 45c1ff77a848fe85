"""Print what observing a program costs, beside what other ways of watching it cost.

    python benchmarks/run.py [--rounds N] [--only ROW] [--quick] [--here]
                             [--without FEATURES | --seccomp]

Each figure is a ratio to bare `subprocess.run`, measured in alternation: every round runs all
contenders one after another, and a ratio is taken within its round.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import costs
import wheel
from contenders import (
    Contender,
    Program,
    Sample,
    contenders,
    fallbacks,
    programs,
    witnesses,
)
from costs import Spread, settle

ROWS = ("empty", "course", "forks", "spawns", "storm", "first", "child", "memory")
COUNTS = [10, 100, 1000, 10_000]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One contender on one program, over all rounds."""

    ratios: list[float]
    missed: list[float]
    failed: str | None

    def __str__(self) -> str:
        if self.failed is not None:
            return "failed"
        text = f"{Spread.of(self.ratios):.2f}"
        missed = Spread.of(self.missed).median
        return f"{text}, misses {missed:.1%}" if missed else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A program: how long it takes bare, in ms, and the others by their titles."""

    program: Program
    milliseconds: list[float]
    cells: dict[str, Cell]

    def texts(self) -> list[str]:
        alone = f"{Spread.of(self.milliseconds):.0f}"
        return [self.program.title, alone, *map(str, self.cells.values())]


def measure_row(program: Program, columns: list[Contender], rounds: int, folder: Path) -> Row:
    seconds: list[float] = []
    cells = {c.title: Cell(ratios=[], missed=[], failed=None) for c in columns[1:]}
    for number in range(1 + max(3, round(rounds * program.share))):
        _say(f"{program.name}: round {number}")
        alone = columns[0].measure(program, folder).seconds
        settle()
        for column in columns[1:]:
            cell = cells[column.title]
            if cell.failed is not None:
                continue
            try:
                sample = column.measure(program, folder)
            except RuntimeError as error:  # ProgramFailed, or run()'s own SupervisorLost
                cells[column.title] = Cell(ratios=[], missed=[], failed=str(error))
                print(f"{column.title} on {program.name}: {error}", file=sys.stderr)
                continue
            settle()
            _note(cell, sample, alone, number)
        if number:
            seconds.append(alone * 1000)
    _say("")
    return Row(program=program, milliseconds=seconds, cells=cells)


def _note(cell: Cell, sample: Sample, alone: float, number: int) -> None:
    if number:  # the first round fills caches, and holds run()'s own first run
        cell.ratios.append(sample.seconds / alone)
        cell.missed.append(sample.missed)


def _say(text: str) -> None:
    """Show where we are, where somebody looks on; the table alone goes to standard output."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def print_table(rows: list[list[str]]) -> None:
    """A Markdown table whose columns stand straight in a terminal too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        print("| " + " | ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) + " |")
    print()


def compare(wanted: list[str], rounds: int, without: list[str], seccomp: bool) -> None:
    known = witnesses() if seccomp else fallbacks(without) if without else contenders()
    columns = [c for c in known if c.absent is None]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            measure_row(program, columns, rounds, folder)
            for program in programs(folder)
            if program.name in wanted
        ]
    if rows:
        print_table([["", "bare, ms", *(c.title for c in columns[1:])], *(r.texts() for r in rows)])
    for row in rows if without or seccomp else ():
        full, *others = row.cells.items()
        for title, cell in others:
            if cell.failed or full[1].failed:
                continue
            times = [a / b for a, b in zip(cell.ratios, full[1].ratios, strict=True)]
            print(f"- {row.program.title}, {title}: {Spread.of(times):.2f} times {full[0]}.")
    for column in known:
        if column.absent is not None:
            print(f"- Left out: {column.title} ({column.absent}).")


def report_costs(wanted: list[str], rounds: int) -> None:
    if "first" in wanted:
        _say("first run")
        dearer, importing = costs.first_run(max(3, rounds // 2))
        _say("")
        print(
            f"- A process's first run is dearer than its later ones by {dearer:.1f} ms; "
            f"importing run() takes {importing:.1f} ms."
        )
    if "child" in wanted:
        _say("cost per child")
        for count, alone, added in costs.per_child(COUNTS, rounds):
            _say("")
            print(
                f"- {count} forked children: {alone:.0f} us each bare, and under run() "
                f"{added:.0f} us more."
            )
    if "memory" in wanted:
        _say("memory")
        for one in costs.memory():
            _say("")
            print(
                f"- Memory of the caller, for each of {costs.RECORDED} processes of {one.title}: "
                f"{one.held:.1f} kB held by the Run, {one.peak:.1f} kB at the peak, "
                f"{one.resident:.1f} kB resident."
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="What observing a program costs.")
    parser.add_argument("--rounds", type=int, default=20, help="of the short rows (20)")
    parser.add_argument("--only", choices=ROWS, action="append", help="one row; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few rounds, the short rows")
    parser.add_argument(
        "--here",
        action="store_true",
        help="measure the package that this interpreter imports, not a wheel of the checkout",
    )
    parser.add_argument(
        "--without",
        metavar="FEATURES",
        action="append",
        default=[],
        help="compare with run() as on a kernel without these: names with commas; may be repeated",
    )
    parser.add_argument(
        "--seccomp", action="store_true", help="compare with run() with the second witness"
    )
    options = parser.parse_args()
    if not options.here:
        with tempfile.TemporaryDirectory() as folder:
            _say("building a wheel")
            python = wheel.install(Path(folder))
            _say("")
            # without it the recorder's bytecode is put together anew in every process
            env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            sys.exit(subprocess.call([str(python), __file__, *sys.argv[1:], "--here"], env=env))
    rounds = 5 if options.quick else options.rounds
    everything: tuple[str, ...] = ("empty", "course", "forks", "first") if options.quick else ROWS
    if options.without or options.seccomp:
        everything = ("empty", "course", "forks", "spawns", "storm")
    wanted = list(options.only or everything)
    print(
        f"Times as long as bare: median (quartiles) of the rounds' ratios. "
        f"CPython {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.\n"
    )
    compare(wanted, rounds, options.without, options.seccomp)
    report_costs(wanted, rounds)
    print(f"- Load at the end: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
