"""Servers with workers, as their users run them: stopped, killed, and failing at their start."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TARGETS, Mark

import pytest_proclife
from pytest_proclife import Cause, RunningMain, assert_shut_down

pytestmark = [pytest.mark.once, pytest.mark.slow]  # the servers do the work

LISTENING = r"(?:Listening at:|running on) http://127\.0\.0\.1:(\d+)"


@contextmanager
def gunicorn(
    mark: Mark,
    home: Path,
    app: str = "served:wsgi",
    *,
    workers: int = 2,
    timeout: int = 30,
    linger: float = 0.0,
) -> Iterator[RunningMain]:
    """gunicorn by its console script."""
    pytest.importorskip("gunicorn")
    command = ["gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket"]
    command += ["--workers", str(workers), "--timeout", str(timeout)]
    command += ["--worker-tmp-dir", str(home), app]
    with pytest_proclife.start(command, env=_environment(mark), cwd=TARGETS, linger=linger) as main:
        yield main
    assert mark.living() == []


@contextmanager
def uvicorn(mark: Mark) -> Iterator[RunningMain]:
    """uvicorn with two workers, which it spawns, as a module."""
    pytest.importorskip("uvicorn")
    arguments = ["--port", "0", "--workers", "2", "served:asgi"]
    target = pytest_proclife.Module("uvicorn")
    with pytest_proclife.start(target, arguments, env=mark.env, cwd=TARGETS, linger=0.0) as main:
        main.wait_for_output("Application startup complete", times=2)
        yield main
    assert mark.living() == []


def _environment(mark: Mark) -> dict[str, str]:
    folders = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    return {**mark.env, "PATH": os.pathsep.join(folders)}


def _answer(main: RunningMain) -> bytes:
    port = main.wait_for_output(LISTENING)[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
        content: bytes = response.read()
        return content


def test_gunicorn_that_is_terminated_takes_its_workers_along(mark: Mark, tmp_path: Path) -> None:
    with gunicorn(mark, tmp_path) as main:
        main.wait_for_output("Booting worker", times=2)
        assert _answer(main) == b"ok"
        main.terminate()
        run = main.wait()
    # each notes the signal in its handler, and leaves by sys.exit() from its loop
    assert [p.cause for p in (run.main, *run.children)] == [Cause.SYS_EXIT] * 3
    pytest_proclife.assert_shut_down(run.main, by="test", signal="SIGTERM", exitcode=0)
    pytest_proclife.assert_shut_down(run.children, by=run.main, signal="SIGTERM", exitcode=0)
    assert not run.orphans
    assert run.witness.complete


def test_gunicorns_workers_outlive_a_master_that_is_killed(mark: Mark, tmp_path: Path) -> None:
    with gunicorn(mark, tmp_path) as main:
        main.wait_for_output("Booting worker", times=2)
        workers = main.wait_for_children(2)
        main.kill()
        run = main.wait()
    assert (run.main.cause, run.main.ended_by) == (Cause.KILLED, "test")
    assert [p.pid for p in run.orphans] == [p.pid for p in workers]
    assert [p.cause for p in run.orphans] == [Cause.CLEANED_UP] * 2


def test_gunicorns_workers_leave_by_themselves_when_they_see_that_their_master_is_gone(
    mark: Mark, tmp_path: Path
) -> None:
    with gunicorn(mark, tmp_path, timeout=1, linger=60.0) as main:
        assert _answer(main) == b"ok"
        main.wait_for_output("Booting worker", times=2)
        main.kill()
        run = main.wait(timeout=60.0)
    assert len(run.orphans) == 2
    assert [p.cause for p in run.orphans] == [Cause.SYS_EXIT] * 2
    assert [p.requests for p in run.orphans] == [(), ()]


def test_gunicorn_whose_worker_fails_to_boot_says_so(mark: Mark, tmp_path: Path) -> None:
    # one: where two fail, gunicorn stumbles over the second while it stops for the first
    with gunicorn(mark, tmp_path, "no_database:wsgi", workers=1) as main:
        run = main.wait()
        with pytest.raises(pytest_proclife.RunOver, match="Worker failed to boot"):
            main.wait_for_output("Listening forever")
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 3)  # gunicorn's WORKER_BOOT_ERROR
    (worker,) = run.children
    assert (worker.cause, worker.exitcode, worker.orphaned) == (Cause.SYS_EXIT, 3, False)


def test_uvicorn_that_is_terminated_takes_its_workers_along(mark: Mark) -> None:
    with uvicorn(mark) as main:
        assert _answer(main) == b"ok"
        main.terminate()
        run = main.wait()
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 0)
    pytest_proclife.assert_shut_down([run.main, *run.children])
    assert [p.start_method for p in run.children] == ["spawn"] * 2
    # each drains its connections, and then sends itself the signal that it had caught
    assert [(p.cause, p.signal) for p in run.children] == [(Cause.TERMINATED, "SIGTERM")] * 2
    assert [p.ended_by for p in run.children] == [run.main.id] * 2


def test_uvicorns_workers_outlive_a_parent_that_is_killed(mark: Mark) -> None:
    with uvicorn(mark) as main:
        main.kill()
        run = main.wait()
    assert run.main.cause is Cause.KILLED
    assert [p.cause for p in run.orphans] == [Cause.CLEANED_UP] * 2


def test_pytest_with_two_workers_ends_them(mark: Mark, tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    arguments = ["-n", "2", "-p", "xdist.plugin", "-p", "no:cacheprovider", str(tmp_path)]
    env = {**mark.env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    target = pytest_proclife.Module("pytest")
    with pytest_proclife.start(target, arguments, env=env, cwd=tmp_path) as main:
        run = main.wait(timeout=60.0)
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 0), run.stdout
    workers = [p for p in run.children if p.children or p.target_ran]
    assert [(p.cause, p.exitcode, p.orphaned) for p in workers] == [(Cause.RETURNED, 0, False)] * 2
    assert mark.living() == []


@pytest.mark.parametrize("leaves", ["return", "sys.exit"])
def test_a_consumer_that_notes_sigterm_and_ends_its_workers_has_its_own_end(leaves: str) -> None:
    target = str(TARGETS / "consumer.py")
    with pytest_proclife.start(target, [leaves]) as main:
        main.wait_for_output("ready")
        main.terminate()
        run = main.wait()
    assert run["idle"].cause is run["busy"].cause is Cause.RETURNED
    assert [r.by for r in run["busy"].requests] == [run.main.id]
    if leaves == "return":
        assert run.main.cause is Cause.RETURNED
    elif sys.version_info >= (3, 12):
        assert run.main.cause is Cause.SYS_EXIT
    else:  # nobody sees there where main's SystemExit came from
        assert run.main.cause is Cause.UNKNOWN
    assert_shut_down(run.main, by="test", signal="SIGTERM", exitcode=0)
    assert_shut_down(run["busy"], by=run.main, signal="SIGTERM")
