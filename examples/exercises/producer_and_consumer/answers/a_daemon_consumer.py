import time
from multiprocessing import Process, Queue


def produce(queue):
    for number in range(5):
        time.sleep(0.1)
        queue.put(number)


def consume(queue):
    while True:
        print(f"eaten: {queue.get()}", flush=True)


if __name__ == "__main__":
    queue = Queue()
    producer = Process(target=produce, args=(queue,), name="producer")
    consumer = Process(target=consume, args=(queue,), name="consumer", daemon=True)
    consumer.start()
    producer.start()
    producer.join()
    time.sleep(0.5)
    print("closed", flush=True)
