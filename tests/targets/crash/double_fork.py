"""A service is forked twice, and main ends it by the pid that it gets: SIGTERM may be first."""

import os
import signal
import sys

MENDED = sys.argv[1:] == ["mended"]


def serve(reader: int, writer: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.write(writer, str(os.getpid()).encode())
    os.close(writer)
    if MENDED and not os.read(reader, 1):
        os._exit(1)  # main has ended
    signal.pause()


def stop(number: int, frame: object) -> None:
    if pid:
        os.kill(pid, signal.SIGTERM)
    os._exit(0)


if __name__ == "__main__":
    pid = 0
    signal.signal(signal.SIGTERM, stop)
    from_service, to_main = os.pipe()
    from_main, to_service = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(to_service)
        serve(from_main, to_main)
    os.waitpid(middle, 0)
    received = int(os.read(from_service, 10))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    pid = received
    os.write(to_service, b".")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    stop(0, None)
