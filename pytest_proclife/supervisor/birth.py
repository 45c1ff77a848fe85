"""How main comes into the world: spawned by the supervisor, made what the caller's child is."""

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
        """Spawn main; None, or the errno of what could not be executed.

        By posix_spawn(3), which does not copy the supervisor's memory. What it cannot set for
        main, the supervisor takes on: folder, umask, ignored signals, the limit of descriptors.
        """
        import resource

        # out of the way of the numbers that they are to have
        copies = [fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 10) for stream in self.streams]
        places = [(os.POSIX_SPAWN_DUP2, copy, place) for place, copy in enumerate(copies)]
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)
        handed = -1
        try:
            os.chdir(self.cwd)
            os.umask(self.umask)
            for number in self.ignored:
                _signal.signal(number, _signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
            if self.observed:
                handed = _handed_down(tree.reception.sending.fileno())
                ticket = self.environment[self.ticket]
                self.environment[self.ticket] = ticket.replace(b"FD", b"%d" % handed, 1)
            tree.epoch = time.monotonic_ns()
            pid = os.posix_spawn(
                self.executable,
                self.arguments,
                self.environment,
                file_actions=places,
                setpgroup=self.group,
                setsigmask=self.mask,
                setsigdef=[n for n in _signal.valid_signals() if n not in self.ignored],
            )
        except OSError as error:
            return error.errno or 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, raised)
            for descriptor in copies:
                os.close(descriptor)
            if handed >= 0:
                os.close(handed)
            tree.reception.sending.close()
        tree.add_main(pid, self.observed)
        return None


def _handed_down(sending: int) -> int:
    """Main's end of the socket at a high number, left open by exec; -1 if there is no room."""
    for number in _DESCRIPTORS:
        try:
            return fcntl.fcntl(sending, fcntl.F_DUPFD, number)
        except OSError:
            continue  # above the limit
    return -1
