"""`proclife grade`: one result for each submission, whatever the answer does."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TARGETS, Mark, mostly_slow
from marking import DAEMON, EXERCISE, grade, graded, results
from notebooks import write_notebook

pytestmark = pytest.mark.once  # each runs pytest several times


def test_scripts_and_notebooks_and_folders_have_their_points(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    answers = tmp_path / "in"
    for name in ("ada", "bob", "eve"):
        (answers / name).mkdir(parents=True)
    (answers / "ada" / "exam.py").write_text(DAEMON)
    write_notebook(answers / "bob" / "exam.ipynb", *DAEMON.split("if __name__", 1)[:1], "pass")
    write_notebook(answers / "eve" / "exam.ipynb", "%cd ..", DAEMON)
    done = grade(tmp_path, "exercise.py", "in", "-j", "2", "-o", "out")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert {name: result["score"] for name, result in found.items()} == {
        "ada": 3,
        "bob": 0,
        "eve": 3,
    }
    assert "3 graded: out/summary.csv" in done.stderr


@pytest.mark.slow
def test_the_limit_of_descriptors_limits_the_parallel_graders(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / f"in/{number}.py").write_text("pass")
    command = (sys.executable, "-m", "pytest_proclife", "grade", "exercise.py", "in", "-j", "12")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 80 && exec "$@"', "sh", *command, "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {result["status"] for result in results(tmp_path).values()} == {"graded"}
    text = "proclife: more than 2 at a time would need more descriptors than `ulimit -n` allows"
    assert text in done.stderr


def test_the_summary_has_its_columns_in_the_order_of_the_submissions(tmp_path: Path) -> None:
    graded(tmp_path, zoe="pass", ada="x = (")
    with (tmp_path / "out/summary.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["submission", "status", "score", "max_score", "seconds", "reason"]
    assert [row[:4] for row in rows[1:]] == [
        ["zoe", "graded", "0", "3"],
        ["ada", "ungradable", "0", "3"],
    ]
    assert rows[2][5] == "'ada.py', line 1: a syntax error: '(' was never closed"


@pytest.mark.slow
def test_sentences_are_the_exercises_own_and_then_those_from_the_record(tmp_path: Path) -> None:
    result = graded(tmp_path, ada="1 / 0")["ada"]
    first, second = result["marks"]
    assert first["sentences"] == [
        "No process was started.",
        "Your program ended with ZeroDivisionError: division by zero (line 1).",
    ]
    assert (second["name"], second["visibility"], second["tags"]) == (
        "session is cut off",
        "hidden",
        ["end"],
    )


# Answers that misbehave: the program, its status, its reason.
# None is a file in targets/answers/.
HOSTILE: dict[str, tuple[str | None, str, str]] = {
    "loops": ("while True: pass", "graded", "your program had not ended after 3"),
    "prints": ("while True: print('x' * 1000)", "graded", "your program had not ended after 3"),
    "asks": ("input('name?')", "graded", "your program asks for input (line 1)"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "graded", "your program was ended by SIGKILL"),
    "group": ("import os; os.killpg(0, 9)", "graded", "your program was ended by SIGKILL"),
    "empty": ("", "ungradable", "'empty.py' is empty"),
    "watcher": (
        "import os, signal; os.kill(os.getppid(), 9); signal.pause()",
        "tampered",
        "what watches the answer was killed while it ran",
    ),
    "grader": (
        None,
        "tampered",
        "the process that graded it was killed (SIGKILL)",
    ),
    "everything": (
        None,
        "tampered",
        "the process that graded it was killed (SIGKILL)",
    ),
    "stops_watcher": (
        "import os, signal; os.kill(os.getppid(), signal.SIGSTOP); signal.pause()",
        "tampered",
        "what grades or watches the answer was stopped (SIGSTOP)",
    ),
    "stops_grader": (
        None,
        "tampered",
        "what grades or watches the answer was stopped (SIGSTOP)",
    ),
    "stops_itself": (
        "import os, signal; os.kill(0, signal.SIGSTOP)",
        "graded",
        "your program had not ended after 3",
    ),
    "forges": (None, "tampered", "reports of mainprocess"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_an_answer_that_misbehaves_has_its_result_and_leaves_others_alone(
    tmp_path: Path, mark: Mark
) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    for name, (text, _, _) in HOSTILE.items():
        answer = (TARGETS / "answers" / f"{name}.py").read_text() if text is None else text
        (tmp_path / "in" / f"{name}.py").write_text(answer)
        (tmp_path / "in" / f"{name}_good.py").write_text(DAEMON)
    done = grade(tmp_path, "exercise.py", "in", "-j", "2", "-o", "out", env=mark.env)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    for name, (_, status, reason) in HOSTILE.items():
        result = found[name]
        texts = [result["reason"], *result["marks"][0]["sentences"]]
        assert result["status"] == status, result
        assert any(reason.lower() in text.lower() for text in texts), texts
        assert result["score"] == 0
        assert found[f"{name}_good"]["score"] == 3, found[f"{name}_good"]
    assert mark.living() == []


@pytest.mark.slow
def test_a_name_that_sounds_like_a_reason_is_only_a_name(tmp_path: Path) -> None:
    name = '"reports of the day"'
    answer = DAEMON.replace("daemon=True", f"daemon=True, name={name}")
    found = graded(tmp_path, ada=answer + "    __import__('os').system('true')\n")["ada"]
    assert (found["status"], found["reason"]) == ("graded", "")


@pytest.mark.slow
def test_a_grader_has_what_it_needs_of_the_package_from_its_start(tmp_path: Path) -> None:
    text = """
import sys
import pytest
import pytest_proclife as pp
LOADED = set(sys.modules)
def test_it(submission, proclife):
    run = submission.run()
    proclife.run(submission)
    with pytest.raises(pp.LifecycleError):
        pp.assert_joined(run.main)
    assert str(run) and run.to_json() and [str(fact) for fact in run.main.evidence]
def test_modules():
    assert [name for name in set(sys.modules) - LOADED if name.startswith("pytest")] == []
"""
    _, mark = graded(tmp_path, exercise=text, ada="pass")["ada"]["marks"]
    assert mark["outcome"] == "passed", mark["detail"]


def test_an_answer_that_exceeds_the_deadline_is_an_error_with_its_reason(
    tmp_path: Path, mark: Mark
) -> None:
    text = "def test_it(submission): submission.run(timeout=None)"
    answers = {"ada": "import signal; signal.pause()"}
    (tmp_path / "in").mkdir()
    found = graded(tmp_path, "--deadline", "1.5", exercise=text, **answers)
    assert found["ada"]["status"] == "error"
    assert found["ada"]["reason"].startswith("grading was not done after")


def test_an_exercise_that_fails_is_an_error(tmp_path: Path) -> None:
    text = "def test_it(submission): assert submission.unknown"
    found = graded(tmp_path, exercise=text, ada="pass")
    assert found["ada"]["status"] == "error"
    assert "AttributeError: 'Submission' object has no attribute" in found["ada"]["reason"]


@pytest.mark.parametrize(
    ("text", "reason"),
    mostly_slow(
        [
            ("", "it has no tests"),
            ("x = (", "cannot be read: SyntaxError: '(' was never closed (exercise.py, line 1)"),
            ("\nimport nothing_there", "No module named 'nothing_there' (exercise.py, line 2)"),
            ("def f(): return {}['x']\nf()", "KeyError: 'x' (exercise.py, line 1)"),
            (
                "def test_it(submision): pass",
                "exercise.py::test_it: there is no fixture 'submision': did you mean 'submission'?",
            ),
            (
                "import pytest\n@pytest.mark.proclife_point(1)\ndef test_it(): pass",
                "there is no marker 'proclife_point': did you mean 'proclife_points'?\n",
            ),
            (
                "import pytest\n@pytest.mark.proclife_points('1')\ndef test_it(): pass",
                "points are a",
            ),
            (
                "import pytest\n@pytest.mark.proclife_points(-1)\ndef test_it(): pass",
                "points are a",
            ),
            (
                "import pytest\n@pytest.mark.proclife_points(1, 2)\ndef test_it(): pass",
                "one number",
            ),
            (
                (
                    "import pytest\n@pytest.mark.proclife_points(1, visibility='x')\n"
                    "def test_it(): pass"
                ),
                "visibility is one of",
            ),
            (
                "import pytest\n@pytest.mark.proclife_points(1, color='x')\ndef test_it(): pass",
                "it takes name, visibility, tags, extra, not color",
            ),
        ],
        3,
    ),
)
def test_an_exercise_that_cannot_be_used_is_refused_before_grading(
    text: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "exercise.py").write_text(text)
    (tmp_path / "ada.py").write_text("pass")
    done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out")
    assert done.returncode == 125
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_missing_fixture_that_a_test_requests_is_an_error(
    tmp_path: Path,
) -> None:
    text = "def test_it(request, submission): request.getfixturevalue('missing')"
    found = graded(tmp_path, exercise=text, ada="pass")["ada"]
    assert found["status"] == "error"
    assert "FixtureLookupError" in found["reason"]


@pytest.mark.slow
def test_an_exercise_without_points_has_a_message(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text("def test_it(submission): pass")
    (tmp_path / "ada.py").write_text("pass")
    done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out")
    assert done.stderr.startswith(
        "proclife: exercise.py: no test of it is worth points: mark them with proclife_points(n)\n"
    )


def test_a_missing_path_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text("pass")
    done = grade(tmp_path, "missing.py", "ada.py")
    assert (done.returncode, done.stderr) == (125, "proclife: no such exercise: 'missing.py'\n")
    done = grade(tmp_path, ".", "ada.py")
    assert (done.returncode, done.stderr) == (
        125,
        "proclife: an exercise is a file of tests: '.'\n",
    )
    done = grade(tmp_path, "exercise.py", "missing.py")
    assert (done.returncode, done.stderr) == (125, "proclife: no such submission: 'missing.py'\n")


@pytest.mark.slow
def test_partial_credit_has_its_reason_and_its_bounds(tmp_path: Path) -> None:
    text = """
import pytest
@pytest.mark.proclife_points(2)
def test_half(submission): submission.partial(0.5, "Half of it is there.")
@pytest.mark.proclife_points(2)
def test_more(submission): submission.partial({points}, "x")
"""
    first, _ = graded(tmp_path, exercise=text.format(points=0), ada="pass")["ada"]["marks"]
    assert (first["points"], first["outcome"]) == (0.5, "partial")
    assert first["sentences"] == ["Half of it is there."]
    found = graded(tmp_path, exercise=text.format(points=3), ada="pass")["ada"]
    assert found["status"] == "error"
    found = graded(tmp_path, exercise=text.format(points=-1), ada="pass")["ada"]
    assert "points are a number, 0 or more, not -1" in found["reason"]


@pytest.mark.slow
def test_what_was_earned_stays_if_the_test_fails_later(tmp_path: Path) -> None:
    text = """
import pytest
@pytest.mark.proclife_points(3)
def test_steps(submission):
    submission.earn(1, "It is there.")
    submission.earn({more}, "It does something.")
    submission.run(timeout={seconds})
@pytest.mark.proclife_points(2)
def test_other(submission): submission.run(timeout={seconds})
"""
    answer = "import signal; signal.pause()"
    first, second = graded(tmp_path, exercise=text.format(more=0.5, seconds=0.5), ada=answer)[
        "ada"
    ]["marks"]
    assert (first["points"], first["outcome"]) == (1.5, "partial")
    assert first["sentences"][:2] == [
        "1 of 3 points: It is there.",
        "0.5 of 3 points: It does something.",
    ]
    assert first["sentences"][2].startswith("Your program had not ended after ")
    assert (second["points"], second["outcome"]) == (0, "failed")
    marks = graded(tmp_path, exercise=text.format(more=0.5, seconds=30), ada="pass")["ada"]["marks"]
    assert [(mark["points"], mark["sentences"]) for mark in marks] == [(3, []), (2, [])]
    found = graded(tmp_path, exercise=text.format(more=5, seconds=0.5), ada=answer)["ada"]
    assert found["status"] == "error"


@pytest.mark.slow
def test_points_that_were_earned_before_the_deadline_stay(tmp_path: Path) -> None:
    text = """
import pytest
@pytest.mark.proclife_points(2)
def test_first(): pass
@pytest.mark.proclife_points(1)
def test_second(submission): submission.run(timeout=None)
@pytest.mark.proclife_points(1)
def test_third(): pass
"""
    answers = {"ada": "import signal; signal.pause()"}
    found = graded(tmp_path, "--deadline", "2", exercise=text, **answers)["ada"]
    assert (found["status"], found["score"], found["max_score"]) == ("graded", 2, 4)
    assert found["reason"] == "grading was not done after 2 s, and was ended"
    late = "grading was ended after 2 s, before this test was done"
    assert [mark["message"] for mark in found["marks"]] == ["", late, late]
    assert [mark["outcome"] for mark in found["marks"]] == ["passed", "not_run", "not_run"]


@pytest.mark.slow
def test_functions_are_available_by_name_and_run_in_a_main_of_their_own(tmp_path: Path) -> None:
    text = (TARGETS / "exercises" / "functions.py").read_text()
    program = "def square(n):\n    return n * n\ndef show(n, x): print(square(n), x)\n1 / 0\n"
    answer = program.replace("1 / 0", "if __name__ == '__main__': 1 / 0")
    first, second = graded(tmp_path, exercise=text, ada=answer)["ada"]["marks"]
    assert (first["points"], second["points"]) == (1, 0), first
    assert second["sentences"] == ["Your program has no function cube(); it has square, show."]


@pytest.mark.slow
def test_an_exercise_and_its_answer_are_not_changed_by_the_answer(tmp_path: Path) -> None:
    answer = "import os; open('made', 'w').close(); open(__file__, 'w').close()"
    text = "def test_it(submission): submission.run()"
    assert graded(tmp_path, exercise=text, ada=answer)["ada"]["status"] == "graded"
    assert (tmp_path / "in/ada.py").read_text() == answer
    assert sorted(os.listdir(tmp_path / "in")) == ["ada.py", "main_of_nobody.txt"]


def test_a_submission_is_graded_again_only_if_it_changes(tmp_path: Path) -> None:
    first = graded(tmp_path, ada=DAEMON, bob="pass")
    assert graded(tmp_path, ada=DAEMON, bob="pass") == first
    assert graded(tmp_path, ada=DAEMON, bob="x = (")["bob"]["status"] == "ungradable"
    assert results(tmp_path)["ada"] == first["ada"]
    changed = graded(tmp_path, exercise=EXERCISE + "\n", ada=DAEMON, bob="x = (")
    assert changed["ada"]["key"] != first["ada"]["key"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_grading_that_was_killed_and_started_again_finishes_the_rest(
    number: signal.Signals, tmp_path: Path, mark: Mark
) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "started")
    waits = f"import signal; open({str(tmp_path / 'started')!r}, 'w').close(); signal.pause()"
    (tmp_path / "in/1.py").write_text(DAEMON)
    (tmp_path / "in/2.py").write_text(waits)
    (tmp_path / "in/3.py").write_text(DAEMON)
    arguments = ["grade", "exercise.py", "in", "-o", "out"]
    command = [sys.executable, "-m", "pytest_proclife", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, env=mark.env, stderr=subprocess.PIPE) as process:
        (tmp_path / "started").read_text()  # until the second answer runs
        process.send_signal(number)
        process.communicate(timeout=30)
    assert mark.gone_within(10.0)
    first = tmp_path / "out/results/1.json"
    assert sorted(os.listdir(tmp_path / "out/results")) == ["1.json"]
    written = first.stat().st_mtime_ns
    (tmp_path / "in/2.py").write_text("pass")
    done = grade(tmp_path, *arguments[1:])
    assert done.returncode == 0
    assert "1 of 3 already have a result" in done.stderr
    assert first.stat().st_mtime_ns == written
    assert [result["score"] for result in results(tmp_path).values()] == [3, 0, 3]


@pytest.mark.slow
def test_the_exercise_of_the_documentation_grades_the_courses_exams(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    page = (root / "docs/howto/course.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exercise = next(block for block in blocks if "(submission)" in block)
    assert len([line for line in exercise.splitlines() if line]) <= 15
    answers = {
        name: (root / "examples" / f"exam_{name}.py").read_text()
        for name in ("daemon", "nondaemon")
    }
    answers["nothing"] = 'print("hi")'
    found = graded(tmp_path, "-j", "2", exercise=exercise, **answers)
    assert (found["daemon"]["score"], found["daemon"]["max_score"]) == (3, 3)
    assert found["nothing"]["score"] == 0
    assert found["nondaemon"]["score"] == 1  # its session ran, too
    marks = found["nondaemon"]["marks"]
    (_, flag), (_, text) = [
        (mark["name"], *mark["sentences"]) for mark in marks if not mark["points"]
    ]
    assert flag.startswith("Your session is not a daemon. A Process is a daemon if it is made with")
    assert re.fullmatch(
        r"Your session was still running when main ended: it kept the program open "
        r"\d\.\d s longer. A daemon process would have been ended with it.",
        text,
    )


# A bare assert for each thing that it can be about, and what the student reads of it.
BARE = {
    "'saved' in run.stdout": 'Your program did not print "saved". It printed: "hi"',
    "'hi' not in run.stdout": 'Your program printed "hi", which should not be there.',
    "run.stdout.strip() == 'all'": 'Your program should print "all". It printed: "hi"',
    "run.stdout.count('hi') == 2": 'Your program printed "hi" once; it should be there 2 times.',
    "run.exitcode == 5": "Your program ended with exit code 0; exit code 5 was expected.",
    "run.duration > 60": " s; more than 60 s was expected.",
    "len(run.children) == 3": "Your program started 1 worker; 3 were expected.",
    "'counter' in [child.name for child in run.children]": (
        "Your program has no process with the name counter. Its processes are job."
    ),
    "run['counter'].daemon": (
        "Your program has no process with the name counter. Its processes are job."
    ),
    "run['job'].daemon": "Your worker is not a daemon. A Process is a daemon if it is made with",
    "run['job'].cause == 'raised'": "It was expected to end with an exception.",
    "run['job'].exitcode == 3": "Your worker ended with exit code 0; exit code 3 was expected.",
    "all(p.daemon for p in run.children)": (
        "Your program does not meet this condition: all(p.daemon for p in run.children)"
    ),
}


@pytest.mark.slow
def test_a_bare_assert_says_what_it_asked_for_and_nothing_else(tmp_path: Path) -> None:
    tests = [f"def test_{number}(run): assert {condition}" for number, condition in enumerate(BARE)]
    head = """
import pytest
@pytest.fixture
def run(submission):
    submission.children_are("worker")
    return submission.run()
def test_unpacked(run): first, second = run.children
"""
    answer = """
import multiprocessing
def work(): pass
if __name__ == "__main__":
    multiprocessing.Process(target=work, name="job").start()
    print("hi")
"""
    found = graded(tmp_path, exercise=head + "\n".join(tests), ada=answer)["ada"]
    assert found["status"] == "graded", found["reason"]
    unpacked, *marks = found["marks"]
    assert unpacked["sentences"] == [
        "2 processes were expected, and your program started 1 process."
    ]
    for mark, sentence in zip(marks, BARE.values(), strict=True):
        (text,) = mark["sentences"]
        assert sentence in text


@pytest.mark.slow
def test_the_messages_of_authors_are_shown_as_they_are(tmp_path: Path) -> None:
    text = """
import pytest
def test_assert(submission): assert submission.run().stdout == "x", f"own {1 + 1}\\nassert this"
def test_fail(): pytest.fail("failed on purpose")
def test_raise(): raise AssertionError("assert me")
"""
    marks = graded(tmp_path, exercise=text, ada="print('hi')")["ada"]["marks"]
    assert [mark["sentences"] for mark in marks] == [
        ["own 2\nassert this"],
        ["failed on purpose"],
        ["assert me"],
    ]


@pytest.mark.slow
def test_what_an_answer_does_to_a_running_main_fails_the_test_and_not_the_exercise(
    tmp_path: Path,
) -> None:
    text = """
from pytest_proclife import assert_shut_down, start
def test_output(submission):
    with start(submission) as main: main.wait_for_output("ready")
def test_signal(submission, proclife):
    main = proclife.start(submission)
    main.wait_for(lambda run: run.main.ended_at)
    main.terminate()
def test_timeout(submission):
    with start(submission) as main: main.wait_for_children(2, timeout=0.1)
"""
    answer = "import subprocess, os; subprocess.Popen(['sleep', '60']); os._exit(3)"
    found = graded(tmp_path, exercise=text, ada=answer)["ada"]
    assert (found["status"], found["score"]) == ("graded", 0)
    output, signal, timeout = (mark["sentences"][0] for mark in found["marks"])
    assert output.startswith('Your program did not print "ready" ')
    assert signal.startswith("The test was about to send a signal, and the process")
    assert timeout.startswith("Your program did not start 2 processes ")


@pytest.mark.slow
def test_grading_warns_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text(DAEMON)
    command = [sys.executable, "-W", "error", "-m", "pytest_proclife"]
    command += ["grade", "exercise.py", "ada.py", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path)["ada"]["score"] == 3


ROSTER = """\
submission,Student,ID,late
ada,Ada Lovelace,17,
bob,Bob Marley,18,2
"""


@pytest.mark.slow
def test_a_feedback_file_for_each_student_and_files_for_the_gradebook(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text(ROSTER)
    text = """
import pytest
@pytest.mark.proclife_points(4)
def test_hi(submission): assert "hi" in submission.run().stdout
@pytest.mark.proclife_points(2, extra=True)
def test_more(submission): assert submission.run().children
"""
    formats = ("markdown", "html", "canvas", "moodle")
    options = [word for name in formats for word in ("--format", name)]
    answers = {"ada": "print('hi')", "bob": DAEMON + "    print('hi')", "eve": "x = ("}
    found = graded(
        tmp_path,
        *options,
        "--roster",
        "roster.csv",
        "--late-penalty",
        "10%",
        exercise=text,
        **answers,
    )
    assert {name: (one["score"], one["max_score"]) for name, one in found.items()} == {
        "ada": (4, 4),
        "bob": (6, 4),
        "eve": (0, 4),
    }
    out = tmp_path / "out"
    assert "4 of 4 points." in (out / "feedback/ada.md").read_text()
    page = (out / "feedback/bob.html").read_text()
    assert "6 of 4 points, less 1.2 since it was late." in page
    assert 'src="data:image/svg+xml;base64,' in page
    assert "MainProcess" in (out / "pictures/bob.svg").read_text()
    assert "cannot be graded" in (out / "feedback/eve.md").read_text()
    assert "Bob Marley,18,,,,4.8" in (out / "canvas.csv").read_text()
    assert "ada,4,4,0,0,0\nbob,4.8,4,2,2,1.2\n" in (out / "grades.csv").read_text()
    assert (out / "moodle.csv").read_text().splitlines()[1].startswith(",Ada Lovelace,ada,,4,4,")
    # the picture is there too if nothing is graded again
    (out / "feedback/bob.html").unlink()
    graded(tmp_path, *options, exercise=text, **answers)
    assert "data:image/svg" in (out / "feedback/bob.html").read_text()


@pytest.mark.slow
def test_what_a_teacher_should_look_at_is_reported(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text("""
import pytest
@pytest.mark.proclife_points(1)
def test_text(submission): assert "import" in submission.source
""")
    (tmp_path / "in").mkdir()
    for name, line in (("ada", "import left_out_here"), ("bob", "x = 1"), ("eve", "x = 1")):
        (tmp_path / f"in/{name}.py").write_text(line)
    done = grade(tmp_path, "exercise.py", "in", "-o", "out")
    assert "proclife: these answers are the same files: bob, eve\n" in done.stderr
    assert "proclife: no test ran the program of: ada, bob, eve\n" in done.stderr
    text = "proclife: 1 answer imports left_out_here, which is not installed here\n"
    assert text in done.stderr


@pytest.mark.slow
def test_a_module_that_is_not_installed_is_told_apart_from_an_error(tmp_path: Path) -> None:
    text = """
import pytest
@pytest.mark.proclife_points(1)
def test_hi(submission): assert "hi" in submission.run().stdout
"""
    answers = {"ada": "x = 1\nimport left_out_here", "bob": "import multiprocesing"}
    (tmp_path / "in").mkdir()
    write_notebook(tmp_path / "in/eve.ipynb", "print(1)", "Some prose.", "import no_such_mod")
    (tmp_path / "exercise.py").write_text(text)
    for name, answer in answers.items():
        (tmp_path / f"in/{name}.py").write_text(answer)
    done = grade(tmp_path, "exercise.py", "in", "-o", "out")
    assert done.returncode == 0, done.stderr
    said = {name: one["marks"][0]["sentences"][1:] for name, one in results(tmp_path).items()}
    assert said["ada"] == [
        (
            "Your program ended with an import (line 2) of left_out_here, which is not installed "
            "on the machine that graded it: this need not be an error of yours."
        )
    ]
    (text,) = said["bob"]
    assert text.startswith("Your program ended with ModuleNotFoundError: No module named 'multipr")
    broken, text = said["eve"]
    assert broken == (
        "Code cell 2 is not Python, and was left out (line 1: a syntax error: invalid syntax)."
    )
    assert "an import (code cell 3, line 1) of no_such_mod" in text


def test_a_pipe_is_ungradable(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    os.mkfifo(tmp_path / "ada.py")
    done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path)["ada"]["reason"] == "'ada.py' is not a file that can be read"


def test_check_is_the_students_view(tmp_path: Path) -> None:
    (tmp_path / "exercise.py").write_text(EXERCISE)
    (tmp_path / "ada.py").write_text("pass")
    (tmp_path / "bob.py").write_text(DAEMON)
    (tmp_path / "eve.py").write_text("x = (")

    def check(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest_proclife", "check", "exercise.py", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    done = check("ada.py")
    assert done.returncode == 1
    assert "no      0/2  a session is started\n             No process was started." in done.stdout
    assert "cut off" not in done.stdout  # hidden
    assert done.stdout.endswith("\n0 of 2 points\n")
    done = check("bob.py")
    assert (done.returncode, done.stdout) == (
        0,
        "ok      2/2  a session is started\n\n2 of 2 points\n",
    )
    done = check("eve.py")
    assert done.returncode == 1
    assert done.stdout.startswith("This answer cannot be graded: 'eve.py', line 1: a syntax error")
    assert "assert ()" in check("--feedback", "all", "ada.py").stdout
    (tmp_path / "both/ada").mkdir(parents=True)
    (tmp_path / "both/bob").mkdir()
    done = check("both")
    assert done.returncode == 125
    assert done.stderr == "proclife: 'both' has several submissions: name one of them\n"
