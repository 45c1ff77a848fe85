"""Programs that close, replace or run short of descriptors: reports go on, and to nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_proclife
from pytest_proclife import Cause, Code, Run


def causes(run: Run) -> list[tuple[Cause | None, int | None]]:
    return [(p.cause, p.exitcode) for p in run.processes]


def test_a_program_that_closes_all_descriptors_goes_on_reporting() -> None:
    run = pytest_proclife.run(
        Code(
            "import os\n"
            "os.closerange(3, 4096)\n"
            "if os.fork() == 0: os._exit(3)\n"
            "os.wait()\n"
            "print(os.open(os.devnull, os.O_RDONLY))\n"
        )
    )
    assert causes(run) == [(Cause.RETURNED, 0), (Cause.OS_EXIT, 3)]
    assert run.stdout == "3\n"  # ours is none of the low ones
    assert run.witness.complete


@pytest.mark.parametrize("fork", ["", "if os.fork() == 0: os._exit(1)\nos.wait()\n"])
@pytest.mark.parametrize("module", ["sys", "socket, fcntl, select"])
def test_the_last_report_of_a_program_that_closed_all_arrives(module: str, fork: str) -> None:
    text = f"import os, sys, {module}\n{fork}os.closerange(3, 4096)\nsys.exit(3)\n"
    run = pytest_proclife.run(Code(text))
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 3)
    assert run.witness.complete


def test_files_of_the_program_with_the_names_of_modules_of_c_are_its_own(tmp_path: Path) -> None:
    for name in ("_socket", "fcntl", "select", "_posixsubprocess"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "program.py").write_text(
        "import os, sys, _socket, fcntl, select\n"
        "if os.fork() == 0:\n"
        "    os.closerange(3, 4096)\n"
        "    os._exit(3)\n"
        "os.wait()\n"
        "for module in (fcntl, _socket, select):\n"
        # an interpreter may have it built in, which then comes before the file
        "    print(getattr(module, 'NAME', 'built in'), sys.modules[module.__name__] is module)\n"
    )
    bare = subprocess.check_output([sys.executable, "program.py"], cwd=tmp_path, text=True)
    run = pytest_proclife.run("program.py", cwd=tmp_path)
    assert causes(run) == [(Cause.RETURNED, 0), (Cause.OS_EXIT, 3)]
    assert run.stdout == bare
    assert run.witness.complete


def test_nothing_is_written_to_what_took_the_descriptors_number() -> None:
    run = pytest_proclife.run(
        Code(
            "import multiprocessing, os\n"
            "numbers = [int(name) for name in os.listdir('/proc/self/fd') if int(name) > 9]\n"
            "reader, writer = os.pipe()\n"
            "for number in numbers: os.dup2(writer, number)\n"
            "child = multiprocessing.get_context('fork').Process(target=os.getpid)\n"
            "child.start(); child.join()\n"
            "os.close(writer)\n"
            "for number in numbers: os.close(number)\n"
            "print(os.read(reader, 100))\n"
        )
    )
    assert run.stdout == "b''\n"
    assert causes(run) == [(Cause.RETURNED, 0)] * 2
    assert run.witness.complete


def test_a_daemon_that_closes_all_behind_itself_is_seen_to_its_end() -> None:
    run = pytest_proclife.run(
        Code(
            "import os, sys\n"
            "reader, writer = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork(): os._exit(0)\n"
            "    os.chdir('/'); os.umask(0); os.dup2(writer, 1)\n"
            "    os.closerange(3, 4096)\n"
            "    if os.fork() == 0: os._exit(7)\n"
            "    os.wait(); os.write(1, b'done'); sys.exit(4)\n"
            "os.close(writer); os.wait(); os.read(reader, 10)\n"
        ),
        linger=10,
    )
    ends = [(Cause.RETURNED, 0), (Cause.OS_EXIT, 0), (Cause.SYS_EXIT, 4), (Cause.OS_EXIT, 7)]
    assert causes(run) == ends
    assert run.witness.complete


@pytest.mark.parametrize("limit", [20, 30, 60, 100, 500])
def test_a_low_limit_of_descriptors_is_kept_to(limit: int) -> None:
    run = pytest_proclife.run(
        Code(
            "import os, resource, subprocess, sys\n"
            f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
            "os.closerange(3, 4096)\n"
            "if os.fork() == 0: sys.exit(3)\n"
            "os.wait()\n"
            "text = 'import os; print(sorted(map(int, os.listdir(\"/proc/self/fd\"))))'\n"
            "subprocess.run([sys.executable, '-c', text])\n"
            "os.execv(sys.executable, ['python', '-c', text])\n"
        )
    )
    assert causes(run) == [(Cause.RETURNED, 0), (Cause.SYS_EXIT, 3), (Cause.RETURNED, 0)]
    assert run.witness.complete
    assert run.stdout is not None
    for line in run.stdout.splitlines():
        numbers = eval(line)
        assert numbers[:4] == [0, 1, 2, 3]  # 3 is the listing's own
        assert len(numbers) <= 5


def test_a_program_out_of_descriptors_loses_no_more_than_reports() -> None:
    run = pytest_proclife.run(
        Code(
            "import os\n"
            "os.closerange(3, 4096)\n"
            "try:\n"
            "    while True: os.open(os.devnull, os.O_RDONLY)\n"
            "except OSError: pass\n"
            "if os.fork() == 0: os._exit(3)\n"
            "print(os.wait()[1])\n"
        )
    )
    assert run.stdout == "768\n"
    assert run.exitcode == 0
    assert not run.witness.complete
