"""How main comes into the world: forked from the supervisor, made what the caller's child is."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import fcntl
import os
import time

from pytest_proclife.supervisor.tree import Tree

Request = dict[str, object]
Limits = tuple[int, int]

_DESCRIPTORS = (960, 240, 48)  # numbers that programs do not count on, the first that fits


def raise_descriptor_limit() -> Limits:
    """Allow a pidfd for each process of a storm; returns the limits as they were."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # then a storm of more processes than that is recorded by pid alone
    return soft, hard


class Birth:
    """What main is to be. The names are those of the request that `runner` writes."""

    def __init__(self, request: Request, streams: list[int], limits: Limits) -> None:
        self.executable: str = request["executable"]  # type: ignore[assignment]
        self.arguments: list[str] = request["arguments"]  # type: ignore[assignment]
        self.environment: dict[bytes, bytes] = request["env"]  # type: ignore[assignment]
        self.ticket: bytes = request["ticket"]  # type: ignore[assignment]
        self.cwd: str = request["cwd"]  # type: ignore[assignment]
        self.umask: int = request["umask"]  # type: ignore[assignment]
        self.group: int = request["group"]  # type: ignore[assignment]
        self.ignored: list[int] = request["ignored"]  # type: ignore[assignment]
        self.mask: list[int] = request["mask"]  # type: ignore[assignment]
        self.observed = bool(request["observed"])
        self.streams = streams  # become 0, 1, 2 and, where there is one, 3
        self.limits = limits

    def start(self, tree: Tree) -> int | None:
        """Fork and exec main; None, or the errno of what could not be executed."""
        failed_reader, failed_writer = os.pipe2(os.O_CLOEXEC)
        sending = tree.reception.sending
        self.address = tree.reception.address.encode()
        tree.epoch = time.monotonic_ns()
        pid = os.fork()
        if pid == 0:
            try:
                self._become(sending.fileno())
            except OSError as error:
                os.write(failed_writer, b"%d" % (error.errno or 0))
            finally:
                os._exit(127)
        os.close(failed_writer)
        sending.close()
        tree.add_main(pid, self.observed)
        number = os.read(failed_reader, 100)  # returns when exec has closed the other end
        os.close(failed_reader)
        if number:
            os.waitpid(pid, 0)
            return int(number)
        return None

    def _become(self, sending: int) -> None:
        import resource

        os.setpgid(0, self.group)
        for number in range(1, _signal.NSIG):
            try:
                _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                continue  # SIGKILL, SIGSTOP, and the two that the C library keeps
        for number in self.ignored:
            _signal.signal(number, _signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
        if self.observed:
            handed = b"%d" % _handed_down(sending)
            text = self.environment[self.ticket].replace(b"ADDRESS", self.address, 1)
            self.environment[self.ticket] = text.replace(b"FD", handed, 1)
        # first out of the way of the numbers below, then there
        copies = [fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 10) for stream in self.streams]
        for place, copy in enumerate(copies):
            os.dup2(copy, place)
        os.chdir(self.cwd)
        os.umask(self.umask)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.mask)
        os.execve(self.executable, self.arguments, self.environment)


def _handed_down(sending: int) -> int:
    """Main's end of the socket at a high number, left open by exec; -1 if there is no room."""
    for number in _DESCRIPTORS:
        try:
            return fcntl.fcntl(sending, fcntl.F_DUPFD, number)
        except OSError:
            continue  # above the limit
    return -1
