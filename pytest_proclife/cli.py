"""The command line: `proclife run`, `show`, `crash`, `grade`, `check`, `merge`."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from pytest_proclife import terminal
from pytest_proclife.durations import LINGER, parse_seconds
from pytest_proclife.errors import SeccompUnavailable, SupervisorLost, TargetError
from pytest_proclife.options import Options
from pytest_proclife.records import POINTS, START_METHODS, LeftOut, Run
from pytest_proclife.render import hang, screen, timeline
from pytest_proclife.target import Module, Notebook, Program, Target

TIMED_OUT, FAILED = 124, 125  # as timeout(1)
# as in `exercises.formats`, which `proclife run` does not import; a test compares them
FORMATS = (
    *("gradescope", "classroom50", "prairielearn", "markdown", "html"),
    *("junit", "canvas", "moodle"),
)
FEEDBACK = ("friendly", "message", "all")
EACH = ("file", "folder")
DEADLINE = 600.0  # s
_SECCOMP = "have the kernel report what processes do to each other, in whatever language (seccomp)"

_EPILOG = """\
TARGET is a script, a notebook or -m MODULE; all arguments after it are passed to it.
A command comes after --.
The exit status is main's exit code; 128+n if signal n killed main, 124 after a timeout,
125 if proclife itself failed.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    with_target = arguments[:1] in (["run"], ["crash"])
    own, command = _split(arguments) if with_target else (arguments, [])
    namespace = parser.parse_args(own)
    if namespace.version:
        from importlib.metadata import version  # at first use: it takes some milliseconds

        print(f"proclife {version('pytest-proclife')}")
        return 0
    if namespace.verb is None:
        parser.print_help(sys.stderr)
        return FAILED
    if namespace.verb == "crash":
        return _crash(namespace, command)
    if namespace.verb in ("grade", "check", "merge"):
        from pytest_proclife.exercises import grade  # it imports pytest, which run does not need

        verbs = {"grade": grade.grade, "check": grade.check, "merge": grade.merge}
        return verbs[namespace.verb](namespace)
    return _show(namespace) if namespace.verb == "show" else _run(namespace, command)


_CRASH_EPILOG = """\
TARGET is a script, a notebook or -m MODULE; all arguments after it are passed to it.
A command comes after --.
The exit status is 0 if every crash was clean, 1 if one was not, 125 if proclife itself failed.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # not NoReturn
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"proclife: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="proclife",
        description="Run a program in a real main process and say why each process of it ended.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version, and exit")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", parser_class=_Parser)
    run = verbs.add_parser(
        "run",
        help="run a program and show the timeline of its processes",
        usage="proclife run [options] (TARGET | -m MODULE | -- COMMAND) [ARG...]",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = run.add_argument
    option("--json", metavar="FILE", help="write the run as JSON (-: to stdout)")
    option("--capture", action="store_true", help="include the program's output in the JSON")
    option("--start-method", choices=START_METHODS, help="default start method of multiprocessing")
    option("--seccomp", action="store_true", help=_SECCOMP)
    option("--timeout", type=_seconds, metavar="S", help="kill every process after S seconds")
    text = "seconds to keep watching processes that outlive main, before killing them "
    text += f"(default: {LINGER:g})"
    option("--linger", type=_seconds, default=LINGER, metavar="S", help=text)
    text = "run the cells of a notebook that follow one that raises"
    option("--keep-going", action="store_true", help=text)
    _add_pictures(run)
    _add_show(verbs)
    _add_crash(verbs)
    _add_grading(verbs)
    return parser


def _add_crash(verbs: argparse._SubParsersAction[_Parser]) -> None:
    crash = verbs.add_parser(
        "crash",
        help="run a program again and again, and kill its main process at each step of its life",
        usage="proclife crash [options] (TARGET | -m MODULE | -- COMMAND) [ARG...]",
        epilog=_CRASH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = crash.add_argument
    text = "signal to send; can be given several times (default: SIGINT, SIGTERM, SIGKILL)"
    option("--signal", action="append", metavar="NAME", help=text)
    text = "which process gets the signal: main, children, or the name of a process (default: main)"
    option("--of", default="main", metavar="WHO", help=text)
    text = "kind of point to try; can be given several times (default: all)"
    option("--at", action="append", choices=POINTS, help=text)
    text = "number of crashes to draw at random, if there are more"
    option("--limit", type=_jobs, metavar="N", help=text)
    option("--seed", type=int, default=0, metavar="N", help="seed of the random draw (default: 0)")
    text = "number of parallel runs, which must not disturb each other (default: 1)"
    option("-j", "--jobs", type=_jobs, default=1, metavar="N", help=text)
    option("--start-method", choices=START_METHODS, help="default start method of multiprocessing")
    option("--seccomp", action="store_true", help=_SECCOMP)
    text = "seconds from the signal to the end of main, before it counts as hung (default: 10)"
    option("--timeout", type=_seconds, default=10.0, metavar="S", help=text)
    text = "seconds to keep watching processes that outlive main, before killing them "
    text += f"(default: {LINGER:g})"
    option("--linger", type=_seconds, default=LINGER, metavar="S", help=text)
    option("--json", metavar="FILE", help="write the outcomes as JSON (-: to stdout)")
    text = "write an HTML page with a run of each kind of failure (-: to stdout)"
    option("--html", metavar="FILE", help=text)
    text = "colors in the timelines (default: auto)"
    option("--color", choices=screen.COLORS, default="auto", help=text)


def _crash(namespace: argparse.Namespace, command: list[str]) -> int:
    from pytest_proclife import crash_command  # at first use: most runs are not repeated

    try:
        target, args = _target(command)
        options = Options(
            program=Program(target=target, args=args),
            start_method=namespace.start_method,
            seccomp=namespace.seccomp,
            timeout=namespace.timeout,
            linger=namespace.linger,
            allow_timeout=True,
            points=True,
        )
        return crash_command.crash(namespace, options, _write)
    except (TargetError, SupervisorLost, SeccompUnavailable, ValueError) as error:
        print(f"proclife: {error}", file=sys.stderr)
        return FAILED


def _add_show(verbs: argparse._SubParsersAction[_Parser]) -> None:
    text = "show runs that were written as JSON"
    show = verbs.add_parser("show", help=text, allow_abbrev=False)
    text = "a JSON document of proclife run --json or pytest --proclife-report (-: stdin)"
    show.add_argument("files", metavar="FILE", nargs="+", help=text)
    _add_pictures(show)
    show.add_argument("--svg", metavar="FILE", help="write a picture of the runs side by side")


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--html", metavar="FILE", help="write an HTML page to explore (-: to stdout)")
    option("--trace", metavar="FILE", help="write a trace for Perfetto (-: to stdout)")
    text = (
        "number of processes in the timeline, or all; if there are more, similar ones share a line "
    )
    text += f"(default: {timeline.ROWS})"
    option("--rows", type=_rows, default=timeline.ROWS, metavar="N", help=text)
    text = "colors in the timeline (default: auto)"
    option("--color", choices=screen.COLORS, default="auto", help=text)


def _add_grading(verbs: argparse._SubParsersAction[_Parser]) -> None:
    grade = verbs.add_parser("grade", help="grade submissions", allow_abbrev=False)
    option = grade.add_argument
    option("exercise", metavar="EXERCISE", help="a file of pytest tests")
    text = "a script, a notebook, a folder, or a folder of these"
    option("submissions", metavar="SUBMISSION", nargs="+", help=text)
    text = "number of parallel jobs (default: 1)"
    option("-j", "--jobs", type=_jobs, default=1, metavar="N", help=text)
    text = "folder for the results (default: results)"
    option("-o", "--output", default="results", metavar="DIR", help=text)
    text = "grade this submission again; can be given several times"
    option("--force", action="append", default=[], metavar="NAME", help=text)
    text = "what is a submission in a folder, if that is not clear: each file, or each folder"
    option("--each", choices=EACH, help=text)
    text = "also write the results in this format"
    option("--format", action="append", default=[], choices=FORMATS, help=text)
    _add_roster(option)
    text = "grade the share I of N only; N alone takes I from the job's environment"
    option("--shard", metavar="I/N", help=text)
    text = "grade on the dask cluster whose scheduler has this address"
    option("--dask", metavar="ADDRESS", help=text)
    merge = verbs.add_parser(
        "merge", help="merge the results of several machines", allow_abbrev=False
    )
    text = "a folder of results, or a folder of such folders"
    merge.add_argument("folders", metavar="FOLDER", nargs="+", help=text)
    text = "folder for the merged results (default: merged)"
    merge.add_argument("-o", "--output", default="merged", metavar="DIR", help=text)
    text = "also write the results in this format"
    merge.add_argument("--format", action="append", default=[], choices=FORMATS, help=text)
    _add_roster(merge.add_argument)
    text = "text for the student, as for proclife grade"
    merge.add_argument("--feedback", choices=FEEDBACK, default="friendly", help=text)
    check = verbs.add_parser("check", help="show what a submission would get", allow_abbrev=False)
    check.add_argument("exercise", metavar="EXERCISE", help="a file of pytest tests")
    check.add_argument("submission", metavar="FILE", help="a script or a notebook")
    for option in (grade.add_argument, check.add_argument):
        option("--seccomp", action="store_true", help=_SECCOMP)
        text = "text for the student: plain sentences, pytest's message, or both "
        text += "(default: friendly)"
        option("--feedback", choices=FEEDBACK, default="friendly", help=text)
        _add_sandbox(option)
        text = f"kill the grading of a submission after S seconds (default: {DEADLINE:g})"
        option("--deadline", type=_seconds, default=DEADLINE, metavar="S", help=text)


def _add_roster(option: Callable[..., argparse.Action]) -> None:
    text = "CSV file with a column submission, and columns of a gradebook, or late"
    option("--roster", metavar="FILE", help=text)
    text = "percent of the points to subtract for each 1 in the roster's column late (default: 0)"
    option("--late-penalty", type=_percent, default=0.0, metavar="P", help=text)


def _add_sandbox(option: Callable[..., argparse.Action]) -> None:
    text = "run submissions as this user, with limits (only root can do so)"
    option("--user", metavar="NAME", help=text)
    text = "memory of all processes of a submission together, such as 512M (with --user: 1G)"
    option("--memory", type=_size, metavar="SIZE", help=text)
    text = "processor time of all of them together, in seconds (with --user: 300)"
    option("--cpu", type=_jobs, metavar="S", help=text)
    text = "number of processes at the same time (with --user: 200)"
    option("--processes", type=_jobs, metavar="N", help=text)
    text = "size of each file that is written (with --user: 256M)"
    option("--file-size", type=_size, metavar="SIZE", help=text)
    text = "size of the output (with --user: 256M)"
    option("--max-output", type=_size, metavar="SIZE", help=text)
    text = "run submissions without a network, but for the loopback device"
    option("--no-network", action="store_true", help=text)


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _size(text: str) -> int:
    """Bytes."""
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    digits = text[: len(text) - len(unit)]
    if not digits.isascii() or not digits.isdigit() or not int(digits) or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"SIZE must be a size such as 512M or 2G, not {text!r}")
    return int(digits) * _UNITS[unit]


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"N must be a number of jobs, 1 or more, not {text!r}")
    return int(text)


def _percent(text: str) -> float:
    digits = text.removesuffix("%")
    try:
        value = float(digits)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"P must be a number from 0 to 100, not {text!r}")
    return value


def _rows(text: str) -> int | None:
    """None: all."""
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"N must be all or a number of processes, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return parse_seconds("S", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_WITH_VALUE = (
    *("--json", "--start-method", "--timeout", "--linger"),
    *("--html", "--trace", "--rows", "--color"),
    *("--signal", "--of", "--at", "--limit", "--seed", "-j", "--jobs"),
)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The options of `proclife run`, and the target with its arguments."""
    index = 1
    while index < len(arguments):
        argument = arguments[index]
        if argument in ("--", "-m") or not argument.startswith("-"):
            break
        index += 2 if argument in _WITH_VALUE else 1
    return arguments[:index], arguments[index:]


def _target(command: list[str]) -> tuple[Target, list[str]]:
    """The target, and its arguments."""
    if not command:
        raise TargetError("nothing to run: name a script, a notebook, -m MODULE, or -- COMMAND")
    if command[0] == "--":
        return command[1:], []
    if command[0] == "-m":
        if len(command) < 2:
            raise TargetError("-m needs the name of a module")
        return Module(command[1]), command[2:]
    if not os.path.exists(command[0]) and shutil.which(command[0]):
        hint = f"a command comes after --, as in `proclife run -- {command[0]}`"
        raise TargetError(f"no such script: {command[0]!r}; {hint}")
    return command[0], command[1:]


def _run(namespace: argparse.Namespace, command: list[str]) -> int:
    if not terminal.has_terminal():
        return _watch(namespace, command, 0, terminal.observe_in_own_group)

    def run(group: int, end: int, news: int) -> int:
        def observe(options: Options) -> Run:
            return terminal.observe_beside(options, end, news)

        return _watch(namespace, command, group, observe)

    return terminal.run_beside(run)


def _watch(
    namespace: argparse.Namespace,
    command: list[str],
    group: int,
    observe: Callable[[Options], Run],
) -> int:
    """Run it and show the account; `group` is main's process group, 0 for one of its own."""
    try:
        target, args = _target(command)
        if namespace.keep_going:
            target = Notebook(_notebook(target), keep_going=True)
        options = Options(
            program=Program(target=target, args=args),
            start_method=namespace.start_method,
            seccomp=namespace.seccomp,
            timeout=namespace.timeout,
            linger=namespace.linger,
            allow_timeout=True,
            capture=namespace.capture,
            streams=(0, 1, 2),
            group=group,
        )
        run = observe(options)
    except (TargetError, SupervisorLost, SeccompUnavailable, ValueError) as error:
        print(f"proclife: {error}", file=sys.stderr)
        return FAILED
    print(f"\n{_timeline(run, namespace, sys.stderr)}{_hang(run, sys.stderr)}", file=sys.stderr)
    for fact in run.main.evidence:
        if isinstance(fact, LeftOut):
            print(fact, file=sys.stderr)
    if namespace.json and not _write(run.to_json() + "\n", namespace.json):
        return FAILED
    return _exit_status(run) if _write_pictures([run], namespace) else FAILED


def _notebook(target: Target) -> str:
    if isinstance(target, str) and target.endswith(".ipynb"):
        return target
    raise TargetError("--keep-going is for a notebook, a file that ends in .ipynb")


def _hang(run: Run, stream: TextIO) -> str:
    """Why it did not end in time, and where each process stood; "" if it has ended."""
    block = hang.block(run, screen.columns_of(stream))
    text = f"\n\nmain did not end in time: {hang.why(run)}{block}"
    return text if run.timed_out else ""


def _exit_status(run: Run) -> int:
    if run.timed_out:
        return TIMED_OUT
    if run.exitcode is None:
        return FAILED
    return 128 - run.exitcode if run.exitcode < 0 else run.exitcode


def _timeline(run: Run, namespace: argparse.Namespace, stream: TextIO) -> str:
    made_for = screen.screen_of(stream, namespace.color)
    return timeline.render(run, rows=namespace.rows, screen=made_for)


def _write_pictures(runs: list[Run], namespace: argparse.Namespace) -> bool:
    """Write the page and the trace, if they were asked for; false if one could not be written."""
    # at first use: most runs are shown on the terminal alone
    if namespace.html:
        from pytest_proclife.render import html

        if not _write(html.render([html.Shown(run=run) for run in runs]), namespace.html):
            return False
    if namespace.trace:
        from pytest_proclife.render import trace

        if not _write(trace.render(runs[0]) + "\n", namespace.trace):
            return False
    return True


def _write(text: str, path: str) -> bool:
    try:
        if path == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        print(
            f"proclife: the run could not be written to {path!r}: {error.strerror}", file=sys.stderr
        )
        return False
    return True


# --- proclife show


def _show(namespace: argparse.Namespace) -> int:
    if namespace.trace and len(namespace.files) > 1:
        print("proclife: --trace takes one FILE, since a trace shows one run", file=sys.stderr)
        return FAILED
    runs = []
    for path in namespace.files:
        try:
            runs.append(Run.from_json(_read(path)))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            print(f"proclife: {path!r} could not be read: {reason}", file=sys.stderr)
            return FAILED
    if not _write_pictures(runs, namespace):
        return FAILED
    if namespace.svg:
        from pytest_proclife.render import picture

        if not _write(picture.render(runs), namespace.svg):
            return FAILED
    if not (namespace.html or namespace.trace or namespace.svg):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name may be in any alphabet
        texts = [_timeline(run, namespace, sys.stdout) + _hang(run, sys.stdout) for run in runs]
        return 0 if _write("\n\n".join(texts) + "\n", "-") else FAILED
    return 0


def _read(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    with open(path, encoding="utf-8") as file:
        return file.read()
