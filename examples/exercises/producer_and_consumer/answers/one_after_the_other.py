import time
from multiprocessing import Process, Queue


def produce(queue):
    for number in range(5):
        time.sleep(0.1)
        queue.put(number)
    queue.put(None)


def consume(queue):
    while (number := queue.get()) is not None:
        print(f"eaten: {number}", flush=True)


if __name__ == "__main__":
    queue = Queue()
    producer = Process(target=produce, args=(queue,), name="producer")
    consumer = Process(target=consume, args=(queue,), name="consumer")
    producer.start()
    producer.join()
    consumer.start()
    consumer.join()
    print("closed", flush=True)
