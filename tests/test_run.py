"""run(): its targets, its arguments, what it keeps, and what it says when it cannot run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import importable
import pytest
import suspending
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import (
    Cause,
    Code,
    Ending,
    LifecycleError,
    Module,
    Run,
    RunTimeout,
    TargetError,
    assert_no_orphans,
    assert_nothing_left,
)

PYTHON = sys.executable
METHODS = multiprocessing.get_all_start_methods()


# --- targets


def test_a_callable_runs_as_by_python_c() -> None:
    run = pytest_proclife.run(importable.show, (1, "two"), {"three": 3.0})
    assert run.stdout == "['-c'] importable None (1, 'two') {'three': 3.0}\n"
    assert (run.exitcode, run.main.cause, run.target.kind) == (0, Cause.RETURNED, "callable")
    assert run.target.text == "importable:show"


def test_a_static_method_of_a_class_runs() -> None:
    assert pytest_proclife.run(importable.Course.lesson).stdout == "a lesson\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_callable_can_start_processes_by_every_start_method(method: str) -> None:
    run = pytest_proclife.run(importable.start_one, (method,))
    assert run.exitcode == 0, run.stderr
    assert run.children[0].target_ran
    assert run.children[0].start_method == method


def test_a_script_runs_with_its_arguments(script: Callable[[str], str]) -> None:
    path = script("import sys; print(sys.argv, __name__)")
    run = pytest_proclife.run(path, ["a", "b c"])
    assert run.stdout == f"{[path, 'a', 'b c']} __main__\n"
    assert run.target.args == ("a", "b c")


def test_a_script_is_found_from_the_folder_in_which_it_runs(
    tmp_path: Path, script: Callable[[str], str]
) -> None:
    script("import os; print(os.getcwd())")
    assert pytest_proclife.run("program.py", cwd=tmp_path).stdout == f"{tmp_path}\n"


def test_a_folder_with_a_main_runs(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("print(__name__)")
    assert pytest_proclife.run(tmp_path).stdout == "__main__\n"


def test_a_module_runs_as_by_python_m() -> None:
    run = pytest_proclife.run(Module("platform"), ["--terse"])
    assert run.exitcode == 0
    assert (run.stdout or "").startswith("Linux")
    assert run.main.cause in (Cause.SYS_EXIT, Cause.RETURNED)


def test_a_program_text_runs_as_by_python_c() -> None:
    run = pytest_proclife.run(Code("import sys\nprint(sys.argv, sys.orig_argv[1:])"), ["x"])
    text = "import sys\nprint(sys.argv, sys.orig_argv[1:])"
    assert run.stdout == f"['-c', 'x'] {['-c', text, 'x']}\n"


def test_a_program_that_is_no_python_is_recorded_from_outside() -> None:
    run = pytest_proclife.run(["sh", "-c", "echo from a shell; exit 5"])
    assert (run.stdout, run.exitcode) == ("from a shell\n", 5)
    assert (run.main.cause, run.main.ending) == (Cause.EXITED, Ending.EXITED)
    assert not run.witness.complete
    missing = run.witness.missing[0]
    assert (missing.process, missing.kind) == (0, "unobserved")
    assert str(missing).startswith("MainProcess (pid ")


def test_a_python_console_script_is_observed_from_inside(tmp_path: Path) -> None:
    path = tmp_path / "serve"
    path.write_text(f"#!{PYTHON}\nimport os, sys\nsys.exit(os.fork() and os.wait()[1])\n")
    path.chmod(0o755)
    run = pytest_proclife.run(["serve"], env={**os.environ, "PATH": str(tmp_path)})
    assert run.main.cause is Cause.SYS_EXIT
    assert [p.cause for p in run.children] == [Cause.SYS_EXIT]
    assert run.witness.complete


@pytest.mark.parametrize(
    "words",
    [
        [PYTHON, "-c", "import os; os._exit(9)"],
        [PYTHON, "-B", "-X", "utf8", "-W", "ignore", "-c", "import os; os._exit(9)"],
        [PYTHON, "-Ic", "import os; os._exit(9)"],
        [PYTHON, "-E", "-S", "-c", "import os; os._exit(9)"],
        [PYTHON, "-"],
    ],
)
def test_a_python_command_is_observed_from_inside_whatever_its_flags(words: list[str]) -> None:
    run = pytest_proclife.run(words, input="import os; os._exit(9)" if words[-1] == "-" else None)
    assert (run.main.cause, run.exitcode) == (Cause.OS_EXIT, 9)
    assert run.witness.complete


# --- how main ends


@pytest.mark.parametrize(
    ("how", "cause", "ending", "exitcode"),
    [
        ("return", Cause.RETURNED, Ending.RETURNED, 0),
        ("raise", Cause.RAISED, Ending.RAISED, 1),
        ("exit", Cause.SYS_EXIT, Ending.SYS_EXIT, 3),
        ("exit with text", Cause.SYS_EXIT, Ending.SYS_EXIT, 1),
        ("exit with nothing", Cause.SYS_EXIT, Ending.SYS_EXIT, 0),
        ("os._exit", Cause.OS_EXIT, Ending.OS_EXIT, 4),
        ("abort", Cause.SIGNALED, Ending.SIGNALED, -6),
        ("kill", Cause.SIGNALED, Ending.SIGNALED, -9),
        ("interrupt", Cause.RAISED, Ending.RAISED, -2),
    ],
)
def test_the_end_of_main_has_its_cause(
    how: str, cause: Cause, ending: Ending, exitcode: int
) -> None:
    main = pytest_proclife.run(importable.leave, (how,)).main
    assert (main.cause, main.ending, main.exitcode) == (cause, ending, exitcode), main.evidence


def test_an_exception_of_main_is_a_result() -> None:
    main = pytest_proclife.run(importable.leave, ("raise",)).main
    assert main.exception is not None
    assert (main.exception.type, main.exception.message) == ("LookupError", "no such lesson")
    assert "in leave" in main.exception.traceback


def test_a_syntax_error_is_a_result(script: Callable[[str], str]) -> None:
    run = pytest_proclife.run(script("def (:\n"))
    assert (run.main.cause, run.exitcode, run.main.target_ran) == (Cause.RAISED, 1, False)
    assert run.main.exception is not None
    assert run.main.exception.type == "SyntaxError"


def test_a_script_that_python_cannot_open_has_no_cause_of_pythons() -> None:
    run = pytest_proclife.run([PYTHON, "no_such_script.py"])
    assert (run.exitcode, run.main.cause, run.main.target_ran) == (2, Cause.UNKNOWN, False)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A folder with packages, none of which may be imported before main is."""
    texts = {
        "whole/__init__.py": "",
        "whole/__main__.py": "print(__name__, __package__)",
        "whole/part.py": "print(__name__)",
        "headless/__init__.py": "raise SystemExit('imported')",
        "headless/part.py": "",
        "folder/part.py": "print(__name__)",
        "wide/__init__.py": "import os; __path__.append(os.environ['ELSEWHERE'])",
        "elsewhere/far.py": "print(__name__)",
        "single.py": "print(__name__)",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope", "no module named 'nope'"),
        ("whole.nope", "no module named 'whole.nope'"),
        ("headless", "'headless' is a package without a __main__"),
        ("headless.part.deep", "no module named 'headless.part.deep'"),
        ("folder", "'folder' is a package without a __main__"),
        ("single.nope", "no module named 'single.nope'"),
        ("single.py", "and 'single.py' the script"),
        ("sys", "'sys' has no code in Python"),
        ("", "dotted name of a module, not ''"),
        (".single", "dotted name of a module, not '.single'"),
        (5, "dotted name of a module, not 5"),
    ],
)
def test_a_module_that_is_not_there_is_a_target_error(modules: Path, name: str, words: str) -> None:
    with pytest.raises(TargetError) as caught:
        pytest_proclife.run(Module(name), cwd=modules)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["whole", "whole.part", "folder.part", "wide.far", "single"])
def test_a_module_is_looked_for_where_main_will(modules: Path, name: str) -> None:
    env = {**os.environ, "ELSEWHERE": str(modules / "elsewhere")}
    run = pytest_proclife.run(Module(name), cwd=modules, env=env)
    assert run.main.cause is Cause.RETURNED, run.stderr
    elsewhere = {**env, "PYTHONPATH": str(modules)}
    run = pytest_proclife.run(Module(name), cwd="/", env=elsewhere)
    assert run.main.cause is Cause.RETURNED, run.stderr


def test_a_module_that_only_a_finder_knows_is_found(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "secret.py").write_text("print(__name__)")
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.path.append({str(tmp_path / 'hidden')!r})"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert pytest_proclife.run(Module("secret"), env=env).stdout == "__main__\n"


# --- callables that only make something that would run


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (suspending.lesson, "lesson is a coroutine function"),
        (suspending.Course.lesson, "Course.lesson is a coroutine function"),
        (suspending.Course.of_class, "Course.of_class is a coroutine function"),
        (suspending.Course.of_nobody, "Course.of_nobody is a coroutine function"),
        (suspending.with_pupils, "is a coroutine function"),
        (suspending.kept, "kept is a coroutine function"),
        (suspending.caller, "is a coroutine function"),
        (suspending.pages, "pages is a generator function"),
        (suspending.first_pages, "is a generator function"),
        (suspending.all_pages, "all_pages is an asynchronous generator function"),
        (suspending.room, "room is a context manager"),
        (suspending.hall, "hall is a context manager"),
    ],
)
def test_a_callable_that_would_not_run_is_a_target_error(target: Any, words: str) -> None:
    with pytest.raises(TargetError) as caught:
        pytest_proclife.run(target)
    assert words in str(caught.value)
    assert "pass a function that" in str(caught.value)
    with pytest.raises(TargetError):
        pytest_proclife.start(target)


@pytest.mark.parametrize("args", [(), ("x",)])
def test_a_decorator_that_runs_what_it_wraps_is_run(args: tuple[str, ...]) -> None:
    run = pytest_proclife.run(suspending.run_by_decorator, args)
    assert (run.main.cause, run.stdout) == (Cause.RETURNED, f"ran {args}\n")


@pytest.mark.parametrize("target", [suspending.logged, suspending.logged_pages])
def test_a_decorator_that_only_passes_a_coroutine_on_has_not_run(target: Any) -> None:
    main = pytest_proclife.run(target).main
    assert main.cause is Cause.RAISED
    assert main.exception is not None
    assert "has not run: it made a" in main.exception.message


# --- arguments


def test_the_environment_is_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSON", "the caller's")
    show = Code("import os; print(os.environ.get('LESSON'))")
    assert pytest_proclife.run(show).stdout == "the caller's\n"
    assert pytest_proclife.run(show, env={"LESSON": "given"}).stdout == "given\n"
    assert pytest_proclife.run(show, env={}).stdout == "None\n"


@pytest.mark.parametrize(("input", "seen"), [(None, ""), ("häuser", "häuser"), (b"bytes", "bytes")])
def test_standard_input_is_empty_or_what_is_given(input: str | bytes | None, seen: str) -> None:
    echo = Code("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())")
    assert pytest_proclife.run(echo, input=input).stdout == seen


@pytest.mark.parametrize("method", METHODS)
def test_the_start_method_is_a_default_that_the_program_may_change(method: str) -> None:
    run = pytest_proclife.run(
        Code("import multiprocessing as m; print(m.get_start_method())"), start_method=method
    )
    assert run.stdout == f"{method}\n"
    text = "import multiprocessing as m; m.set_start_method('spawn'); print(m.get_start_method())"
    changed = pytest_proclife.run(Code(text), start_method=method)
    assert (changed.stdout, changed.exitcode) == ("spawn\n", 0)
    assert changed.start_method == method


def test_a_timeout_says_what_main_was_waiting_for() -> None:
    with pytest.raises(RunTimeout, match="sleeper") as caught:
        pytest_proclife.run(importable.sleep_in_a_child, timeout=1.5)
    run = caught.value.run
    assert isinstance(caught.value, TimeoutError)
    assert run["sleeper"].cause is Cause.CLEANED_UP
    assert run.main.cause is Cause.CLEANED_UP


def test_a_timeout_that_is_allowed_returns_the_run(fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    run = pytest_proclife.run(
        importable.block_for_ever, (str(fifo),), timeout=0.5, allow_timeout=True
    )
    os.close(reader)
    assert run.timed_out
    assert (run.main.cause, run.main.ended_by) == (Cause.CLEANED_UP, "proclife")


@pytest.mark.parametrize("bound", ["timeout", "linger"])
@pytest.mark.parametrize("seconds", [float("inf"), 1e300, 3e6])
def test_a_bound_may_be_far_away(bound: str, seconds: float) -> None:
    code = Code("import os; pid = os.fork(); pid and os.waitpid(pid, 0)")
    run = pytest_proclife.run(code, **{bound: seconds})  # type: ignore[arg-type]
    assert (run.exitcode, len(run.children)) == (0, 1)


def test_a_timeout_of_none_is_no_bound() -> None:
    assert pytest_proclife.run(Code("pass"), timeout=None).exitcode == 0


def test_runs_in_several_threads_do_not_mix() -> None:
    results: dict[int, Any] = {}

    def one(number: int) -> None:
        results[number] = pytest_proclife.run(importable.fork_and_exit, (number,))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, run in results.items():
        assert [p.exitcode for p in run.processes] == [number, number]


# --- output


def test_output_that_is_no_text_is_kept_with_backslashes() -> None:
    run = pytest_proclife.run(Code(r"import os; os.write(1, b'\xff\xfeok'); os.write(2, b'\x80')"))
    assert (run.stdout, run.stderr) == (r"\xff\xfeok", r"\x80")


def test_of_endless_output_the_head_and_the_tail_are_kept() -> None:
    run = pytest_proclife.run(importable.write_much)
    assert run.output_truncated
    assert run.stdout is not None
    assert run.stdout.startswith("HEADxxx")
    assert run.stdout.endswith("xxxTAIL")
    assert "bytes left out" in run.stdout
    assert len(run.stdout) < 1_100_000


def test_output_of_orphans_is_kept_and_not_waited_for_without_end() -> None:
    run = pytest_proclife.run(importable.leave_a_writer, linger=0.5)
    assert run.stdout == "orphan"
    assert [p.cause for p in run.orphans] == [Cause.CLEANED_UP]


# --- the account


def test_a_run_is_frozen_picklable_and_equal_to_its_copy() -> None:
    run = pytest_proclife.run(importable.start_one)
    copy = pickle.loads(pickle.dumps(run))
    assert copy == run
    assert copy.children[0].parent == copy.main
    assert pytest_proclife.Run.from_json(run.to_json()) == run
    with pytest.raises(AttributeError):
        run.duration = 0.0  # type: ignore[misc]


# --- when main's own code is done


@pytest.mark.parametrize("more", [[], ["multiprocessing"]])
@pytest.mark.parametrize("how", ["return", "sys.exit", "raise"])
@pytest.mark.parametrize("kind", ["script", "module", "code"])
def test_mains_code_is_done_before_a_thread_of_it_goes_on(
    kind: str, how: str, more: list[str]
) -> None:
    script = TARGETS / "thread_runs_on.py"
    targets: dict[str, Any] = {
        "script": script,
        "module": Module("thread_runs_on"),
        "code": Code(script.read_text()),
    }
    run = pytest_proclife.run(targets[kind], [how, *more], cwd=TARGETS)
    (program,) = run.children
    assert run.main.finished_at is not None
    assert run.main.finished_at < program.started_at
    assert run.main.cause == {"return": "returned", "raise": "raised"}.get(how, "sys_exit")


# Where no 3.11 is, this Python is started in its place.
PYTHONS_3_11 = sorted({p for p in map(shutil.which, ["python3.11", "/usr/bin/python3.11"]) if p})


@pytest.mark.parametrize("python", PYTHONS_3_11 or [sys.executable])
@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import sys; print(sys.orig_argv[2:])", Cause.RETURNED),
        ("import sys; sys.exit(3)", Cause.SYS_EXIT),
        ("raise ValueError", Cause.RAISED),
        ("import os; os._exit(4)", Cause.OS_EXIT),
        ("def (", Cause.RAISED),
    ],
)
def test_a_text_for_another_python_3_11_has_its_end(python: str, text: str, cause: Cause) -> None:
    run = pytest_proclife.run([python, "-c", text])
    assert run.main.cause is cause
    assert (run.stdout or "").strip() in ("", repr([text]))
    run = pytest_proclife.run(importable.call, ([python, "-c", text],))
    assert [p.cause for p in run.children] == [cause]


# --- what can go wrong on the way in


def local() -> Callable[[], None]:
    def inner() -> None:
        pass

    return inner


class Greeter:
    def greet(self) -> None: ...


@pytest.mark.parametrize(
    ("target", "args", "options", "words"),
    [
        ("no_such_script.py", (), {}, "no such script: 'no_such_script.py' (looked in "),
        ("gunicorn app:app", (), {}, "a command is a list of strings"),
        (lambda: None, (), {}, "the target is a lambda of test_run, which another process cannot"),
        (Path.cwd, (), {"env": {"A": 1}}, "env['A'] must be a string, not 1: pass str() of it"),
        ([].append, (), {}, "has no name to import it by"),
        (
            Greeter().greet,
            (),
            {},
            "the target is the method Greeter.greet of an object of test_run",
        ),
        (local(), (), {}, "move it to the top level of its module"),
        (importable.original, (), {}, "a decorator replaced it?"),
        (importable.show, (threading.Lock(),), {}, "cannot be pickled"),
        (["no-such-command"], (), {}, "command not found: 'no-such-command' on the PATH"),
        ([], (), {}, "a command needs at least the name of a program"),
        (["./missing"], (), {}, "command not found: './missing' in "),
        ([os.devnull], (), {}, "'/dev/null' is not executable"),
        ([""], (), {}, "command not found: ''"),
        ([5], (), {}, "an argument of a program must be a string, not 5"),
        (Code("pass"), (1,), {}, "an argument of a program must be a string, not 1: pass str()"),
        (Code("pass"), (b"a",), {}, "an argument of a program must be a string, not b'a'"),
        (Code("pass"), ("\ud800",), {}, "an argument of a program cannot be encoded"),
        (Code("pass"), "abc", {}, "args must be a list or a tuple, not 'abc': pass ['abc']"),
        (Code("pass"), b"abc", {}, "args must be a list or a tuple, not b'abc': pass [b'abc']"),
        (Code("pass"), Path("abc"), {}, "args must be a list or a tuple, not "),
        (importable.show, "abc", {}, "args must be a list or a tuple, not 'abc': pass ['abc']"),
        (["true"], "abc", {}, "args must be a list or a tuple, not 'abc': pass ['abc']"),
        (Module("platform"), "abc", {}, "args must be a list or a tuple, not 'abc': pass ['abc']"),
        (importable.show, 5, {}, "args must be a list or a tuple, not 5"),
        (importable.show, None, {}, "args must be a list or a tuple, not None"),
        (importable.show, {"a": 1}, {}, "args must be a list or a tuple, not {'a': 1}"),
        (importable.show, (), {"kwargs": ["a"]}, "kwargs must be a dict with strings as its keys"),
        (importable.show, (), {"kwargs": {5: 1}}, "kwargs must be a dict with strings as its keys"),
        (
            Code("pass"),
            (),
            {"env": ["A=1"]},
            "env must be a dict with strings as its keys and values",
        ),
        (Code("pass"), (), {"env": {5: "1"}}, "a name in env must be a string without '=' and NUL"),
        (Code("pass"), (), {"env": {"A=B": "1"}}, "not 'A=B'"),
        (Code("pass"), (), {"env": {"A": "\0"}}, "env['A'] cannot hold a NUL character: '\\x00'"),
        (Code("pass"), (), {"input": 5}, "input must be a string, bytes or None, not 5"),
        (Code("pass"), (), {"cwd": 5}, "cwd must be the path of a folder, or None, not 5"),
        (b"ok.py", (), {}, "a target must be a callable, a path, a list of strings"),
        ("a\0.py", (), {}, "the path of a script cannot hold a NUL"),
        (Code("a\0"), (), {}, "the text of Code cannot hold a NUL"),
        (Code(b"a"), (), {}, "the text of Code must be a string, not b'a'"),  # type: ignore[arg-type]
        (Code("pass"), ("a\0b",), {}, "cannot hold a NUL"),
        (Code("pass"), (), {"kwargs": {"a": 1}}, "kwargs are for a callable"),
        (Code("pass"), (), {"cwd": "/no/such/folder"}, "cwd is not a folder: '/no/such/folder'"),
        (Code("pass"), (), {"cwd": os.devnull}, "cwd is not a folder: '/dev/null'"),
        (
            5,
            (),
            {},
            (
                "a target must be a callable, a path, a list of strings, Module, Code or Notebook, "
                "not 5"
            ),
        ),
        (None, (), {}, "not None: pass the function itself, not what a call of it returned"),
        (os, (), {}, ": pass Module('os')"),
    ],
)
def test_a_target_that_cannot_be_run_says_why_and_what_to_do(
    target: Any, args: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(TargetError) as caught:
        pytest_proclife.run(target, args, **options)
    assert words in str(caught.value)
    with pytest.raises(TargetError):
        pytest_proclife.start(target, args, **options)


def test_a_script_that_cannot_be_read_is_a_target_error(
    script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script("pass")
    readable = os.access
    # root may read everything
    monkeypatch.setattr(os, "access", lambda name, mode: name != path and readable(name, mode))
    with pytest.raises(TargetError, match="cannot be read: chmod"):
        pytest_proclife.run(path)


def test_a_script_whose_name_looks_like_an_option_runs(tmp_path: Path) -> None:
    (tmp_path / "-V.py").write_text("import sys; print(sys.argv)")
    assert pytest_proclife.run("-V.py", ["a"], cwd=tmp_path).stdout == "['./-V.py', 'a']\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_method": "thread"}, "unknown start method 'thread': it must be one of fork"),
        ({"timeout": -1}, "timeout must be a number of seconds, 0 or more, or None, not -1"),
        ({"timeout": float("nan")}, "timeout must be a number of seconds"),
        ({"timeout": "5"}, "timeout must be a number of seconds, 0 or more, or None, not '5'"),
        ({"linger": None}, "linger must be a number of seconds, 0 or more, not None"),
        ({"linger": -0.5}, "linger must be a number of seconds, 0 or more, not -0.5"),
        ({"seccomp": 1}, "seccomp must be True or False, not 1"),
        ({"allow_timeout": "yes"}, "allow_timeout must be True or False, not 'yes'"),
    ],
)
def test_an_argument_that_makes_no_sense_is_a_value_error(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=r"must be") as caught:
        pytest_proclife.run(Code("pass"), **options)
    assert words in str(caught.value)


def test_a_program_that_the_kernel_refuses_to_execute_is_a_target_error(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    with pytest.raises(TargetError, match="No such file or directory"):
        pytest_proclife.run([str(path)])


def test_what_a_shell_left_running_is_an_orphan_under_its_own_name() -> None:
    run = pytest_proclife.run(importable.leave_a_program_of_a_shell, linger=0.0)
    assert run["tail"].orphaned is True
    assert run["tail"].cause is Cause.CLEANED_UP
    assert run["tail"] in run.orphans


@pytest.mark.parametrize("holds", [assert_no_orphans, assert_nothing_left])
def test_an_orphan_of_a_shell_that_only_the_kernel_tells_of_is_found(
    holds: Callable[[Run], None],
) -> None:
    run = pytest_proclife.run(["sh", "-c", "(sleep 600 &); exit 3"], linger=0.2)
    assert not run.witness.complete
    with pytest.raises(LifecycleError) as caught:
        holds(run)
    assert [p.cause for p in caught.value.offenders] == [Cause.CLEANED_UP]
    assert caught.value.offenders != (run.main,)


def test_nobody_has_waited_for_a_child_that_the_kernel_reaped() -> None:
    run = pytest_proclife.run(importable.ignore_sigchld)
    (child,) = run.children
    kept = "exit" in run.witness.features  # else nobody has seen its wait status
    assert (child.cause, child.exitcode) == ((Cause.OS_EXIT, 3) if kept else (Cause.UNKNOWN, None))
    assert child.joined is None
