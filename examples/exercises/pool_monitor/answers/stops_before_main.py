import time
from multiprocessing import Event, Pool, Process


def square(number):
    time.sleep(0.1)
    return number * number


def watch(enough):
    print("monitor: alive", flush=True)
    while not enough.wait(0.05):
        print("monitor: alive", flush=True)


if __name__ == "__main__":
    enough = Event()
    monitor = Process(target=watch, args=(enough,), name="monitor", daemon=True)
    monitor.start()
    with Pool(2) as pool:
        squares = pool.map(square, range(1, 7))
        enough.set()
        while monitor.is_alive():
            time.sleep(0.05)
    print("squares:", squares, flush=True)
