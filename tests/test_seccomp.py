"""The second witness: whatever language it is in, who signals, starts, waits and exits is seen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import container
import importable
import pytest
from conftest import TARGETS
from programs import strace

import pytest_proclife
from pytest_proclife import (
    Cause,
    Code,
    ProcessRecord,
    Run,
    SeccompUnavailable,
    SupervisorLost,
    assert_killed,
    assert_terminated,
)
from pytest_proclife.records import AskedKernel, Disposition, NotSent, SignalSent, Source

IN_C = TARGETS / "in_c"
SHELL = "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1]])"


def witnessed(target: Any, args: Sequence[Any] = (), **options: Any) -> Run:
    return pytest_proclife.run(target, args, **{"seccomp": True, **options})


def shell(script: str) -> Run:
    return witnessed(["sh", "-c", script])


def facts(record: ProcessRecord, kind: type[Any]) -> list[Any]:
    return [fact for fact in record.evidence if isinstance(fact, kind)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs in C."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler of C is here")
    folder = tmp_path_factory.mktemp("in_c")
    for source in IN_C.glob("*.c"):
        program = folder / source.stem
        command = [compiler, "-O1", "-o", str(program), str(source), "-pthread"]
        subprocess.run(command, check=True)
    return folder


# --- signals


def test_a_shell_that_signals_is_named_and_nothing_is_missing() -> None:
    run = shell("sleep 60 & kill -ABRT $!; wait; (exit 3); /bin/kill -TERM $$")
    main, slept, exited, killer = run
    assert_terminated(slept, by=main)
    assert_terminated(main, by=killer)
    assert (killer.name, killer.argv) == ("kill", ("/bin/kill", "-TERM", str(main.pid)))
    assert (exited.cause, exited.exitcode, exited.parent) == (Cause.EXITED, 3, main)
    assert run.witness.complete
    assert "seccomp" in run.witness.features
    (sent,) = facts(main, SignalSent)
    assert (sent.source, sent.about, sent.decisive) == (Source.KERNEL, killer.id, True)


def test_what_a_signal_meets_is_read_before_it_comes() -> None:
    run = shell("trap '' USR1; kill -USR1 $$; trap : USR2; kill -USR2 $$; exit 5")
    assert (run.main.cause, run.exitcode) == (Cause.EXITED, 5)
    met = [fact.disposition for fact in facts(run.main, SignalSent)]
    assert met == [Disposition.IGNORED, Disposition.CAUGHT]


def test_each_member_of_a_group_has_the_request() -> None:
    program = """
import os
members = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, members[0] if members else 0)
        os.execlp("sleep", "sleep", "60")
    members.append(pid)
    try:
        os.setpgid(pid, members[0])  # both do it, as a shell: either may be first
    except PermissionError:
        pass  # it has executed its program, so it was first
os.execlp("sh", "sh", "-c", "kill -TERM -%d" % members[0])
"""
    run = witnessed(Code(program))
    assert [p.cause for p in run.children] == [Cause.TERMINATED] * 3
    assert [(r.by, r.signal) for p in run.children for r in p.requests] == [(0, "SIGTERM")] * 3
    assert run.main.requests == ()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_python_reports_of_a_signal_stays_what_it_is(method: str) -> None:
    bare = pytest_proclife.run(importable.terminate_a_child, start_method=method)
    run = witnessed(importable.terminate_a_child, start_method=method)
    for before, now in zip(bare.descendants, run.descendants, strict=True):
        assert (before.cause, before.exitcode, before.joined) == (
            now.cause,
            now.exitcode,
            now.joined,
        )
        assert [(r.signal, r.via) for r in before.requests] == [
            (r.signal, r.via) for r in now.requests
        ]
    assert run.witness.complete


def test_a_signal_by_ctypes_has_its_sender() -> None:
    program = """
import ctypes, os, time
child = os.fork()
if child == 0:
    while True:
        time.sleep(0.1)
ctypes.CDLL(None).kill(child, 9)
os.waitpid(child, 0)
"""
    run = witnessed(Code(program))
    (child,) = run.children
    assert_killed(child, by=run.main)
    assert run.witness.complete
    assert not pytest_proclife.run(Code(program)).witness.complete


def test_a_signal_from_outside_of_the_run_is_told_from_all_others() -> None:
    with pytest_proclife.start(["sh", "-c", "echo up; exec sleep 60"], seccomp=True) as main:
        main.wait_for_output("up")
        os.kill(main.pid, signal.SIGTERM)
        run = main.wait()
    assert (run.main.cause, run.exitcode) == (Cause.SIGNALED, -15)
    assert facts(run.main, NotSent)
    assert run.witness.complete


def test_a_death_with_the_parent_is_told_from_a_signal_that_was_sent() -> None:
    program = """
import ctypes, os, subprocess, sys
asked = "import ctypes, time; ctypes.CDLL(None).prctl(1, 9); print(flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", asked], stdout=subprocess.PIPE)
child.stdout.readline()
os._exit(0)
"""
    run = witnessed(Code(program), linger=10)
    (child,) = run.children
    assert (child.cause, child.exitcode) == (Cause.SIGNALED, -9)
    assert [fact.call for fact in facts(child, AskedKernel)] == ["prctl"]


# --- processes


def test_two_hundred_short_children_of_a_shell_have_their_parents_and_statuses() -> None:
    script = """
for i in $(seq 80); do (exit $((i % 5))) & done; wait
for i in $(seq 40); do (exit 5); done
for i in $(seq 40); do (setsid sh -c 'exec 0<&- 1>&- 2>&-; (exit 7) & exit 6'); done
"""
    run = witnessed(["bash", "-c", script], timeout=300)
    parents = {p: p.parent for p in run.descendants}
    assert None not in parents.values()
    direct = Counter(p.exitcode for p, parent in parents.items() if parent == run.main)
    assert [direct[n] for n in range(1, 5)] == [16] * 4
    assert direct[5] == 40
    twice = [p for p, parent in parents.items() if parent in run.descendants and p.exitcode == 7]
    assert len(twice) == 40
    assert {parent.exitcode for p in twice if (parent := parents[p])} == {6}
    assert run.witness.complete


@pytest.mark.once  # not each place with a Python has a compiler
def test_a_program_in_c_is_seen_as_it_is(compiled: Path) -> None:
    run = witnessed([str(compiled / "family")])
    pids = dict(line.split() for line in (run.stdout or "").splitlines())
    found = {role: next(p for p in run if p.pid == int(pid)) for role, pid in pids.items()}
    ends = {role: (p.cause, p.exitcode) for role, p in found.items()}
    assert ends == {
        "killed": (Cause.TERMINATED, -15),
        "queued": (Cause.TERMINATED, -10),
        "by_pidfd": (Cause.TERMINATED, -1),
        "by_thread_id": (Cause.TERMINATED, -12),
        "of_group": (Cause.TERMINATED, -2),
        "raised": (Cause.SIGNALED, -9),
        "alarmed": (Cause.SIGNALED, -14),
        "vforked": (Cause.EXITED, 0),
        "spawned": (Cause.EXITED, 6),
        "between": (Cause.EXITED, 0),
        "forked_twice": (Cause.EXITED, 4),
        "of_thread": (Cause.EXITED, 7),
    }
    assert {p.parent for role, p in found.items() if role != "forked_twice"} == {run.main}
    assert found["forked_twice"].parent == found["between"]
    assert [p.ended_by for p in found.values() if p.cause is Cause.TERMINATED] == [run.main.id] * 5
    assert found["raised"].requests[0].by == found["raised"].id
    assert facts(found["alarmed"], AskedKernel)
    assert found["vforked"].argv == ("true", "vforked")
    assert len(run.descendants) == len(found)
    assert run.witness.complete


@pytest.mark.parametrize("route", ["Popen(['/nothing'])", "posix_spawn('/nothing', ['x'], {})"])
def test_a_program_that_cannot_be_executed_is_no_process(route: str) -> None:
    program = f"""
from os import posix_spawn
from subprocess import Popen
try:
    {route}
except FileNotFoundError:
    Popen(["true"]).wait()
"""
    run = witnessed(Code(program))
    assert [p.name for p in run.descendants] == ["true"]
    assert run.witness.complete


MAKEFILE = """
all: a b c d
a b: ; sh -c 'exit 0'; true | cat
c: ; -sh -c 'kill -TERM $$$$'
d: ; $(MAKE) -j2 e f
e f: ; @(sleep 0.01; exit 0)
"""
REPOSITORY = """
git init -q . && git config user.email a@b.c && git config user.name a && git config gc.auto 0
for i in 1 2 3; do echo $i >$i && git add . && git commit -qm $i; done
"""
CONFIGURE = """#!/bin/sh
for name in cc awk sed nothing_like_this; do
  if (command -v $name) >/dev/null 2>&1 && ($name --version || :) 2>&1 | head -n 1 | grep -q .
  then echo "$name: yes"; else echo "$name: no"; fi
done
cat <<END | sed s/x/y/ >config.status
x $(uname -s) $(expr 1 + 2 || exit 4)
END
exit 3
"""


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["make -j2", "git gc --quiet", "sh configure", "parallel --will-cite -j2 sh -c ::: true false"],
)
def test_programs_that_others_wrote_are_seen_as_strace_sees_them(
    command: str, tmp_path: Path
) -> None:
    words = command.split()
    if shutil.which("strace") is None or shutil.which(words[0]) is None:
        pytest.skip(f"strace or {words[0]} is not here")
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "configure").write_text(CONFIGURE)
    if words[0] == "git":
        subprocess.run(["sh", "-c", REPOSITORY], cwd=tmp_path, check=True)
    trace, document = tmp_path / "trace", tmp_path / "run.json"
    observed = [sys.executable, "-m", "pytest_proclife", "run", "--seccomp", "--linger", "20"]
    observed += ["--json", str(document), "--", *words]
    traced = ["strace", *strace.OPTIONS, "-o", str(trace), *observed]
    subprocess.run(traced, cwd=tmp_path, capture_output=True, check=False)
    run = Run.from_json(document.read_text())
    kernel = strace.read(trace, words[1])
    main = kernel.main(words[1])
    lived = [kernel.processes[pid] for pid in kernel.below(main)]
    truth = {process.pid: (process.parent, process.exitcode) for process in lived}
    told = {p.pid: (p.parent.pid if p.parent else None, p.exitcode) for p in run.descendants}
    assert told == truth
    assert len(truth) > 4
    assert run.witness.complete
    assert not [p for p in run if p.cause is Cause.UNKNOWN]


@pytest.mark.once  # not each place with a Python has a compiler
@pytest.mark.parametrize("count", [500])
def test_a_storm_of_forks_in_c_is_seen_whole(compiled: Path, count: int) -> None:
    run = witnessed([str(compiled / "storm"), "forks", str(count)], timeout=300)
    assert run.exitcode == 0
    codes = Counter(p.exitcode for p in run.descendants)
    assert codes == Counter(n % 7 for n in range(count))
    assert {p.parent for p in run.descendants} == {run.main}
    assert run.witness.complete


@pytest.mark.once  # not each place with a Python has a compiler
def test_children_that_the_kernel_reaps_are_seen(compiled: Path) -> None:
    run = witnessed([str(compiled / "storm"), "ignored", "200"], timeout=300)
    assert run.exitcode == 0
    assert [p.parent for p in run.descendants] == [run.main] * 200


# --- nobody waits for ever, and nothing changes


def test_a_shell_starts_its_pipelines_while_others_end() -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do true | cat; (exit 1); true | true | cat; done; exit 3"
    run = shell(script)
    assert (run.exitcode, run.stderr) == (3, "")
    assert len(run.descendants) == 8 * 6


@pytest.mark.once  # not each place with a Python has a compiler
def test_a_program_that_is_interrupted_all_the_time_forks_and_exits(compiled: Path) -> None:
    run = witnessed([str(compiled / "storm"), "exits", "300"], timeout=300)
    assert (run.exitcode, run.stdout) == (0, "failed 0\n")
    assert Counter(p.exitcode for p in run.descendants) == {3: 300, 7: 300}


@pytest.mark.once  # not each place with a Python has a compiler
@pytest.mark.parametrize(("storm", "count"), [("senders", 100), ("interrupted", 2000)])
def test_calls_that_are_held_do_not_hang(compiled: Path, storm: str, count: int) -> None:
    run = witnessed([str(compiled / "storm"), storm, str(count)], timeout=300)
    assert run.exitcode == 0, run.stdout
    if storm == "senders":
        assert Counter(p.cause for p in run.descendants) == {Cause.KILLED: count}
    else:
        # each call once, however often it was interrupted; but for those that were not made
        failed = int((run.stdout or "").split()[1])
        assert len(facts(run.main, SignalSent)) == count - failed


def test_a_killed_supervisor_leaves_no_call_waiting() -> None:
    program = """
import os, signal, subprocess
os.kill(os.getppid(), signal.SIGKILL)
while True:
    try:
        subprocess.run(["true"])
    except OSError:
        pass
"""
    with pytest.raises(SupervisorLost):
        witnessed(Code(program))
    assert witnessed(importable.show, [1, 2]).exitcode == 0


def test_a_timeout_ends_a_run_whose_calls_are_held() -> None:
    run = witnessed(
        ["sh", "-c", "while :; do (exit 1); done"], timeout=1, allow_timeout=True, linger=0
    )
    assert run.timed_out
    assert run.main.cause is Cause.CLEANED_UP


def test_a_program_that_cannot_be_executed_is_said_to_be_that() -> None:
    with pytest.raises(pytest_proclife.TargetError, match="nothing-like-this"):
        witnessed(["/nothing-like-this"])


def test_below_another_such_run_it_is_refused_with_the_reason() -> None:
    command = [sys.executable, "-m", "pytest_proclife", "run", "--seccomp", "--", "true"]
    run = witnessed(command)
    assert run.exitcode == 125
    assert "a listener of its own already" in (run.stderr or "")


def test_where_runs_are_polled_it_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "polling")
    with pytest.raises(SeccompUnavailable, match="PROCLIFE_BACKEND=polling"):
        witnessed(importable.show, [1, 2])


def test_nothing_is_graded_where_it_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text("def test_it(submission): submission.run()\n")
    (tmp_path / "answer.py").write_text("print('hi')\n")
    command = [sys.executable, "-m", "pytest_proclife"]
    command += ["grade", "--seccomp", "-o", "marks", "exercise.py", "answer.py"]
    run = witnessed(command, cwd=tmp_path)
    assert run.exitcode == 125
    assert "a listener of its own already" in (run.stderr or "")
    assert not (tmp_path / "marks" / "summary.csv").exists()


@pytest.mark.parametrize("value", [1, "yes", None])
def test_a_value_that_is_no_truth_value_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="seccomp must be True or False"):
        witnessed(importable.show, [1, 2], seccomp=value)


# --- how it is asked for


@pytest.mark.slow
def test_the_fixture_takes_it_from_the_call_the_marker_the_option_or_the_settings(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import os
        import pytest

        configured = bool(os.environ.get("CONFIGURED"))

        def used(proclife, **given):
            run = proclife.run(["true"], **given)
            with proclife.start(["true"], **given) as main:
                assert main.wait().witness.features == run.witness.features
            return "seccomp" in run.witness.features

        def test_of_neither(proclife):
            assert used(proclife) is configured

        @pytest.mark.proclife(seccomp=True)
        def test_of_the_marker(proclife):
            assert used(proclife)
            assert not used(proclife, seccomp=False)

        @pytest.mark.proclife(seccomp=False)
        def test_of_the_marker_that_refuses(proclife):
            assert not used(proclife)
            assert used(proclife, seccomp=True)
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONFIGURED", "1")
        pytester.runpytest_subprocess("--proclife-seccomp").assert_outcomes(passed=3)
        pytester.makeini("[pytest]\nproclife_seccomp = true\n")
        pytester.runpytest_subprocess().assert_outcomes(passed=3)


@pytest.mark.slow
def test_a_wrong_value_in_a_marker_is_an_error_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.proclife(seccomp="yes")
        def test_it(proclife):
            pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the marker proclife: seccomp must be True or False, not 'yes'"])


def test_the_command_line_has_it(tmp_path: Path) -> None:
    document = tmp_path / "run.json"
    command = [sys.executable, "-m", "pytest_proclife", "run", "--seccomp", "--json"]
    command += [str(document), "--", "sh", "-c", "kill -9 $$"]
    done = subprocess.run(command, check=False)
    assert done.returncode == 128 + 9
    run = Run.from_json(document.read_text())
    assert run.witness.complete
    assert [(r.by, r.signal) for r in run.main.requests] == [(0, "SIGKILL")]


@pytest.mark.once
@pytest.mark.parametrize("options", ["--user 1000", "--docker --seccomp docker", "--no-new-privs"])
def test_without_privileges_it_takes_those_of_set_user_id_programs_too(options: str) -> None:
    program = """
import pytest_proclife
script = "sleep 60 & kill -ABRT $!; wait; grep NoNewPrivs /proc/self/status"
run = pytest_proclife.run(["sh", "-c", script], seccomp=True, cwd="/")
print(run.witness.complete, run.descendants[0].cause, *run.stdout.split())
"""
    command = [sys.executable, container.__file__, *options.split(), "--"]
    command += [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode == container.NOT_POSSIBLE:
        pytest.skip(done.stderr)
    assert done.stdout.split() == ["True", "terminated", "NoNewPrivs:", "1"], done.stderr
