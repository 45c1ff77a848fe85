"""The words of crash points and their table, and points of reports that make no sense."""

from __future__ import annotations

import pytest

from pytest_proclife import wire
from pytest_proclife.records import POINTS, CrashOutcome, Point
from pytest_proclife.render.crash import Cell, outcome_words, table
from pytest_proclife.supervisor import points
from pytest_proclife.supervisor.points import Points, without_digits

WHERE = "/home/me/service.py:31 in serve"


def point(
    kind: str, process: str = "main", detail: str = "", about: str = "", where: str = ""
) -> Point:
    return Point(
        kind=kind,
        process=process,
        detail=detail,
        about=about,
        where=where,
        nth=1,
        count=1,
        held=True,
    )


WORDS = [
    (point("begun", "a fork of main", "fork"), "as a fork of main begins"),
    (
        point("started", about="Process-2", where=WHERE),
        "after Process-2 was started at service.py:31",
    ),
    (
        point("started", "Process-1", about="sh", where=WHERE),
        "after sh was started by Process-1 at service.py:31",
    ),
    (point("target", "Process-1"), "as Process-1 reaches its target"),
    (point("finished", detail="raised"), "after the code of main raised an exception"),
    (point("exit_path", detail="begun"), "in main's exit path"),
    (point("exit_path", "Process-1", "done"), "after Process-1's exit path"),
    (point("exiting", detail="exit"), "as main exits"),
    (
        point("waiting", about="Process-1", where=WHERE),
        "as main begins to wait for Process-1 at service.py:31",
    ),
    (point("joined", about="Process-1"), "after main collected Process-1"),
    (
        point("signal", detail="15 terminate()", about="Process-1", where=WHERE),
        "as main sends SIGTERM by terminate() to Process-1 at service.py:31",
    ),
    (point("signal", detail="? os.kill()"), "as main sends ? by os.kill() to another process"),
    (point("handler", detail="2"), "in main's handler of SIGINT"),
    (point("exec", about="sleep"), "as main becomes sleep"),
    (point("output", "stdout", "ready, pid #"), "after the line 'ready, pid #' on stdout"),
    (point("output", "stderr", "x" * 99), f"after the line '{'x' * 60}...' on stderr"),
    (point("ended", "sleep"), "after sleep ended"),
    (point("call", "sh", "wait4"), "as sh calls wait4()"),
]


@pytest.mark.parametrize(("of", "words"), WORDS, ids=[words for _, words in WORDS])
def test_a_point_is_said_by_what_the_program_does(of: Point, words: str) -> None:
    assert str(of) == words


def test_every_kind_of_point_has_words() -> None:
    assert {of.kind for of, _ in WORDS} == set(POINTS)
    kinds = {value for name, value in vars(points).items() if name.isupper() and value in POINTS}
    assert kinds == set(POINTS)


@pytest.mark.parametrize(
    ("nth", "count", "words"),
    [
        (1, 2, "(1st of 2)"),
        (2, 3, "(2nd of 3)"),
        (11, 12, "(11th of 12)"),
        (23, 30, "(23rd of 30)"),
    ],
)
def test_points_that_are_the_same_are_numbered(nth: int, count: int, words: str) -> None:
    of = Point(
        kind="exiting",
        process="sh",
        detail="",
        about="",
        where="",
        nth=nth,
        count=count,
        held=True,
    )
    assert str(of) == f"as sh exits {words}"


def test_what_a_program_chose_cannot_change_the_terminal() -> None:
    assert "\x1b" not in str(point("exiting", "evil\x1b[2J{who}"))


@pytest.mark.parametrize(
    ("outcome", "left", "exitcode", "words"),
    [
        ("clean", 0, -15, "clean"),
        ("clean", 0, 143, "clean"),
        ("clean", 0, 0, "clean"),
        ("clean", 0, 1, "clean, exit 1"),
        ("left", 2, -15, "left 2"),
        ("left", 2, -11, "left 2, exit -11"),
        ("hung", 1, None, "hung"),
        ("missed", 0, 5, "missed"),
    ],
)
def test_a_cell_has_the_outcome_and_an_unusual_exit_code(
    outcome: str, left: int, exitcode: int | None, words: str
) -> None:
    assert outcome_words(CrashOutcome(outcome), left, exitcode, "SIGTERM") == words


def test_the_table_has_a_row_for_each_point_and_a_column_for_each_signal() -> None:
    cells = [
        Cell(row="as main exits", column="SIGTERM", text="clean"),
        Cell(row="as main exits", column="SIGKILL", text="left 1"),
        Cell(row="after sh ended", column="SIGKILL", text="hung"),
    ]
    assert table(cells).splitlines() == [
        "                SIGTERM  SIGKILL",
        "as main exits   clean    left 1",
        "after sh ended           hung",
    ]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("Process-12:3", "Process-#:#"), ("no digit", "no digit"), ("", ""), ("127.0.0.1", "#.#.#.#")],
)
def test_numbers_are_left_out(text: str, kept: str) -> None:
    assert without_digits(text) == kept


# --- reports


class Process:
    number, pid, ended, arguments = 0, 1, False, ()


class Tree:
    """As much of a tree as the points of main need."""

    def __init__(self) -> None:
        self.main = Process()
        self.cleans_up = False
        self.living: dict[int, Process] = {}
        self.keys: dict[bytes, Process] = {}
        self.identities = self
        self.by_pid: dict[int, list[Process]] = {}
        self.noted: list[tuple[object, ...]] = []

    def note(self, kind: str, process: Process, *fields: object) -> None:
        self.noted.append((kind, *fields))


@pytest.mark.parametrize(
    "fields", [(), ("",), ("x",) * 20, ("\u0663",) * 3, ("9" * 5000,)], ids=range(5)
)
@pytest.mark.parametrize("kind", "hsnRorlxXeckgcjwiEamzuyt?")
def test_a_report_of_any_shape_is_no_error(kind: str, fields: tuple[str, ...]) -> None:
    tree = Tree()
    of_main = Points(tree, None, [])  # type: ignore[arg-type]
    of_main.reported(tree.main, wire.pack(kind, 0, 1, 2, fields), None)  # type: ignore[arg-type]
    of_main.reported(tree.main, b"\xff\xff", None)  # type: ignore[arg-type]
    assert len(tree.noted) <= 1
