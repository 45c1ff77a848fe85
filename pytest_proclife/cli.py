"""The command line: `proclife run`, `proclife grade`, `proclife check`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from pytest_proclife.errors import SupervisorLost, TargetError
from pytest_proclife.records import LeftOut, Run
from pytest_proclife.runner import START_METHODS, observe
from pytest_proclife.target import Module, Target

TIMED_OUT, FAILED = 124, 125  # as timeout(1)
FORMATS = ("gradescope", "classroom50", "prairielearn", "junit")
FEEDBACK = ("friendly", "message", "all")

_EPILOG = """\
TARGET is a script, a notebook or -m MODULE; what follows it belongs to it. A command
comes after --.
The exit status is main's; 128+n if it died of signal n, 124 at the timeout, 125 if proclife
itself failed.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    own, target = _split(arguments) if arguments[:1] == ["run"] else (arguments, [])
    options = parser.parse_args(own)
    if options.verb is None:
        parser.print_help(sys.stderr)
        return FAILED
    if options.verb in ("grade", "check"):
        from pytest_proclife.exercises import grade  # pytest, which run has no use for

        return grade.grade(options) if options.verb == "grade" else grade.check(options)
    return _run(options, target)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # it never returned
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
    run.add_argument("--json", metavar="FILE", help="write the account as JSON ('-': stdout)")
    run.add_argument("--capture", action="store_true", help="keep the output in the document")
    run.add_argument("--start-method", choices=START_METHODS, help="multiprocessing's default")
    run.add_argument("--timeout", type=_seconds, metavar="S", help="end everything after S seconds")
    run.add_argument(
        "--linger", type=_seconds, default=1.0, metavar="S", help="watch what outlives main so long"
    )
    _add_grading(verbs)
    return parser


def _add_grading(verbs: argparse._SubParsersAction[_Parser]) -> None:
    grade = verbs.add_parser(
        "grade", help="hold an exercise against submissions", allow_abbrev=False
    )
    grade.add_argument("exercise", metavar="EXERCISE", help="a file of pytest tests")
    grade.add_argument(
        "submissions",
        metavar="SUBMISSION",
        nargs="+",
        help="a script, a notebook, a folder, a folder of folders",
    )
    grade.add_argument(
        "-j", "--jobs", type=_jobs, default=1, metavar="N", help="so many at a time (1)"
    )
    grade.add_argument(
        "-o", "--output", default="results", metavar="DIR", help="where results go (results)"
    )
    grade.add_argument(
        "--format",
        action="append",
        default=[],
        choices=FORMATS,
        help="write the results in this format too",
    )
    check = verbs.add_parser("check", help="see how an answer does", allow_abbrev=False)
    check.add_argument("exercise", metavar="EXERCISE", help="a file of pytest tests")
    check.add_argument("submission", metavar="FILE", help="a script or a notebook")
    for verb in (grade, check):
        verb.add_argument(
            "--feedback", choices=FEEDBACK, default="friendly", help="the words (friendly)"
        )
        verb.add_argument(
            "--deadline",
            type=_seconds,
            default=600.0,
            metavar="S",
            help="end the grading of an answer after S seconds (600)",
        )


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of jobs, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:  # nor NaN
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds, 0 or more")
    return value


_WITH_VALUE = ("--json", "--start-method", "--timeout", "--linger")


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own options, and the target with what follows it."""
    index = 0
    while index < len(arguments):
        word = arguments[index]
        if word in ("--", "-m") or (not word.startswith("-") and index > 0):
            break
        index += 2 if word in _WITH_VALUE else 1
    return arguments[:index], arguments[index:]


def _target(words: list[str]) -> tuple[Target, list[str]]:
    if not words:
        raise TargetError("nothing to run: name a script, a notebook, -m MODULE, or -- COMMAND")
    if words[0] == "--":
        return words[1:], []
    if words[0] == "-m":
        if len(words) < 2:
            raise TargetError("-m needs the name of a module")
        return Module(words[1]), words[2:]
    return words[0], words[1:]


def _run(options: argparse.Namespace, words: list[str]) -> int:
    try:
        target, args = _target(words)
        run = _observe(options, target, args)
    except (TargetError, SupervisorLost, ValueError) as error:
        print(f"proclife: {error}", file=sys.stderr)
        return FAILED
    print(f"\n{run}", file=sys.stderr)
    for fact in run.main.evidence:
        if isinstance(fact, LeftOut):
            print(fact, file=sys.stderr)
    status = _exit_status(run)
    if options.json and not _write(run, options.json):
        return FAILED
    return status


def _observe(options: argparse.Namespace, target: Target, args: list[str]) -> Run:
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        # Ctrl-C in a terminal goes to main too, and it is main's business
        signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return observe(
            target,
            args,
            start_method=options.start_method,
            timeout=options.timeout,
            linger=options.linger,
            allow_timeout=True,
            cwd=None,
            env=None,
            streams=(0, 1, 2),
            group=os.getpgrp(),
            capture=options.capture,
        )
    finally:
        signal.signal(signal.SIGINT, before)


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
        print(f"proclife: the account could not be written to {path!r}: {error}", file=sys.stderr)
        return False
    return True
