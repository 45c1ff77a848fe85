import time

# as a daemon of Unix does: a session of its own, an orphan, no descriptor left
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 2000)
        time.sleep(600)
    os._exit(0)
