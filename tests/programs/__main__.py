"""Draw programs, run each beside strace, and print where the account contradicts the truth.

    python tests/programs --count 200 --seed 7              on this Python
    python tests/programs --python ~/.venv-3.11/bin/python  on another that has pytest_proclife
    python tests/programs --minutes 120 --out found         for hours; a folder for each kind
    python tests/programs --plan found/03/plan.json         one program again

The oracle of all that the kernel knows is strace; the plan of the program and the contract give
the rest. Contradictions are grouped by kind, those of the kernel first. "unknown" is an unknown
where the plan has the answer, "model" a program that did not do what its plan says.
Exit status: 0 if there were none, 1 if there were.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from programs.draw import drawn_plans
from programs.grammar import Plan, from_values
from programs.shrink import shrink
from programs.trial import Trial, attempt, early_python

SOURCES = ("kernel", "contract", "unknown", "model")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=40, help="number of programs (default: 40)")
    parser.add_argument("--seed", type=int, help="the same programs again (default: random)")
    parser.add_argument("--minutes", type=float, help="stop drawing after this time")
    parser.add_argument("--python", default=sys.executable, help="a Python with pytest_proclife")
    parser.add_argument("--plan", type=Path, help="run the program of this file")
    parser.add_argument("--repeat", type=int, default=1, help="times that each program is run")
    parser.add_argument("--shrink", type=int, default=0, help="trials to shrink each kind")
    parser.add_argument("--only", default="", help="kinds of contradictions with this text")
    parser.add_argument("--out", type=Path, help="folder for what was found")
    parser.add_argument("--quiet", action="store_true", help="print the kinds alone")
    parser.add_argument("options", nargs="*", help="of proclife run, after --")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="drawn-python-") as folder:
        python = early_python(options.python, Path(folder))

        def run(plan: Plan) -> Trial:
            return attempt(plan, python, options.options)

        if options.plan:
            plans: Iterable[Plan] = [from_values(json.loads(options.plan.read_text()))]
        else:
            print(f"seed {seed}, {options.count} programs on {options.python}", flush=True)
            plans = drawn_plans(options.count, seed)
        found = _run_all(plans, run, options)
        _report(found, run, options)
    return 1 if found else 0


def _run_all(
    plans: Iterable[Plan], run: Callable[[Plan], Trial], options: argparse.Namespace
) -> dict[tuple[str, str], list[Trial]]:
    """The trials of each kind of contradiction, by source and kind."""
    found: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    began = time.monotonic()
    done = contradicted = 0
    for plan in plans:
        if options.minutes and time.monotonic() - began > 60 * options.minutes:
            break
        for _ in range(options.repeat):
            trial = run(plan)
            done += 1
            kinds = {(one.source, one.kind) for one in trial.found if options.only in one.kind}
            contradicted += bool(kinds)
            for kind in kinds:
                found[kind].append(trial)
        if sys.stderr.isatty() or done % 50 == 0:
            print(f"{done} run, {contradicted} with contradictions", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"{done} programs, {contradicted} with contradictions, {done / minutes:.0f} a minute")
    return found


def _report(
    found: dict[tuple[str, str], list[Trial]],
    run: Callable[[Plan], Trial],
    options: argparse.Namespace,
) -> None:
    ordered = sorted(found, key=lambda key: (SOURCES.index(key[0]), -len(found[key]), key[1]))
    for number, (source, kind) in enumerate(ordered):
        trials = found[source, kind]
        smallest = min(trials, key=lambda trial: len(trial.program))
        print(f"\n{source}: {kind} ({len(trials)})")
        if options.shrink:
            smallest = _shrunk(smallest, kind, run, options.shrink)
        texts = [one.text for one in smallest.found if one.kind == kind]
        if not options.quiet:
            _print(smallest, texts)
        if options.out:
            folder = options.out / f"{number:02}"
            _write(smallest, folder, [f"{source}: {kind}", *texts])


def _shrunk(trial: Trial, kind: str, run: Callable[[Plan], Trial], budget: int) -> Trial:
    smallest = trial

    def still(plan: Plan) -> bool:
        nonlocal smallest
        again = run(plan)
        if any(one.kind == kind for one in again.found):
            smallest = again
            return True
        return False

    shrink(trial.plan, still, budget)
    return smallest


def _print(trial: Trial, texts: list[str]) -> None:
    for text in texts:
        print(f"  {text}")
    early = f" (multiprocessing imported early by {trial.plan.early})" if trial.plan.early else ""
    print(f"  -- program{early}")
    program = trial.program.partition("from prelude import *\n")[2].partition("if __name__")[0]
    for line in program.split("\n"):
        if line:
            print(f"    {line}")
    pids = {pid for one in trial.found for pid in one.pids}
    if trial.document:
        print("  -- document")
        for record in json.loads(trial.document)["processes"]:
            if record["pid"] in pids or record["role"] == "main":
                print(f"    {json.dumps(record)}")
    print("  -- standard error")
    print("\n".join(f"    {line}" for line in trial.stderr.splitlines()[-40:]))
    print("  -- strace")
    print("\n".join(f"    {line}" for line in trial.trace))


def _write(trial: Trial, folder: Path, words: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.py").write_text(trial.program)
    (folder / "plan.json").write_text(json.dumps(asdict(trial.plan), indent=1))
    (folder / "run.json").write_text(trial.document)
    (folder / "trace").write_text("\n".join(trial.trace))
    (folder / "stderr").write_text(trial.stderr)
    (folder / "words").write_text("\n".join(words) + "\n")


if __name__ == "__main__":
    sys.exit(main())
