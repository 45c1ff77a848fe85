"""A process outside of a run that reports to its supervisor: HOW, the address, main's pid.

HOW is the name of a function below. "sent" on standard output means that all has been sent.
"""

import contextlib
import os
import socket
import sys
import time

from pytest_proclife import wire

ADDRESS, MAIN = sys.argv[2], int(sys.argv[3])
_numbers = iter(range(1 << 20))


def connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect("\0" + ADDRESS)
    return connection


def send(connection: socket.socket, kind: str, *fields: str, passed: tuple[int, ...] = ()) -> None:
    data = wire.pack(kind, next(_numbers), os.getpid(), time.monotonic_ns(), fields)
    with contextlib.suppress(OSError):  # closed by the other end
        socket.send_fds(connection, [data], passed, socket.MSG_NOSIGNAL)


def report_all(connection: socket.socket) -> None:
    """A process with a parent in the run, that asks main to end and has much that is unseen."""
    key = f"{os.getpid()}.{time.monotonic_ns()}"
    send(connection, wire.HELLO, key, f"{MAIN}.0", "new", "process", "3.13.0", "python", "python")
    main = os.pidfd_open(MAIN)
    send(connection, wire.RUN, str(MAIN), "process", "stranger", "0", "fork")
    send(connection, wire.KILL, str(MAIN), "15", "os.kill()", "x.py:1", passed=(main,))
    send(connection, wire.KILL_GROUP, "1", "15", "os.kill()", "x.py:1", "")
    send(connection, wire.UNSEEN, "ctypes.fork")
    send(connection, wire.EXEC, "0", "sh")
    send(connection, "?" + "\0" * 5)
    send(connection, wire.FINISHED, "raised", "ValueError", "", "", "", "", "")


def stays() -> None:
    connection = connect()
    report_all(connection)
    sent()
    sys.stdin.read()
    report_all(connection)


def ends() -> None:
    report_all(connect())
    sent()
    os._exit(0)


def leaves_a_fork() -> None:
    """Who connected is gone when its fork reports."""
    connection = connect()
    reader, writer = os.pipe()
    if os.fork():
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)  # the end of the file: the parent has ended
    report_all(connection)
    sent()
    sys.stdin.read()
    report_all(connection)


def is_another_user() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    stays()


def passes_descriptors() -> None:
    connection = connect()
    null = os.open(os.devnull, os.O_RDONLY)
    for _ in range(50):
        send(connection, wire.STARTED, *"123456", passed=(null,) * 40)
    sent()
    sys.stdin.read()


def floods() -> None:
    """Connect for a second, without an end, and keep what stays open."""
    until = time.monotonic() + 1
    connections = []
    while time.monotonic() < until:
        connections.append(connect())
        report_all(connections[-1])
        del connections[:-100]
        if len(connections) == 50:
            sent()
    sys.stdin.read()


def keeps_connections_of_the_gone() -> None:
    """Each is made by a fork that hands it on, and ends."""
    ours, its = socket.socketpair()
    connections = []
    for _ in range(100):
        pid = os.fork()
        if pid == 0:
            connection = connect()
            socket.send_fds(its, [b"."], [connection.fileno()])
            os._exit(0)
        os.waitpid(pid, 0)
        connections += socket.recv_fds(ours, 1, 1)[1]
    sent()
    sys.stdin.read()


def takes_mains_descriptor() -> None:
    """Report over main's own connection, which a process of the same user can take from it."""
    import ctypes

    main = os.pidfd_open(MAIN)
    library = ctypes.CDLL(None, use_errno=True)
    taken = library.syscall(438, main, 960, 0)  # pidfd_getfd(2)
    if taken < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    report_all(socket.socket(fileno=taken))
    sent()
    sys.stdin.read()


def sent() -> None:
    print("sent", flush=True)


globals()[sys.argv[1]]()
