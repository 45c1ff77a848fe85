"""Processes of a run that are hard to tell from others: WHICH, the name of a function below."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SUPERVISOR = os.getppid()


@contextmanager
def unwatched() -> Iterator[None]:
    """What is reported meanwhile is read when all is over."""
    os.kill(SUPERVISOR, signal.SIGSTOP)
    yield
    os.kill(SUPERVISOR, signal.SIGCONT)


def forked(work: Callable[[], None]) -> None:
    """Run it in a fork, and wait for that."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)


def gone_with_new_connections() -> None:
    """Each makes a connection of its own, and is reaped before the supervisor looks."""
    os.closerange(3, 4096)
    with unwatched():
        for code in (3, 4, 5):
            forked(lambda code=code: os._exit(code))  # type: ignore[misc]


def gone_below_gone() -> None:
    """So is the parent of each, which is a fork that made a connection of its own."""
    os.closerange(3, 4096)

    def middle() -> None:
        os.closerange(3, 4096)
        forked(lambda: os._exit(4))
        os._exit(3)

    with unwatched():
        forked(middle)


def another_user() -> None:
    def work() -> None:
        os.setuid(65534)
        os.closerange(3, 4096)
        forked(lambda: os._exit(4))
        os._exit(3)

    forked(work)


def daemon_of_another_user() -> None:
    """Its parent has ended when it connects."""
    reader, writer = os.pipe()

    def middle() -> None:
        if os.fork() == 0:
            os.setuid(65534)
            os.close(writer)
            os.read(reader, 1)  # the end of the file: its parent has ended
            os.closerange(3, 4096)
            forked(lambda: os._exit(4))
            os._exit(3)

    forked(middle)


def namespace_of_pids() -> None:
    """Its pid is 1 where it is, and it inherits an orphan that nobody outside is a parent of."""

    def first() -> None:
        reader, writer = os.pipe()

        def middle() -> None:
            if os.fork() == 0:
                os.close(writer)
                os.read(reader, 1)  # the end of the file: its parent has ended
                os.closerange(3, 4096)
                os._exit(5)

        forked(middle)
        os.close(writer)
        os.wait()
        os._exit(3)

    if sys.version_info >= (3, 12):
        os.unshare(os.CLONE_NEWPID)
    forked(first)


globals()[sys.argv[1]]()
