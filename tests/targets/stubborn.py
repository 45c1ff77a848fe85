"""A tree that does all it can to stay: says "ready" on a named pipe when it stands."""

import os
import signal
import sys


def stay() -> None:
    while True:
        signal.pause()


def fork(what) -> None:  # type: ignore[no-untyped-def]
    if os.fork() == 0:
        what()
        stay()


def ignore() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def daemonize() -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(3, 4096)


def bomb(generations: int = 3) -> None:
    for _ in range(3):
        if generations and os.fork() == 0:
            bomb(generations - 1)
            stay()


def main() -> None:
    for what in (ignore, stop, os.setsid, daemonize, bomb):
        fork(what)
    with open(sys.argv[1], "w") as pipe:
        pipe.write("ready\n")
    if sys.argv[2:] == ["leave"]:
        os._exit(3)
    stay()


if __name__ == "__main__":
    main()
