"""What a program does below Python: seen, or said, and no cause rests on its silence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import TARGETS
from fidelity import both
from guarding import needs

import pytest_proclife
from pytest_proclife import Cause, Run
from pytest_proclife.records import EvidenceKind, MissingKind, UnknownKind

FOREIGN = str(TARGETS / "foreign.py")
FUNCTION, SUBINTERPRETER = MissingKind.FOREIGN_FUNCTION, MissingKind.SUBINTERPRETER


def observed(*arguments: str) -> Run:
    return pytest_proclife.run(FOREIGN, arguments)


def missing(run: Run) -> list[tuple[MissingKind, str]]:
    return [(m.kind, m.what) for m in run.witness.missing]


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (["kills"], "kill"),
        (["kills", "SIGTERM"], "kill"),
        (["asks"], "kill"),
        (["kills_from_a_fork"], "kill"),
        (["kills_by_pointer"], "kill"),
        (["kills_by_address"], "dlsym"),
    ],
)
def test_who_died_while_a_process_could_signal_below_python_has_no_known_sender(
    arguments: list[str], taken: str
) -> None:
    run = observed(*arguments)
    assert run["child"].cause is Cause.UNKNOWN
    assert run["child"].unknown_reason is not None
    assert run["child"].unknown_reason.kind is UnknownKind.FOREIGN_SENDER
    others = [p.cause for p in run if p.name != "child"]
    assert others == [Cause.RETURNED] * len(others)
    assert missing(run) == [(FUNCTION, taken)]
    assert [f.kind for f in run.main.evidence if f.kind is EvidenceKind.FOREIGN] != []


def compiled(how: str, folder: Path) -> None:
    """A module that cffi writes: of Python in ABI mode, of C in API mode."""
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    ffi.cdef("int kill(int pid, int number);")
    if how == "ABI":
        ffi.set_source("compiled", None)
        ffi.emit_python_code(str(folder / "compiled.py"))
    else:
        ffi.set_source("compiled", "#include <signal.h>")
        ffi.emit_c_code(str(folder / "compiled.c"))
        name = f"compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
        include = sysconfig.get_path("include")
        command = ["cc", "-shared", "-fPIC", "-w", f"-I{include}", "-o", name, "compiled.c"]
        subprocess.run(command, cwd=folder, check=True)


HOWS = ["inline", "declared later", "variable", "backend", "ABI"]
if shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists():
    HOWS.append("API")


@pytest.mark.once  # the same on each Python
@needs("cffi")
@pytest.mark.parametrize("how", HOWS)
def test_what_cffi_takes_is_seen_in_each_of_its_modes(how: str, tmp_path: Path) -> None:
    if how in ("ABI", "API"):
        compiled(how, tmp_path)
    run = observed("kills_by_cffi", how, str(tmp_path))
    assert run["child"].cause is Cause.UNKNOWN
    assert run["child"].unknown_reason is not None
    assert run["child"].unknown_reason.kind is UnknownKind.FOREIGN_SENDER
    assert missing(run) == [(FUNCTION, "dlopen" if how == "backend" else "kill")]


@pytest.mark.once  # the same on each Python
@needs("cffi")
def test_what_cffi_imported_early_takes_is_seen(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import cffi")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = pytest_proclife.run(FOREIGN, ["kills_by_cffi", "backend"], env=env)
    assert run["child"].cause is Cause.UNKNOWN


@pytest.mark.once  # the same on each Python
@needs("cffi")
def test_what_cffi_takes_of_other_functions_is_no_reason() -> None:
    run = observed("declares_others_by_cffi")
    assert run.witness.complete, run.witness.missing


def test_a_request_that_is_known_is_the_cause_all_the_same() -> None:
    run = observed("kills_by_number")
    assert missing(run) == [(FUNCTION, "syscall")]
    assert run["child"].cause in (Cause.KILLED, Cause.UNKNOWN)


def test_whether_a_handler_of_c_ran_is_not_known() -> None:
    run = observed("terminates_who_handles_in_c")
    assert run["child"].cause is Cause.UNKNOWN
    assert missing(run) == [(FUNCTION, "signal")]


@pytest.mark.parametrize("how", ["_exit", "_Exit", "exit", "quick_exit"])
def test_an_exit_of_c_explains_its_missing_report_and_casts_doubt_on_nobody(how: str) -> None:
    run = observed("leaves", how)
    child = run["child"]
    assert (child.cause, child.exitcode, child.joined) == (Cause.UNKNOWN, 3, "explicit")
    assert child.unknown_reason is not None
    assert child.unknown_reason.kind is UnknownKind.EXITED_IN_C
    assert run.main.cause is Cause.RETURNED
    assert missing(run) == [(FUNCTION, how)]


def test_an_end_by_faulthandlers_timer_casts_doubt_on_nobody() -> None:
    run = observed("leaves_by_faulthandler")
    silent, asked = run["silent"], run["child"]
    assert (silent.cause, silent.exitcode) == (Cause.UNKNOWN, 1)
    assert silent.unknown_reason is not None
    assert silent.unknown_reason.kind is UnknownKind.EXITED_IN_C
    assert (asked.cause, asked.ended_by, asked.exitcode) == (Cause.TERMINATED, run.main.id, 5)
    assert run.main.cause is Cause.RETURNED
    assert missing(run) == [(FUNCTION, "_exit")]


def test_a_timer_of_faulthandler_that_does_not_end_it_is_no_reason() -> None:
    run = observed("leaves_by_faulthandler", "")
    assert run["silent"].cause is Cause.RETURNED
    assert run.witness.complete, run.witness.missing


def test_faulthandlers_timer_is_known_where_an_option_imports_it() -> None:
    command = [sys.executable, "-X", "faulthandler", FOREIGN, "leaves_by_faulthandler"]
    run = pytest_proclife.run(command)
    assert run["silent"].unknown_reason is not None
    assert run["silent"].unknown_reason.kind is UnknownKind.EXITED_IN_C


def test_an_interpreter_that_c_ends_has_not_left_by_sys_exit() -> None:
    run = observed("finalizes")
    assert (run.main.cause, run.main.exitcode) == (Cause.UNKNOWN, 3)
    assert run.main.unknown_reason is not None
    assert run.main.unknown_reason.kind is UnknownKind.EXITED_IN_C


def test_a_fork_by_its_number_has_reports_of_its_own() -> None:
    run = observed("forks_by_number")
    (child,) = run.children
    assert (child.kind, child.cause, child.exitcode) == ("os_fork", Cause.OS_EXIT, 4)
    assert missing(run) == [(FUNCTION, "syscall")]


@pytest.mark.parametrize(
    ("how", "cause", "exitcode"),
    [
        ("exits", Cause.SYS_EXIT, 4),
        ("leaves", Cause.OS_EXIT, 4),
        ("kills", Cause.SIGNALED, -9),
        ("leaves in C", Cause.UNKNOWN, 4),
    ],
)
def test_a_fork_of_c_is_a_process_with_reports_of_its_own(
    how: str, cause: Cause, exitcode: int
) -> None:
    run = observed("forks", how)
    (child,) = run.children
    assert (child.kind, child.parent, child.cause) == ("os_fork", run.main, cause)
    assert child.exitcode == exitcode
    assert run.main.cause is Cause.RETURNED
    assert (FUNCTION, "fork") in missing(run)


def test_a_program_that_c_starts_is_looked_for() -> None:
    run = observed("starts")
    assert (FUNCTION, "system") in missing(run)
    assert {p.cause for p in run.descendants} <= {Cause.EXITED}


def test_a_program_that_ends_at_once_has_not_the_name_of_its_parent(fifo: Path) -> None:
    # the copy of the shell is found, and then becomes a program that is gone before the next look
    text = f"read line <{fifo} && exec true"
    shell = pytest_proclife.Code(
        f"import subprocess\nsubprocess.run(['sh', '-c', '({text}); exit 3'])\n"
    )
    with pytest_proclife.start(shell) as main:
        main.wait_for(lambda run: len(run.descendants) == 2)
        fifo.write_text("go\n")
        run = main.wait()
    shell_itself, copy = run.descendants
    assert (shell_itself.name, shell_itself.exitcode) == ("sh", 3)
    assert copy.name in ("true", "subprocess")
    assert copy.argv in (("true",), None)


def test_a_program_that_c_executes_leaves_the_cause_open() -> None:
    run = observed("executes")
    assert (run["child"].cause, run["child"].exitcode) == (Cause.UNKNOWN, 0)
    assert run.main.cause is Cause.RETURNED


def test_a_signal_of_c_to_itself_is_its_own() -> None:
    run = observed("signals_itself")
    assert (run.main.cause, run.main.signal) == (Cause.SIGNALED, "SIGUSR1")
    assert missing(run) == [(FUNCTION, "raise")]


@pytest.mark.parametrize("deed", ["takes_others", "imports_interpreters"])
def test_what_has_nothing_to_do_with_processes_is_no_reason(deed: str) -> None:
    run = observed(deed)
    assert run.witness.complete, run.witness.missing
    assert {p.cause for p in run} == {Cause.RETURNED}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("os.kill({pid}, 15)", Cause.RETURNED),
        ("os.system('true')", Cause.RETURNED),
        ("os.kill({pid}, 15); os._exit(3)", Cause.UNKNOWN),
    ],
)
def test_what_a_subinterpreter_does_is_not_seen_and_said(text: str, cause: Cause) -> None:
    run = observed("interprets", text)
    assert run.main.cause is cause
    assert (SUBINTERPRETER, "") in missing(run)
    if "kill" in text:
        assert run["child"].cause is Cause.UNKNOWN
    else:
        assert run["child"].cause is Cause.KILLED


@needs("_testcapi")
def test_a_subinterpreter_of_cpythons_own_tests_is_said() -> None:
    run = observed("interprets_by_tests")
    assert run["child"].cause is Cause.UNKNOWN
    assert (SUBINTERPRETER, "") in missing(run)


@pytest.mark.parametrize("text", ["import sys; print(sys.path, sorted(sys.modules))"])
def test_a_subinterpreter_is_what_it_is_bare(text: str) -> None:
    bare, seen, _ = both([FOREIGN, "interprets", text])
    assert seen == bare


if sys.version_info >= (3, 14):

    def test_an_executor_of_interpreters_is_said() -> None:
        text = (
            "import os\nfrom concurrent.futures import InterpreterPoolExecutor as Executor\n"
            "with Executor(1) as executor: executor.submit(os.getpid).result()"
        )
        run = pytest_proclife.run(pytest_proclife.Code(text))
        assert run.main.cause is Cause.RETURNED
        assert missing(run) == [(SUBINTERPRETER, "")]
