"""Suites that replace functions and modules, and that close or use up descriptors."""

from __future__ import annotations

import re

import pytest
from conftest import mostly_slow
from guarding import FORK_HEAD, SUITES, accounts, guarded

pytestmark = pytest.mark.once


def test_it_finds_the_same_whatever_functions_tests_replace(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_replaced_functions.py", wait=0.1)
    result.assert_outcomes(passed=3)
    assert "2 leaked" in result.stdout.str()
    both = sorted(accounts(result, "test_suite.py::test_leaves"))
    assert re.match(r"ForkProcess-1 .*in test_leaves", both[0])
    assert re.match(r"sleep .*in test_leaves", both[1])
    (orphan,) = accounts(result, "test_suite.py::test_leaves_an_orphan")
    assert re.match(r"s(leep|h) .*in test_leaves_an_orphan", orphan)


def test_leaks_are_reported_later_if_no_file_can_be_read(suite: pytest.Pytester) -> None:
    text = """
    class TestWithoutFiles:
        @pytest.fixture(scope="class", autouse=True)
        def no_files(self):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("builtins.open", lambda *args, **kwargs: 1 / 0)
                yield
        def test_runs(self): subprocess.run(["true"])
        def test_leaves(self): leave()
        def test_is_fine(self): pass
    def test_after(): pass
    """
    result = guarded(suite, text, wait=0.1)
    result.assert_outcomes(passed=4)
    assert "1 process leaked by 1 test" in result.stdout.str()
    (leak,) = accounts(result, "test_suite.py::TestWithoutFiles::test_leaves")
    assert leak.startswith("sleep (")


@pytest.mark.slow
def test_the_line_of_a_start_is_known_if_no_file_can_be_read(suite: pytest.Pytester) -> None:
    text = """
    def test_it(monkeypatch):
        import multiprocessing.popen_fork
        monkeypatch.setattr("builtins.open", lambda *args, **kwargs: 1 / 0)
        multiprocessing.get_context("fork").Process(target=len, args=("",)).start()
    """
    result = guarded(suite, text, wait=0.1)
    result.assert_outcomes(passed=1)
    assert "ForkProcess-1 (process, " in result.stdout.str()
    assert "test_suite.py:9 in test_it" in result.stdout.str()


@pytest.mark.parametrize(
    "deed",
    mostly_slow(
        [
            'FORK.Process(target=len, args=("",)).start()',
            "threading.Thread(target=stop.wait).start()",
            "os.closerange(20, 5000); threading.Thread(target=stop.wait).start()",
        ]
    ),
)
def test_it_changes_no_outcome_if_a_test_has_no_descriptor_left(
    suite: pytest.Pytester, deed: str
) -> None:
    text = f"""
    stop = threading.Event()
    @pytest.fixture(scope="module", autouse=True)
    def filled():
        yield
        for number in kept: os.close(number)
    def test_fills():
        {deed}
        with pytest.raises(OSError):
            while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    def test_next(): stop.set()
    """
    result = guarded(suite, text, head=FORK_HEAD, wait=0.1)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.slow
def test_a_test_that_counts_its_descriptors_finds_none_of_the_guards(
    suite: pytest.Pytester,
) -> None:
    result = guarded(suite, SUITES / "guard_counting_descriptors.py", wait=0.1)
    result.assert_outcomes(passed=3)
    assert "1 leaked" in result.stdout.str()


def test_after_all_descriptors_were_closed_it_works_again_from_the_next_test_on(
    suite: pytest.Pytester,
) -> None:
    text = """
    def test_closes():
        os.closerange(20, 5000)
    def test_leaves():
        kept.append(subprocess.Popen(["sleep", "600"]))
    def test_leaves_an_orphan():
        subprocess.run("sleep 600 >&- 2>&- &", shell=True)
    """
    result = guarded(suite, text, "-W", "error", head=FORK_HEAD)
    result.assert_outcomes(passed=3)
    shown = result.stdout.str()
    assert "2 leaked" in shown
    assert "test_suite.py::test_closes closed the guard's file descriptors, so " in shown
    (leak,) = accounts(result, "test_suite.py::test_leaves")
    assert re.match(r"sleep .* started at test_suite.py:12 in test_leaves", leak)
    (orphan,) = accounts(result, "test_suite.py::test_leaves_an_orphan")
    assert re.match(r"s(h|leep) .* started by sh, which was started at .*:14 in", orphan)


def test_the_test_that_closed_all_descriptors_is_named_while_a_fixture_of_wider_scope_is_in_use(
    suite: pytest.Pytester,
) -> None:
    text = """
    @pytest.fixture(scope="module")
    def wide():
        yield
    def test_first(wide):
        pass
    def test_closes(wide):
        os.closerange(20, 5000)
    def test_leaves_an_orphan(wide):
        subprocess.run("sleep 600 >&- 2>&- &", shell=True)
    """
    result = guarded(suite, text, head=FORK_HEAD)
    shown = result.stdout.str()
    assert "test_suite.py::test_closes closed the guard's file descriptors, so " in shown
    assert "test_leaves_an_orphan closed" not in shown
    (orphan,) = accounts(result, "test_suite.py::test_leaves_an_orphan")
    assert re.match(r"s(h|leep) .* started by sh, which was started at .*:17 in", orphan)


@pytest.mark.parametrize("what", mostly_slow(["multiprocessing.popen_fork.Popen", "os.fork"]))
def test_a_process_whose_popen_is_a_mock_is_not_one(suite: pytest.Pytester, what: str) -> None:
    text = f"""
    from unittest import mock
    def test_mocked():
        import multiprocessing.popen_fork
        with mock.patch("{what}"):
            FORK.Process(target=len, args=("",)).start()
        multiprocessing.process._children.clear()
    def test_next(): pass
    """
    result = guarded(suite, text, head=FORK_HEAD, wait=0.1)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.slow
def test_a_mock_of_multiprocessing_does_not_blind_it_for_good(suite: pytest.Pytester) -> None:
    text = """
    from unittest import mock
    class TestWithout:
        @pytest.fixture(scope="class", autouse=True)
        def mocked(self):
            name = "multiprocessing.process"
            with mock.patch.dict(sys.modules, {name: mock.MagicMock()}): yield
        def test_it(self): os.waitpid(os.fork() or os._exit(0), 0)
    def test_leaves(): FORK.Process(target=len, args=("",)).start()
    """
    result = guarded(suite, text, head=FORK_HEAD, wait=0.1)
    result.assert_outcomes(passed=2)
    (leak,) = accounts(result, "test_suite.py::test_leaves")
    assert leak.startswith("ForkProcess-1 (process")


@pytest.mark.slow
def test_an_argument_that_is_not_text_is_shown_escaped(suite: pytest.Pytester) -> None:
    text = r"""
    def test_it():
        kept.append(subprocess.Popen(["true", b"\xff"]))
        os.waitid(os.P_PID, kept[0].pid, os.WEXITED | os.WNOWAIT)
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=1)
    assert r"command line: true '\udcff'" in result.stdout.str()


@pytest.mark.slow
def test_a_name_that_raises_an_error_does_no_harm(suite: pytest.Pytester) -> None:
    text = """
    class Odd(str):
        def __str__(self): return self
        def __contains__(self, part): raise RuntimeError("odd")
    def test_leaves():
        kept.append(FORK.Process(target=time.sleep, args=(600,), name=Odd("odd")))
        kept[0].start()
    def test_next(): pass
    """
    result = guarded(suite, text, head=FORK_HEAD, wait=0.1)
    result.assert_outcomes(passed=2, errors=0)
    shown = result.stdout.str()
    assert "1 leaked" in shown
    assert "test_suite.py::test_leaves leaked 1 process" in shown
