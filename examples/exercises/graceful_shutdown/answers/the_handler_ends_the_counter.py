import signal
from multiprocessing import Event, Process


def count(stop):
    ticks = 0
    while not stop.is_set():
        print("tick", flush=True)
        ticks += 1
        stop.wait(0.1)
    print(f"saved: {ticks}", flush=True)


if __name__ == "__main__":
    stop = Event()
    signal.signal(signal.SIGTERM, lambda number, frame: counter.kill())
    counter = Process(target=count, args=(stop,), name="counter")
    counter.start()
    counter.join()
