"""The command line: `proclife run`, `proclife grade`, `proclife check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pytest_proclife import terminal
from pytest_proclife.durations import LINGER, parse_seconds
from pytest_proclife.errors import SeccompUnavailable, SupervisorLost, TargetError
from pytest_proclife.options import Options
from pytest_proclife.records import START_METHODS, LeftOut, Run
from pytest_proclife.target import Module, Program, Target

TIMED_OUT, FAILED = 124, 125  # as timeout(1)
# as in `exercises.formats`, which `proclife run` does not import; a test compares them
FORMATS = ("gradescope", "classroom50", "prairielearn", "junit")
FEEDBACK = ("friendly", "message", "all")
DEADLINE = 600.0  # s
_SECCOMP = "have the kernel show what processes do to each other, whatever language they are in"

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
    own, command = _split(arguments) if arguments[:1] == ["run"] else (arguments, [])
    namespace = parser.parse_args(own)
    if namespace.verb is None:
        parser.print_help(sys.stderr)
        return FAILED
    if namespace.verb in ("grade", "check"):
        from pytest_proclife.exercises import grade  # it imports pytest, which run does not need

        return grade.grade(namespace) if namespace.verb == "grade" else grade.check(namespace)
    return _run(namespace, command)


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
    verbs = parser.add_subparsers(dest="verb", parser_class=_Parser)
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
    option("--capture", action="store_true", help="include the output in the JSON")
    option("--start-method", choices=START_METHODS, help="default start method of multiprocessing")
    option("--seccomp", action="store_true", help=_SECCOMP)
    option("--timeout", type=_seconds, metavar="S", help="kill every process after S seconds")
    text = "seconds to keep watching processes that outlive main, before killing them "
    text += f"(default: {LINGER:g})"
    option("--linger", type=_seconds, default=LINGER, metavar="S", help=text)
    _add_grading(verbs)
    return parser


def _add_grading(verbs: argparse._SubParsersAction[_Parser]) -> None:
    grade = verbs.add_parser("grade", help="grade submissions", allow_abbrev=False)
    option = grade.add_argument
    option("exercise", metavar="EXERCISE", help="a file of pytest tests")
    text = "a script, a notebook, a folder, a folder of folders"
    option("submissions", metavar="SUBMISSION", nargs="+", help=text)
    text = "number of parallel jobs (default: 1)"
    option("-j", "--jobs", type=_jobs, default=1, metavar="N", help=text)
    text = "folder for the results (default: results)"
    option("-o", "--output", default="results", metavar="DIR", help=text)
    text = "write the results in this format too"
    option("--format", action="append", default=[], choices=FORMATS, help=text)
    check = verbs.add_parser("check", help="show what a submission would get", allow_abbrev=False)
    check.add_argument("exercise", metavar="EXERCISE", help="a file of pytest tests")
    check.add_argument("submission", metavar="FILE", help="a script or a notebook")
    for option in (grade.add_argument, check.add_argument):
        option("--seccomp", action="store_true", help=_SECCOMP)
        text = "text for the student: plain sentences, pytest's message, or both "
        text += "(default: friendly)"
        option("--feedback", choices=FEEDBACK, default="friendly", help=text)
        text = f"kill the grading of a submission after S seconds (default: {DEADLINE:g})"
        option("--deadline", type=_seconds, default=DEADLINE, metavar="S", help=text)


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"N must be a number of jobs, 1 or more, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return parse_seconds("S", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


_WITH_VALUE = ("--json", "--start-method", "--timeout", "--linger")


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
    print(f"\n{run}", file=sys.stderr)
    for fact in run.main.evidence:
        if isinstance(fact, LeftOut):
            print(fact, file=sys.stderr)
    if namespace.json and not _write(run, namespace.json):
        return FAILED
    return _exit_status(run)


def _exit_status(run: Run) -> int:
    if run.timed_out:
        return TIMED_OUT
    if run.exitcode is None:
        return FAILED
    return 128 - run.exitcode if run.exitcode < 0 else run.exitcode


def _write(run: Run, path: str) -> bool:
    text = run.to_json() + "\n"
    try:
        if path == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        print(f"proclife: the run could not be written to {path!r}: {error}", file=sys.stderr)
        return False
    return True
