"""What the guard knows of starts, and that the program under test does not notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAD = """
import json, os, subprocess, sys
from pytest_proclife.guard.owners import Owner, of_this_process
turns = of_this_process()
turns.current = mine = Owner(name="mine")
register = turns.register
def left():
    turns.settle()
    there = register.left_by([mine])
    return [(one.seen.pid, one.start and one.start.kind, one.exact) for one in there]
def tell(**facts):
    print(json.dumps(facts))
"""


def told(text: str, before: str = "") -> dict[str, object]:
    """What a program says that has the guard's register."""
    done = subprocess.run(
        [sys.executable, "-c", before + HEAD + text],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.mark.parametrize(
    "how",
    [
        "subprocess.Popen(['/bin/cat'], stdin=reader)",
        "subprocess.Popen(['cat'], stdin=reader, cwd='/')",
        "subprocess.Popen(['cat'], stdin=reader, close_fds=False)",
        "subprocess.Popen(['cat'], stdin=reader, preexec_fn=lambda: None)",
        "subprocess.Popen(['cat'], stdin=reader, start_new_session=True)",
        "subprocess.Popen('cat', stdin=reader, shell=True, env={})",
    ],
)
def test_each_way_to_start_a_program_hands_down_a_tag_of_its_own(how: str) -> None:
    facts = told(f"""
reader, writer = os.pipe()
first = subprocess.Popen(["/bin/cat"], stdin=reader)
process = {how}
from pytest_proclife.guard.proc import position
from pytest_proclife.inside.guard import tags as tagging
tags = [position(pid, tagging.tag) for pid in (first.pid, process.pid)]
found = left()
known = [register.ledger.by_tag(tag).pid for tag in tags]
os.close(writer)
codes = [first.wait(), process.wait()]
tell(found=found, pids=[first.pid, process.pid], known=known, codes=codes, after=left())
""")
    pids = facts["pids"]
    assert isinstance(pids, list)
    assert facts["known"] == pids
    assert {tuple(one) for one in facts["found"]} >= {(pid, "subprocess", True) for pid in pids}  # type: ignore[attr-defined]
    assert facts["codes"] == [0, 0]
    assert facts["after"] == []


def test_an_orphan_of_a_program_is_known_by_the_tag_alone() -> None:
    facts = told("""
reader, writer = os.pipe()
shells = [
    subprocess.run(f"exec 3<&0; (cat <&3 >&2 & echo $!)", shell=True, stdin=reader,
        stdout=subprocess.PIPE) for _ in range(2)
]
pids = [int(shell.stdout) for shell in shells]
turns.settle()
whose = {one.seen.pid: (one.start.name, one.exact) for one in register.left_by([mine])}
tell(pids=pids, whose=whose)
os.close(writer)
""")
    pids = facts["pids"]
    assert isinstance(pids, list)
    assert facts["whose"] == {str(pid): ["sh", False] for pid in pids}


def test_a_shell_of_os_system_hands_the_tag_down() -> None:
    facts = told("""
reader, writer = os.pipe()
os.set_inheritable(reader, True)
os.system(f"cat <&{reader} & echo $! >&2")
turns.settle()
one, = register.left_by([mine])
tell(name=one.start.name, where=one.start.where)
os.close(writer)
""")
    assert facts["name"] == "sh"
    assert str(facts["where"]).startswith("<string>:")


def test_an_error_of_a_start_is_as_it_was_and_shows_no_frame_of_ours() -> None:
    facts = told("""
import traceback
texts = []
for start in (
    lambda: subprocess.Popen(["/no/such/program"]),
    lambda: subprocess.Popen(["no-such-program"], cwd="/"),
    lambda: os.posix_spawn("/no/such/program", ["x"], {}),
    lambda: subprocess._fork_exec(["true"], [b"true"], True, (18, 3), *[None] * 19),
):
    try:
        start()
        texts.append("nothing was raised")
    except (OSError, TypeError, ValueError):
        texts.append(traceback.format_exc())
tell(texts=texts)
""")
    texts = facts["texts"]
    assert isinstance(texts, list)
    assert len(texts) == 4
    for text in texts:
        assert "pytest_proclife" not in text
    assert [("FileNotFoundError" in text) for text in texts[:3]] == [True] * 3


def test_what_a_preexec_fn_changes_is_changed_and_it_is_no_fork() -> None:
    facts = told("""
reader, writer = os.pipe()
os.set_inheritable(writer, True)
process = subprocess.Popen(
    ["sh", "-c", "umask"], preexec_fn=lambda: os.umask(0o027), stdout=subprocess.PIPE, text=True
)
out = process.communicate()[0]
starts = register.ledger.news()
tell(out=out, kinds=[start.kind for start in starts])
""")
    assert facts["out"] == "0027\n"
    assert facts["kinds"] == ["subprocess"]


def test_who_says_which_descriptors_a_program_has_gets_these_alone() -> None:
    facts = told("""
reader, writer = os.pipe()
words = [sys.executable, "-c", "import os; print(*sorted(map(int, os.listdir('/proc/self/fd'))))"]
out = subprocess.run(words, pass_fds=[reader], stdout=subprocess.PIPE, text=True).stdout
tell(found=[int(word) for word in out.split()], reader=reader)
""")
    found = facts["found"]
    assert isinstance(found, list)
    assert max(found) <= max(int(str(facts["reader"])), 3) + 1  # that of the listing is the last


def test_the_first_process_of_a_program_that_imports_multiprocessing_late_has_its_name() -> None:
    facts = told("""
early = "multiprocessing" in sys.modules
import multiprocessing, threading
process = multiprocessing.get_context("fork").Process(target=threading.Event().wait, name="late")
process.start()
turns.settle()
one, = register.left_by([mine])
tell(early=early, name=one.start.name, kind=one.start.kind, exact=one.exact)
process.kill()
process.join()
""")
    assert facts == {
        "early": sys.version_info < (3, 12),
        "name": "late",
        "kind": "process",
        "exact": True,
    }


def test_it_is_blind_and_does_no_harm_where_its_descriptors_are_closed() -> None:
    facts = told("""
from pytest_proclife.inside.guard import tags as tagging
os.close(tagging.tag)
os.close(tagging.ledger)
other = [os.open("/dev/null", os.O_RDWR) for _ in range(3)]
process = subprocess.Popen(["true"])
code = process.wait()
child = os.fork()
if child == 0:
    os._exit(3)
status = os.waitpid(child, 0)[1]
quiet = turns.end_quietly(mine)
turns.settle()
tell(code=code, status=status, quiet=quiet, lost=turns.notes.is_lost)
""")
    assert facts == {"code": 0, "status": 3 << 8, "quiet": False, "lost": True}


def test_a_number_that_the_program_took_over_is_not_written_to(tmp_path: Path) -> None:
    facts = told(f"""
from pytest_proclife.inside.guard import tags as tagging
file = os.open({str(tmp_path / "theirs")!r}, os.O_RDWR | os.O_CREAT)
os.dup2(file, tagging.ledger)
os.dup2(file, tagging.tag)
subprocess.run(["true"])
if os.fork() == 0:
    os._exit(0)
os.wait()
tell(size=os.fstat(file).st_size)
""")
    assert facts == {"size": 0}


def test_threads_of_the_program_are_no_processes_of_it() -> None:
    facts = told("""
import threading
reader, writer = os.pipe()
stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(3)]
process = subprocess.Popen(["cat"], stdin=reader)
for thread in threads:
    thread.start()
found = left()
stop.set()
os.close(writer)
process.wait()
tell(found=found, pid=process.pid)
""")
    assert facts["found"] == [[facts["pid"], "subprocess", True]]


def test_a_fork_that_says_its_pid_and_drops_the_tag_while_it_is_looked_for_is_found() -> None:
    facts = told(
        """
child = os.fork()
if child == 0:
    held.append(True)
    if os.fork() == 0:
        os.dup2(said, 3)
        os.closerange(4, 10_000)
        os.write(3, b".")
        time.sleep(600)
    os._exit(0)
os.waitpid(child, 0)
read_news = register._read_news
def read_and_let_go():
    news = read_news()
    if not held:
        held.append(True)
        os.write(go, b".")
        os.read(closed, 1)
    return news
register._read_news = read_and_let_go
turns.settle()
found = [(one.start.kind, one.exact) for one in register.left_by([mine])]
tell(found=found)
for one in register.left_by([mine]):
    os.kill(one.seen.pid, 9)
""",
        # the hooks of children run in the order of their registration: this one first
        before="""
import os, time
held = []
waits, go = os.pipe()
closed, said = os.pipe()
os.register_at_fork(after_in_child=lambda: held and os.read(waits, 1))
""",
    )
    assert facts["found"] == [["os_fork", True]]


def test_what_a_fork_of_the_program_starts_has_its_own_line() -> None:
    facts = told("""
import signal
ready, said = os.pipe()
def below():
    subprocess.Popen(["sleep", "600"])
    os.write(said, b".")
    signal.pause()
child = os.fork()
if child == 0:
    below()
os.read(ready, 1)
turns.settle()
found = {one.start.kind: one.start.where for one in register.left_by([mine])}
tell(found=found)
for one in register.left_by([mine]):
    os.kill(one.seen.pid, 9)
""")
    found = facts["found"]
    assert isinstance(found, dict)
    assert found["subprocess"].endswith(" in below")
    assert found["os_fork"].endswith(" in <module>")


def test_a_worker_is_one_where_its_own_start_does_more() -> None:
    facts = told("""
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import context
class Process(context.ForkProcess):
    def start(self):
        super().start()
class Context(context.ForkContext):
    pass
Context.Process = Process
pool, manager = Context().Pool(1), Context().Manager()
executor = ProcessPoolExecutor(1, mp_context=Context())
executor.submit(len, "").result()
turns.settle()
tell(kinds=sorted(one.start.kind for one in register.left_by([mine])))
executor.shutdown()
manager.shutdown()
pool.terminate()
""")
    assert facts["kinds"] == ["executor_worker", "manager", "pool_worker"]


@pytest.mark.parametrize("how", ["os.posix_spawn('/bin/sleep', ['sleep', '600'], {})", ""])
def test_what_a_signal_handler_starts_in_the_midst_of_our_code_is_known(how: str) -> None:
    facts = told(f"""
from pytest_proclife.inside.guard import tags as tagging
real, kept = tagging.new_tag, []
def new_tag():
    tagging.new_tag = real
    {how or "kept.append(subprocess.Popen(['sleep', '600']))"}
    return real()
tagging.new_tag = new_tag
child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has said its pid by then
turns.settle()
found = {{one.seen.pid: one.start.name for one in register.left_by([mine]) if one.exact}}
tell(found=sorted(found.values()))
for pid in found:
    os.kill(pid, 9)
""")
    assert facts["found"] == ["", "sleep"]


def test_a_process_that_its_popen_starts_alone_is_a_fork_by_that_line() -> None:
    facts = told("""
import time
from multiprocessing.context import ForkProcess
process = ForkProcess(target=time.sleep, args=(600,))
def starts():
    return ForkProcess._Popen(process)
popen = starts()
turns.settle()
while not (found := [one for one in register.left_by([mine]) if one.start.pid]):
    turns.settle()  # it has not said its pid yet
start = found[0].start
tell(pid=start.pid == popen.pid, kind=start.kind, where=start.where)
popen.kill()
""")
    assert facts["pid"]
    assert facts["kind"] == "os_fork"
    assert str(facts["where"]).endswith(" in starts")


def test_no_note_is_kept_of_what_has_been_started_and_the_name_is_the_last_one() -> None:
    facts = told("""
import time
from multiprocessing.context import ForkProcess
from pytest_proclife.inside.guard import hooks
class Renamed(ForkProcess):
    @staticmethod
    def _Popen(process):
        process.name = "renamed"
        return ForkProcess._Popen(process)
process = Renamed(target=time.sleep, args=(600,))
process.start()
turns.settle()
name = [one.start.name for one in register.left_by([mine])]
process.kill()
process.join()
tell(kept=len(hooks.starting), name=name)
""")
    assert facts == {"kept": 0, "name": ["renamed"]}


def test_a_pool_that_could_not_be_made_is_none() -> None:
    facts = told("""
from multiprocessing import get_context
ForkProcess = get_context("fork").Process
process = ForkProcess(target=len, args=("",))
process.start()
process.join()
def forks():
    raise BlockingIOError
real, os.fork = os.fork, forks
try:
    get_context("fork").Pool(1)
except BlockingIOError as error:
    failed = True
os.fork = real
turns.settle()
tell(failed=failed, owned=register.is_owned)
""")
    assert facts == {"failed": True, "owned": False}


@pytest.mark.parametrize(
    ("event", "how"),
    [
        ("os.posix_spawn", "os.posix_spawn('/bin/true', ['true'], {})"),
        ("open", "os.system('true')"),  # of the new tag
    ],
)
def test_a_fork_of_a_signal_handler_goes_on_in_the_midst_of_our_code(event: str, how: str) -> None:
    facts = told(f"""
import signal, threading
def handler(*_):
    children.append(os.fork())
def hook(event, arguments):
    if armed and event == {event!r} and (event != "open" or "self/fd" in str(arguments[0])):
        armed.clear()
        signal.raise_signal(signal.SIGUSR1)
children, armed, stop = [], [], threading.Event()
other = threading.Thread(target=stop.wait)
other.start()
signal.signal(signal.SIGUSR1, handler)
sys.addaudithook(hook)
armed.append(True)
try:
    {how}
except RuntimeError:
    os._exit(3)
if 0 in children:
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
stop.set()
tell(code=code)
""")
    assert facts == {"code": 0}


def test_a_fork_holds_no_lock_whoever_held_it() -> None:
    facts = told("""
import threading
from pytest_proclife.inside.guard import hooks
def forks():
    child = os.fork()
    if child == 0:
        free = [hooks._lock.acquire(blocking=False)]
        hooks._lock.release()
        other = threading.Thread(target=lambda: free.append(hooks._lock.acquire(blocking=False)))
        other.start()
        other.join()
        os._exit(free != [True, True])
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
codes, held, stop = [], threading.Event(), threading.Event()
thread = threading.Thread(target=forks)
thread.start()
thread.join()
def holds():
    with hooks._lock:
        held.set()
        stop.wait()
thread = threading.Thread(target=holds)
thread.start()
held.wait()
forks()  # when it has no patience left
stop.set()
thread.join()
tell(codes=codes, forks=hooks._forks)
""")
    assert facts == {"codes": [0, 0], "forks": 0}
