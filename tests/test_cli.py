"""`proclife run` as a user meets it in a terminal and in a script."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import lives
import pytest
from conftest import TARGETS, mostly_slow
from hostile import hostile_run

from pytest_proclife import Run, cli
from pytest_proclife.exercises import formats
from pytest_proclife.render import html, picture, trace

PROCLIFE = [sys.executable, "-m", "pytest_proclife"]


def proclife(*words: str, input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROCLIFE, *words], input=input, capture_output=True, text=True, timeout=60
    )


def test_it_has_a_version() -> None:
    done = proclife("--version")
    assert (done.returncode, done.stdout) == (0, f"proclife {version('pytest-proclife')}\n")


def test_the_streams_are_passed_through_and_the_timeline_goes_to_standard_error(
    script: Callable[[str], str],
) -> None:
    path = script("import sys; print(input().upper()); print('problem', file=sys.stderr)")
    done = proclife("run", path, input="hello\n")
    assert done.stdout == "HELLO\n"
    assert done.stderr.startswith("problem\n\nscript ")
    assert "MainProcess" in done.stderr
    assert done.returncode == 0


def test_the_streams_are_the_callers_own(script: Callable[[str], str], tmp_path: Path) -> None:
    path = script("import os; print([os.fstat(n).st_ino for n in (0, 1, 2)])")
    inodes = []
    output = tmp_path / "output"
    with open(output, "w") as out, open(os.devnull) as null:
        subprocess.run([*PROCLIFE, "run", path], stdin=null, stdout=out, stderr=out, check=True)
        inodes = [os.fstat(f.fileno()).st_ino for f in (null, out, out)]
    assert output.read_text().startswith(str(inodes))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 15)", 128 + 15),
        ("raise ValueError", 1),
        ("syntax error", 1),
    ],
)
def test_the_exit_status_is_mains(text: str, status: int, script: Callable[[str], str]) -> None:
    assert proclife("run", script(text)).returncode == status


def test_a_timeout_ends_everything_with_status_124(script: Callable[[str], str]) -> None:
    done = proclife("run", "--timeout", "0.5", script("import signal; signal.pause()"))
    assert done.returncode == 124
    assert "cleaned up by proclife" in done.stderr


def test_arguments_that_look_like_options_belong_to_the_target(
    script: Callable[[str], str],
) -> None:
    path = script("import sys; print(sys.argv[1:])")
    assert proclife("run", path, "--json", "-x", "--").stdout == "['--json', '-x', '--']\n"


def test_a_module_runs(tmp_path: Path) -> None:
    assert proclife("run", "-m", "calendar", "2026", "11").stdout.startswith("   November 2026")


def test_a_command_runs() -> None:
    done = proclife("run", "--", sys.executable, "-c", "import sys; sys.exit(len(sys.argv))", "a")
    assert done.returncode == 2


def test_the_document_is_written_where_it_was_asked_for(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    proclife("run", "--json", str(file), "--start-method", "spawn", script("print('out')"))
    document = json.loads(file.read_text())
    assert (document["format"], document["version"]) == ("proclife-run", 1)
    assert (document["stdout"], document["stderr"]) == (None, None)
    assert document["start_method"] == "spawn"
    assert Run.from_json(file.read_text()).exitcode == 0


def test_captured_output_is_in_the_document_and_shown_too(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    text = "import sys; print('out'); print('err', file=sys.stderr)"
    done = proclife("run", "--capture", "--json", str(file), script(text))
    document = json.loads(file.read_text())
    assert (document["stdout"], document["stderr"]) == ("out\n", "err\n")
    assert done.stdout == "out\n"
    assert done.stderr.startswith("err\n")


def test_a_full_disk_under_the_document_is_said_and_fails(script: Callable[[str], str]) -> None:
    done = proclife("run", "--json", "/dev/full", script("print('result')"))
    assert done.returncode == 125
    assert done.stdout == "result\n"
    assert "MainProcess" in done.stderr  # the account itself is not lost
    assert "could not be written to '/dev/full': No space left" in done.stderr


# --- pictures


def test_the_page_and_the_trace_are_written_with_the_document(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("run.json", "run.html", "run.trace")]
    options = ["--json", str(files[0]), "--html", str(files[1]), "--trace", str(files[2])]
    done = proclife("run", *options, script("print('out')"))
    assert (done.stdout, done.returncode) == ("out\n", 0)
    run = Run.from_json(files[0].read_text())
    assert files[1].read_text() == html.render([html.Shown(run=run)])
    assert files[2].read_text() == trace.render(run) + "\n"


@pytest.mark.parametrize("option", ["--html", "--trace"])
def test_a_picture_that_cannot_be_written_is_said_and_fails(
    option: str, script: Callable[[str], str]
) -> None:
    done = proclife("run", option, "/dev/full", script("pass"))
    assert done.returncode == 125
    assert "could not be written to '/dev/full': No space left" in done.stderr


def test_rows_and_color_are_for_the_timeline(script: Callable[[str], str]) -> None:
    path = script("""import multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    for number in range(4):
        process = context.Process(target=int, name=f"worker-{number}")
        process.start()
        process.join()
""")
    short = proclife("run", "--rows", "2", "--color", "yes", path).stderr
    assert "worker-0 ... worker-3" in short
    assert "\x1b[32mreturned, exit code 0" in short
    every = proclife("run", "--rows", "all", path).stderr
    assert sum("worker-" in line for line in every.splitlines()) == 4
    assert "\x1b" not in every


@pytest.fixture
def documents(tmp_path: Path) -> list[str]:
    """Two saved runs."""
    paths = [str(tmp_path / name) for name in ("first.json", "second.json")]
    for path, run in zip(paths, (lives.ends(), lives.left_behind()), strict=True):
        Path(path).write_text(run.to_json())
    return paths


def test_show_prints_the_timeline_of_saved_runs(
    documents: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", *documents]) == 0
    shown = capsys.readouterr().out
    assert shown == f"{lives.ends().timeline()}\n\n{lives.left_behind().timeline()}\n"


def test_show_reads_standard_input(documents: list[str]) -> None:
    done = proclife("show", "-", input=Path(documents[0]).read_text())
    assert done.stdout == lives.ends().timeline() + "\n"


def test_show_writes_pictures_in_place_of_the_timeline(
    documents: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, svg, traced = (str(tmp_path / name) for name in ("a.html", "a.svg", "a.trace"))
    assert cli.main(["show", *documents, "--html", page, "--svg", svg]) == 0
    assert cli.main(["show", documents[0], "--trace", traced]) == 0
    assert capsys.readouterr() == ("", "")
    runs = [lives.ends(), lives.left_behind()]
    assert Path(page).read_text() == html.render([html.Shown(run=run) for run in runs])
    assert Path(svg).read_text() == picture.render(runs)
    assert Path(traced).read_text() == trace.render(runs[0]) + "\n"


def test_a_terminal_without_lines_has_ascii(documents: list[str], tmp_path: Path) -> None:
    path = tmp_path / "hostile.json"
    path.write_text(hostile_run().to_json())
    done = subprocess.run(
        [*PROCLIFE, "show", documents[0], str(path)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.startswith(lives.ends().timeline(ascii=True).encode("ascii"))
    assert b"\\u65e5\\u672c" in done.stdout  # the name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nowhere.json"], "'nowhere.json' could not be read: No such file"),
        (["show", os.devnull], "could not be read: it is not JSON (Expecting value"),
        (
            ["show", "a.json", "b.json", "--trace", "t"],
            "--trace takes one FILE, since a trace shows one run",
        ),
        (["show", "--rows", "0", "a.json"], "N must be all or a number of processes, not '0'"),
        (["show"], "the following arguments are required: FILE"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence_with_status_125(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = cli.main(words)
    except SystemExit as error:
        status = error.code
    assert status == 125
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "nothing to run: name a script, a notebook, -m MODULE, or -- COMMAND"),
        (["run", "missing.py"], "no such script: 'missing.py'"),
        (["run", "-m"], "-m needs the name of a module"),
        (["run", "--"], "a command needs at least the name of a program"),
        (["run", "--", "no-such-command"], "command not found: 'no-such-command'"),
        (["run", "--timeout", "-1", "x.py"], "S must be a number of seconds, 0 or more, not -1.0"),
        (
            ["run", "--timeout", "soon", "x.py"],
            "S must be a number of seconds, 0 or more, not 'soon'",
        ),
        (["run", "--start-method", "thread", "x.py"], "invalid choice: 'thread'"),
        (["run", "--no-such-option", "x.py"], "unrecognized arguments: --no-such-option"),
        (["run", "sh", "-c", "true"], "no such script: 'sh'; a command comes after --, as in `pro"),
        (["walk"], "argument COMMAND: invalid choice: 'walk'"),
    ],
)
def test_what_proclife_cannot_do_is_one_sentence_with_status_125(
    words: list[str], message: str
) -> None:
    done = proclife(*words)
    assert done.returncode == 125
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_without_a_verb_the_help_is_shown() -> None:
    done = proclife()
    assert done.returncode == 125
    assert "usage: proclife" in done.stderr


def test_the_help_names_every_option() -> None:
    text = proclife("run", "--help").stdout
    for option in ("--json", "--capture", "--start-method", "--timeout", "--linger"):
        assert option in text


def test_grade_offers_every_format_that_there_is() -> None:
    assert cli.FORMATS == formats.NAMES


# --- signals, terminals, process groups

GROUP = str(TARGETS / "signals_its_group.py")
SIGNALS = ["SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGQUIT", "SIGINT", "SIGALRM"]


class Terminal:
    """A terminal, and a program that it controls."""

    def __init__(self, *command: str) -> None:
        self.handle, its = pty.openpty()
        # a program of its own takes the terminal: a fork is not for a process with threads
        text = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        text += "os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", text, *command],
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        self.seen = b""

    def wait_for(self, words: bytes) -> None:
        while words not in self.seen:
            if not select.select([self.handle], [], [], 60)[0]:
                self.process.kill()
                raise AssertionError(f"{words!r} does not come after {self.seen!r}")
            self.seen += os.read(self.handle, 4096)

    def type(self, keys: bytes) -> None:
        os.write(self.handle, keys)

    def finish(self) -> int:
        """Wait for the end of everything in it; returns the program's exit code."""
        try:
            while data := os.read(self.handle, 4096):
                self.seen += data
        except OSError:
            pass  # EIO: the terminal is closed with its last process
        os.close(self.handle)
        return self.process.wait(timeout=60)


@pytest.mark.parametrize("how", mostly_slow(["killpg", "kill 0", "child"]))
@pytest.mark.parametrize("name", mostly_slow(SIGNALS, 3))
def test_a_signal_to_mains_own_group_ends_main_and_the_account_is_written(
    name: str, how: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    words = ["run", "--json", str(file), GROUP, how, name, "default"]
    done = subprocess.run([*PROCLIFE, *words], start_new_session=True, timeout=60)
    main = Run.from_json(file.read_text()).main
    number = signal.Signals[name]
    assert (done.returncode, main.exitcode) == (128 + number, -number)
    assert main.cause in (("raised", "signaled") if how != "child" else ("killed", "terminated"))


def test_a_signal_that_a_shell_sends_to_its_group_does_not_end_the_account(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    words = ["run", "--json", str(file), GROUP, "sh", "SIGTERM", "default"]
    done = subprocess.run([*PROCLIFE, *words], start_new_session=True, timeout=60)
    assert (done.returncode, Run.from_json(file.read_text()).exitcode) == (128 + 15, -15)


@pytest.mark.parametrize("name", mostly_slow(["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"]))
def test_in_a_terminal_main_may_catch_the_signal_that_it_sends_to_its_group(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    terminal = Terminal(*PROCLIFE, "run", "--json", str(file), GROUP, "killpg", name, "caught")
    assert terminal.finish() == 7
    assert Run.from_json(file.read_text()).main.cause == "sys_exit"


@pytest.mark.parametrize("how", mostly_slow(["killpg", "child"]))
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGQUIT"])
def test_in_a_terminal_too_the_account_is_written(name: str, how: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    terminal = Terminal(*PROCLIFE, "run", "--json", str(file), GROUP, how, name, "default")
    number = signal.Signals[name]
    # SIGKILL ends the process that the shell knows too
    assert terminal.finish() in (128 + number, -number)
    assert Run.from_json(file.read_text()).exitcode == -number


def test_ctrl_c_in_a_terminal_is_mains_business(script: Callable[[str], str]) -> None:
    path = script(
        "import time\n"
        "try:\n print('ready', flush=True)\n while True: time.sleep(0.1)\n"
        "except KeyboardInterrupt:\n print('interrupted', flush=True)\n"
        "raise SystemExit(9)"
    )
    terminal = Terminal(*PROCLIFE, "run", path)
    terminal.wait_for(b"ready")
    terminal.type(b"\x03")
    assert terminal.finish() == 9
    assert b"interrupted" in terminal.seen
    assert b"exit code 9" in terminal.seen


def test_in_a_terminal_sigterm_to_proclife_ends_the_tree(
    script: Callable[[str], str], tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    path = script("import signal; print('ready', flush=True)\nwhile True: signal.pause()")
    terminal = Terminal(*PROCLIFE, "run", "--json", str(file), path)
    terminal.wait_for(b"ready")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.finish() == -signal.SIGTERM
    assert Run.from_json(file.read_text()).main.cause == "cleaned_up"


def test_main_reads_from_the_terminal(script: Callable[[str], str]) -> None:
    terminal = Terminal(
        *PROCLIFE, "run", script("print('ready', flush=True); print(input()[::-1])")
    )
    terminal.wait_for(b"ready")
    terminal.type(b"abc\n")
    assert terminal.finish() == 0
    assert b"cba" in terminal.seen


def test_ctrl_z_stops_proclife_with_main_and_fg_lets_both_go_on(
    script: Callable[[str], str],
) -> None:
    path = script(
        "import os, sys\n"
        "print('main', os.getpid(), flush=True)\nprint(sys.stdin.readline()[-2::-1])"
    )
    shell = Terminal(sys.executable, str(TARGETS / "job_control.py"), *PROCLIFE, "run", path)
    shell.wait_for(b"\r\n")
    main = shell.seen.split()[1].decode()
    shell.type(b"\x1a")
    shell.wait_for(b"stopped by %d" % signal.SIGTSTP)
    while Path(f"/proc/{main}/stat").read_text().rpartition(") ")[2][0] != "T":
        time.sleep(0.01)  # until it is, what is typed may be read by main
    shell.type(b"fg\n")
    shell.type(b"abc\n")
    shell.wait_for(b"cba")
    shell.wait_for(b"why it ended")
    shell.wait_for(b"the job ended with 0")
    shell.type(b"exit\n")
    assert shell.finish() == 0


def test_a_sigint_to_proclife_without_a_terminal_is_mains_business(
    script: Callable[[str], str],
) -> None:
    path = script("import time; print('ready', flush=True)\nwhile True: time.sleep(0.05)")
    with subprocess.Popen(
        [*PROCLIFE, "run", path], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 128 + signal.SIGINT


def test_sigterm_to_proclife_ends_the_tree(script: Callable[[str], str]) -> None:
    path = script("import os, signal; print(os.getpid(), flush=True); signal.pause()")
    with subprocess.Popen([*PROCLIFE, "run", path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        main = os.pidfd_open(int(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        assert select.select([main], [], [], 2.0)[0]
        os.close(main)
