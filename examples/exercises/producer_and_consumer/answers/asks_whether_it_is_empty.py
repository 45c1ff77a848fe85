import time
from multiprocessing import Process, Queue


def produce(queue):
    for number in range(5):
        time.sleep(0.1)
        queue.put(number)


def consume(queue):
    while not queue.empty():
        print(f"eaten: {queue.get()}", flush=True)


if __name__ == "__main__":
    queue = Queue()
    producer = Process(target=produce, args=(queue,), name="producer")
    consumer = Process(target=consume, args=(queue,), name="consumer")
    producer.start()
    consumer.start()
    producer.join()
    consumer.join()
    print("closed", flush=True)
