"""Who this process is in the run, and its reports: one write each, numbered, never kept back."""

import itertools
import os
import sys
import time

from pytest_proclife import wire

address = ""  # abstract name of the supervisor's listening socket
key = ""  # this process's name for itself, told to its children
parent_key = ""
pid = 0
descriptor = -1
_identity = None  # (device, inode) of our socket, to notice that the program took its number
_numbers = itertools.count()
_lost = False


def join_run(run_address, inherited, parent):
    """Take up the connection: the descriptor handed down, or a new one by address."""
    global address, descriptor, _identity, parent_key, pid, key
    address, parent_key = run_address, parent
    pid = os.getpid()
    key = "%d.%d" % (pid, time.monotonic_ns())
    if inherited >= 0:
        try:
            status = os.fstat(inherited)
        except OSError:
            status = None
        if status is not None and status.st_mode & 0o170000 == 0o140000:
            os.set_inheritable(inherited, False)
            descriptor, _identity = inherited, (status.st_dev, status.st_ino)
            return
    _connect()


def _connect():
    global descriptor, _identity
    import fcntl

    import _socket

    # a bare _socket.socket: the wrapper class in socket.py costs an import of 3 ms
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    connection.connect("\0" + address)
    low = connection.detach()
    descriptor = low
    try:
        for number in (960, 240, 48):  # numbers that programs do not count on
            try:
                descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, number)
                break
            except OSError:
                continue  # above the program's own limit of descriptors
    finally:
        if descriptor != low:
            os.close(low)
    status = os.fstat(descriptor)
    _identity = (status.st_dev, status.st_ino)


def usable_descriptor():
    """The number of our socket; a new one where the program closed or replaced it."""
    try:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) == _identity:
            return descriptor
    except OSError:
        pass
    _connect()
    return descriptor


def report(kind, *fields):
    """Write one report at once. Errors are swallowed: the program must not see them."""
    global _lost
    data = wire.pack(kind, next(_numbers), pid, time.monotonic_ns(), fields)
    if _lost:
        return
    try:
        os.write(usable_descriptor(), data)
    except Exception:
        # The number was used up, so the reader sees the gap. A channel that is gone
        # (the supervisor was killed) is not asked again: connecting would cost each time.
        _lost = not _reachable()


def prepare_to_report_about():
    """Import what `report_about` needs, before there is a child whose race it could change."""
    import _socket  # noqa: F401


def report_about(kind, child, *fields):
    """Write a report with a pidfd of the process it is about, if that can still be had."""
    try:
        handle = os.pidfd_open(child)
    except (OSError, AttributeError):
        report(kind, *fields)
        return
    try:
        import _socket

        data = wire.pack(kind, next(_numbers), pid, time.monotonic_ns(), fields)
        connection = _socket.socket(fileno=usable_descriptor())
        try:
            rights = handle.to_bytes(4, sys.byteorder)
            connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        finally:
            connection.detach()
    except Exception:
        pass  # as in report(): the gap in the numbers tells
    finally:
        os.close(handle)


def _reachable():
    try:
        _connect()
    except Exception:
        return False
    return True


def introduce(how, kind):
    """Announce this process: the first report, before anything else can happen to it."""
    if how == "fork":
        report(wire.HELLO, key, parent_key, how, kind, "", "")
        return
    arguments = [wire.clip(text, 1000) for text in sys.orig_argv[: wire.ARGV_LIMIT]]
    version = "%d.%d.%d" % sys.version_info[:3]
    report(wire.HELLO, key, parent_key, how, kind, version, sys.executable or "", *arguments)


def after_fork():
    """In a forked child: a name of its own, one write, and nothing else."""
    global key, parent_key, pid, _numbers
    parent_key = key
    pid = os.getpid()
    key = "%d.%d" % (pid, time.monotonic_ns())
    _numbers = itertools.count()
    report(wire.HELLO, key, parent_key, "fork", "os_fork", "", "")
