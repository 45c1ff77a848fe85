"""One program: written down, run beside strace, and compared."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from programs import strace
from programs.contradictions import Case, Contradiction, contradictions
from programs.grammar import Plan, gates
from programs.model import expect
from programs.source import source

_DID_NOT_END = "did not end"
LIMIT = 30  # seconds for a program, in which the slowest ends ten times over


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    plan: Plan
    program: str
    found: tuple[Contradiction, ...]
    document: str
    stderr: str
    trace: tuple[str, ...]  # the lines of the processes that are in question


def attempt(drawn: Plan, python: str, options: Sequence[str] = ()) -> Trial:
    """Run the program of a plan once, under `python`, which has pytest_proclife."""
    text = source(drawn)
    place = Path(tempfile.mkdtemp(prefix="drawn-"))
    try:
        failure, stderr = _run(drawn, text, place, python, options)
        found: tuple[Contradiction, ...] = ()
        trace: tuple[str, ...] = ()
        document = ""
        if (place / "run.json").exists():
            document = (place / "run.json").read_text()
        if failure is not None:
            missed = failure.kind == _DID_NOT_END and _missed_sigterm(json.loads(document))
            found = () if missed else (failure,)
            trace = tuple((place / "trace").read_text().splitlines()[-150:])
        else:
            case = _case(drawn, place, document)
            found = tuple(contradictions(case))
            if drawn.early:  # one fault of its own, which shows in everything
                found = tuple(replace(one, kind=f"{one.kind} (early import)") for one in found)
            pids = {pid for one in found for pid in one.pids if pid in case.kernel.processes}
            trace = tuple(case.kernel.lines_of(pids))
    finally:
        shutil.rmtree(place)
    return Trial(
        plan=drawn,
        program=text,
        found=found,
        document=document,
        stderr=stderr,
        trace=trace,
    )


def _run(
    drawn: Plan, text: str, place: Path, python: str, options: Sequence[str]
) -> tuple[Contradiction | None, str]:
    """Run it: what is wrong if it gave no document or did not end, and its standard error."""
    program = place / "program.py"
    program.write_text(text)
    shutil.copy(Path(__file__).parent / "prelude.py", place)
    for gate in gates(drawn):
        os.mkfifo(place / gate)
    held = [os.open(place / gate, os.O_RDWR | os.O_CLOEXEC) for gate in gates(drawn)]
    env = {**os.environ, "DRAWN_PLACE": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    if drawn.early == "sitecustomize":
        (place / "early").mkdir()
        (place / "early" / "sitecustomize.py").write_text("import multiprocessing.process\n")
        env["PYTHONPATH"] = str(place / "early")
    elif drawn.early == "pth":
        env["DRAWN_EARLY"] = "1"
    command = ["strace", *strace.OPTIONS, "-o", str(place / "trace"), python, "-m"]
    command += ["pytest_proclife", "run", "--json", str(place / "run.json"), "--linger", "20"]
    command += ["--timeout", str(LIMIT), *options, str(program)]
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=2 * LIMIT,
            preexec_fn=_no_core,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Contradiction(source="kernel", kind="proclife did not end", text=""), ""
    finally:
        for handle in held:
            os.close(handle)
    if not (place / "run.json").exists():
        return Contradiction(source="kernel", kind="no document", text=""), done.stderr
    if json.loads((place / "run.json").read_text())["timed_out"]:
        return Contradiction(source="model", kind=_DID_NOT_END, text=""), done.stderr
    return None, done.stderr


def _missed_sigterm(account: dict[str, Any]) -> bool:
    """Whether a Pool waited for ever for a worker of it that never ran its handler of SIGTERM.

    The interpreter runs handlers between instructions. A signal that comes after it has looked,
    and before the worker waits for the semaphore of the queue of tasks, does not end that wait.
    """
    return any(
        record["kind"] == "pool_worker"
        and record["cause"] == "cleaned_up"
        and any(r["signal"] == "SIGTERM" and r["via"] == "Pool" for r in record["requests"])
        for record in account["processes"]
    )


def early_python(python: str, folder: Path) -> str:
    """A Python like this one, with a .pth file that imports multiprocessing if a plan says so."""
    show = (
        "import pytest_proclife, sys; print(pytest_proclife.__file__); print(*sys.path, sep='\\n')"
    )
    lines = subprocess.check_output([python, "-I", "-c", show], text=True).splitlines()
    package = str(Path(lines[0]).parent.parent)
    packages = [package, *(line for line in lines[1:] if line.endswith("-packages"))]
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    early = "import os; os.environ.get('DRAWN_EARLY') and __import__('multiprocessing.process')"
    (site / "drawn.pth").write_text("\n".join([*dict.fromkeys(packages), early]) + "\n")
    return str(folder / "bin" / "python")


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _case(drawn: Plan, place: Path, document: str) -> Case:
    kernel = strace.read(place / "trace", str(place / "program.py"))
    main = kernel.main(str(place / "program.py"))
    pids = {}
    for line in (place / "pids").read_text().splitlines():
        name, pid = line.split()
        pids[name] = int(pid)
    for process in kernel.processes.values():
        if process.programs and process.programs[-1][0] in ("true", "false", "sh"):
            pids.setdefault(process.programs[-1][-1], process.pid)
    account = json.loads(document)
    witnessed = "seccomp" in account["witness"]["features"]
    return Case(
        document=account,
        kernel=kernel,
        expectations=expect(drawn, kernel, pids, witnessed),
        pids=pids,
        main=main,
    )
