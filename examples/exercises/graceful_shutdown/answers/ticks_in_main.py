import signal
import time

stopped = False


def stop(number, frame):
    global stopped
    stopped = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    ticks = 0
    while not stopped:
        print("tick", flush=True)
        ticks += 1
        time.sleep(0.1)
    print(f"saved: {ticks}", flush=True)
