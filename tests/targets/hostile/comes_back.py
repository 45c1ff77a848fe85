import time


def guard(other):
    """Start anew whoever of the two was killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            os.kill(other, 0)
        except OSError:
            me = os.getpid()
            child = os.fork()
            other = child or me
        time.sleep(0.001)


if os.fork() == 0:
    os.setsid()
    first = os.getpid()
    child = os.fork()
    guard(child or first)
time.sleep(1)
