"""A program that hangs: the line of its code, what it waits for, and who could have ended that."""

import multiprocessing

import pytest

from pytest_proclife import HangKind, RunTimeout


def fill(prices):
    prices.put(1)
    raise KeyError("price")


def feed():
    prices = multiprocessing.Queue()
    filler = multiprocessing.Process(target=fill, args=(prices,), name="filler")
    filler.start()
    prices.get()
    multiprocessing.connection.wait([filler.sentinel])
    print("ready", flush=True)
    prices.get()  # nobody is left that could put anything


def test_the_consumer_of_a_dead_producer_waits_for_ever(proclife):
    with proclife.start(feed) as main:
        main.wait_for_output("ready\n")
        main.wait_for(lambda run: main.stacks().main.hangs[0].kind is HangKind.NOBODY)
        with pytest.raises(RunTimeout, match=r"main was in Queue\.get at test_hang\.py") as caught:
            main.wait(timeout=0)
    run = caught.value.run
    hang = run.main.hangs[0]
    assert (hang.call, hang.where.function) == ("Queue.get", "feed")
    assert [run.processes[other].name for other in hang.others] == ["filler"]
