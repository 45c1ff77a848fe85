"""Mains of libraries that bring process classes, or pools of them, of their own."""

import importlib
import os
import signal
import sys


def returns() -> None:
    pass


def raises() -> None:
    raise LookupError("no such lesson")


def exits() -> None:
    sys.exit(3)


def exits_at_once() -> None:
    os._exit(7)


def waits() -> None:
    print("at work,", os.getpid(), flush=True)
    while True:
        signal.pause()


def work(number: int) -> None:
    waits()


def children(library: str, method: str, *names: str) -> None:
    """Children of a library's own Process, joined when they are at their end."""
    module = importlib.import_module("loky.backend" if library == "loky" else library)
    context = module.get_context(method)
    started = [context.Process(target=globals()[name], name=name) for name in names]
    for process in started:
        process.start()
    for process in started:
        process.join()


def loky_executor() -> None:
    loky = importlib.import_module("loky")

    list(loky.get_reusable_executor(max_workers=2).map(work, range(2)))


def joblib_parallel() -> None:
    joblib = importlib.import_module("joblib")

    joblib.Parallel(n_jobs=2)(joblib.delayed(work)(number) for number in range(2))


def pool_that_is_closed(library: str) -> None:
    with importlib.import_module(library).Pool(2) as pool:
        pool.map(abs, range(2))
        pool.close()
        pool.join()


def billiard_pool() -> None:
    billiard = importlib.import_module("billiard")

    with billiard.Pool(2) as pool:
        pool.map(work, range(2), chunksize=1)
