"""Answers that are confined: another user, limits for the whole tree, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Mark, mostly_slow
from marking import DAEMON, grade, graded, results
from notebooks import write_notebook

from pytest_proclife.exercises.namespaces import Walls, refusal, user_named

SHOWS = """
import pytest
@pytest.mark.proclife_points(1)
def test_output(submission):
    run = submission.run(timeout=20)
    assert not run.stdout, run.stdout
"""
# In a container that may make no namespaces most of this is not to be had.
ROOT = os.geteuid() == 0 if sys.platform == "linux" else False
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not ROOT, reason="only root can run answers as another user"),
]


def shown(tmp_path: Path, answer: str, *arguments: str, **options: Any) -> list[str]:
    """The lines that an answer prints."""
    found = graded(tmp_path, *arguments, exercise=SHOWS, ada=answer, **options)["ada"]
    assert found["status"] == "graded", found
    (mark,) = found["marks"]
    return [line.strip() for line in str(mark["sentences"][0]).splitlines()]


needs_walls = pytest.mark.skipif(
    not ROOT or bool(refusal(Walls(user=user_named("nobody")))),
    reason="no namespaces can be made here, as in a folder that is the root by chroot(2)",
)


@needs_walls
def test_an_answer_is_of_that_user_in_a_folder_of_its_own(tmp_path: Path) -> None:
    lines = shown(
        tmp_path,
        "import os, getpass\n"
        "print(os.getuid(), os.getgid(), os.getgroups(), getpass.getuser())\n"
        "print(os.environ['HOME'] == os.getcwd() == os.path.dirname(__file__))\n"
        "open('mine', 'w').close(), open('/tmp/mine', 'w').close()\n"
        "print(sorted(os.listdir('.')), os.stat('.').st_uid, os.listdir('..'))\n"
        "print('MY_TOKEN' in os.environ, os.environ['TMPDIR'])\n",
        *("--user", "nobody"),
    )
    assert lines[0] == "65534 65534 [65534] nobody"
    assert lines[1:] == ["True", "['ada.py', 'mine'] 65534 ['0']", "False /tmp"]
    assert not Path("/tmp/mine").exists()


@needs_walls
def test_an_answer_sees_no_process_but_its_own_and_cannot_read_the_exercise(
    tmp_path: Path,
) -> None:
    lines = shown(
        tmp_path,
        "import glob, os\n"
        "names = {open(path).read().strip() for path in glob.glob('/proc/[0-9]*/comm')}\n"
        "print(sorted(names), max(int(p.split('/')[2]) for p in glob.glob('/proc/[0-9]*')) < 100)\n"
        "print(glob.glob('/tmp/proclife-*/exercises/*/*/*.py'))\n"
        "try: os.kill(1, 9)\n"
        "except PermissionError: print('refused')\n",
        *("--user", "nobody"),
    )
    assert lines[0].endswith(" True")
    assert lines[1:] == ["[]", "refused"]


@pytest.mark.slow
def test_notebooks_and_functions_run_as_another_user_too(tmp_path: Path) -> None:
    exercise = """
import pytest
pytestmark = pytest.mark.proclife_points(1)
def test_run(submission): assert submission.run().stdout == "65534\\n"
def test_call(submission, proclife):
    assert proclife.run(submission.call("show", 7)).stdout == "65534\\n7 65534\\n"
def test_start(submission, proclife):
    with proclife.start(submission) as main:
        assert main.wait().stdout == "65534\\n"
"""
    (tmp_path / "exercise.py").write_text(exercise)
    (tmp_path / "in").mkdir()
    lines = "import os\ndef show(n): print(n, os.getuid())", "print(os.getuid())"
    (tmp_path / "in/ada.py").write_text("\n".join(lines))
    write_notebook(tmp_path / "in/bob.ipynb", *lines)
    done = grade(tmp_path, "exercise.py", "in", "-o", "out", "--user", "nobody")
    assert done.returncode == 0, done.stderr
    scores = {name: (found["score"], found["marks"]) for name, found in results(tmp_path).items()}
    assert {name: score for name, (score, _) in scores.items()} == {"ada": 3, "bob": 3}, scores


FORKS = """
import os, time
for _ in range({}):
    if os.fork() == 0:
        {}; os._exit(0)
time.sleep(20)
"""
USES = {
    "memory": ("block = bytearray(b'x') * (300 << 20)", "MemoryError"),
    "memory_of_children": (
        FORKS.format(4, "block = bytearray(b'x') * (100 << 20); time.sleep(20)"),
        "The program used more than 250 MB of memory, so it was ended.",
    ),
    "cpu": (
        "import os\n[os.fork() for _ in range(2)]\nwhile True: pass",
        "The program used more than 2 s of processor time, so it was ended.",
    ),
    "processes": (
        FORKS.format(40, "time.sleep(20)"),
        "The program had more than 30 processes at the same time, so it was ended.",
    ),
    "output": (
        "while True: print('x' * 1000)",
        "The program printed more than 5 MB, so it was ended.",
    ),
    "file_size": (
        "open('large', 'wb').write(bytes(20 << 20))",
        "OSError: [Errno 27] File too large",
    ),
    "none": ("block = bytearray(100 << 20)\nopen('f', 'wb').write(bytes(9 << 20))", ""),
}
LIMITS = (
    *("--memory", "250M", "--cpu", "2", "--processes", "30"),
    *("--max-output", "5M", "--file-size", "10M"),
)


@pytest.mark.slow
@pytest.mark.parametrize("user", [(), ("--user", "nobody")], ids=["own", "user"])
def test_what_exceeds_a_limit_is_ended_and_says_so(
    user: tuple[str, ...], tmp_path: Path, mark: Mark
) -> None:
    text = SHOWS.replace("assert not run.stdout", "assert run.exitcode == 0")
    answers = {name: program for name, (program, _) in USES.items()}
    found = graded(tmp_path, *LIMITS, *user, "-j", "2", exercise=text, **answers)
    for name, (_, reason) in USES.items():
        (one,) = found[name]["marks"]
        assert found[name]["status"] == "graded", found[name]
        assert one["points"] == (0 if reason else 1), one
        assert any(reason in sentence for sentence in one["sentences"]) or not reason, one
        if "so it was ended" in reason:
            assert one["sentences"] == [reason]
    assert mark.living() == []


def test_a_limit_is_part_of_what_a_result_depends_on(tmp_path: Path) -> None:
    first = graded(tmp_path, ada=DAEMON)["ada"]
    limited = graded(tmp_path, "--memory", "900M", ada=DAEMON)["ada"]
    assert (first["score"], limited["score"]) == (3, 3)
    assert limited["key"] == first["key"] + "-memory=943718400"


CONNECTS = """
import multiprocessing, socket

if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        print(manager.list([1, 2]))
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    print([name for _, name in socket.if_nameindex()])
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=5)
    except OSError as error:
        print(error.strerror)
"""


@pytest.mark.slow
@pytest.mark.parametrize("user", [(), ("--user", "nobody")], ids=["own", "user"])
def test_without_a_network_there_is_the_loopback_device_alone(
    user: tuple[str, ...], tmp_path: Path
) -> None:
    lines = shown(tmp_path, CONNECTS, "--no-network", *user)
    assert lines == ["[1, 2]", "['lo']", "Network is unreachable"]


@pytest.mark.slow
def test_a_user_who_is_not_root_can_have_no_network(tmp_path: Path) -> None:
    # a user of a namespace, which has no capabilities once it executes something
    (tmp_path / "exercise.py").write_text(SHOWS)
    (tmp_path / "ada.py").write_text(CONNECTS)
    command = [sys.executable, "-m", "pytest_proclife", "grade", "exercise.py", "ada.py", "-o"]
    unshare = [
        "unshare",
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        *command,
        "out",
        "--no-network",
    ]
    done = subprocess.run(unshare, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (one,) = results(tmp_path)["ada"]["marks"]
    lines = [line.strip() for line in one["sentences"][0].splitlines()]
    assert lines == ["[1, 2]", "['lo']", "Network is unreachable"]
    unshare = [
        "unshare",
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        *command,
        "out",
        "--user",
        "nobody",
    ]
    done = subprocess.run(unshare, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125
    assert done.stderr == "proclife: --user: only root can run answers as another user\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    mostly_slow(
        [
            (("--user", "nobody_of_that_name"), "--user: there is no user 'nobody_of_that_name'"),
            (("--user", "root"), "--user: 'root' is root, who may do anything"),
            (("--memory", "12X"), "SIZE must be a size such as 512M or 2G, not '12X'"),
            (("--memory", "0"), "SIZE must be a size such as 512M or 2G, not '0'"),
            (("--processes", "-1"), "not '-1'"),
        ],
        1,
    ),
)
def test_a_wrong_argument_is_one_sentence(
    arguments: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "exercise.py").write_text(SHOWS)
    (tmp_path / "ada.py").write_text("pass")
    done = grade(tmp_path, "exercise.py", "ada.py", "-o", "out", *arguments)
    assert done.returncode == 125
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv")
def test_without_namespaces_a_python_that_the_user_cannot_reach_is_an_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "exercise.py").write_text(SHOWS)
    (tmp_path / "ada.py").write_text("import os; print(os.getuid())")
    (tmp_path / "bob.py").write_text("import os; print(os.getuid())")
    command = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    command += [sys.executable, "-m", "pytest_proclife", "grade", "exercise.py", "ada.py", "bob.py"]
    command += ["-j", "2", "-o", "out", "--user", "nobody"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:  # the user can reach this Python: then each runs alone
        assert "one at a time, since two answers of the same user could reach" in done.stderr
        sentences = [each["marks"][0]["sentences"][0] for each in results(tmp_path).values()]
        assert [text.strip() for text in sentences] == ["65534"] * 2
    else:
        assert done.stderr.startswith("proclife: --user: 'nobody' may not enter '")


def test_walls_that_cannot_be_had_say_why() -> None:
    assert refusal(Walls(network=False)) == ""


# Files in /tmp are memory, which only the kernel counts; each process alone stays below the limit.
FILLS = """
import os, time
for number in range(4):
    if os.fork() == 0:
        with open(f"/tmp/{number}", "wb") as file:
            for _ in range(60):
                file.write(bytes(1 << 20))
        os._exit(0)
for _ in range(4):
    os.wait()
"""


# Into a group that has no controllers, if they are of another hierarchy here.
JOINS = """
import pathlib, time
from pytest_proclife import run
from pytest_proclife.confinement import Confinement, User, confine
group = pathlib.Path("/sys/fs/cgroup/proclife-grade-test-0")
group.mkdir()
user = User(name="nobody", uid=65534, gid=65534, groups=(65534,))
confine(Confinement(user=user, limits={"cpu": 60}, cgroup=str(group)))
print(run(["/bin/sh", "-c", "grep ^0:: /proc/self/cgroup; id -u"]).stdout, end="")
while (group / "cgroup.procs").read_text():
    time.sleep(0.01)  # its end is no event of the group
group.rmdir()
"""


@pytest.mark.slow
def test_a_control_group_holds_files_in_memory_to_the_limit(tmp_path: Path, mark: Mark) -> None:
    # a hierarchy of version 2, if the machine has none with the controllers
    script = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
    shell = ["unshare", "-m", "sh", "-c", script, "sh"]
    look = "from pytest_proclife.exercises import cgroup; print(cgroup.find())"
    done = subprocess.run(
        [*shell, sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True
    )
    joined = subprocess.run(
        [*shell, sys.executable, "-c", JOINS], cwd=tmp_path, capture_output=True, text=True
    )
    assert joined.stdout.splitlines() == ["0::/proclife-grade-test-0", "65534"], joined.stderr
    if done.stdout == "None\n":
        return  # another hierarchy has the controllers: .ci/kernels 6.12 has a machine with them
    (tmp_path / "exercise.py").write_text(SHOWS)
    (tmp_path / "ada.py").write_text(FILLS)
    (tmp_path / "bob.py").write_text(DAEMON)
    command = [*shell, sys.executable, "-m", "pytest_proclife", "grade", "exercise.py"]
    command += ["ada.py", "bob.py", "-o", "out", "--user", "nobody", "--memory", "150M"]
    done = subprocess.run(command, cwd=tmp_path, env=mark.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert found["bob"]["score"] == 1, found
    assert found["ada"]["marks"][0]["sentences"] == [
        "The program used more than 150 MB of memory, so it was ended."
    ]
    assert mark.living() == []
    listed = subprocess.run([*shell, "ls", "/sys/fs/cgroup"], capture_output=True, text=True)
    assert "proclife-" not in listed.stdout
