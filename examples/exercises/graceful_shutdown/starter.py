import signal
from multiprocessing import Event, Process


def count(stop): ...


if __name__ == "__main__":
    stop = Event()
