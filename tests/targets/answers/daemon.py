"""An answer with a daemon that main's end cuts off."""

import multiprocessing


def session(ready):
    ready.set()
    multiprocessing.Event().wait()


if __name__ == "__main__":
    ready = multiprocessing.Event()
    multiprocessing.Process(target=session, args=(ready,), daemon=True).start()
    ready.wait()
