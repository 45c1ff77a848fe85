"""A timer of pytest-timeout whose time is over when the tree stands."""

import os
import threading


class Timer(threading.Timer):
    def run(self):
        with open(os.environ["GO"]) as pipe:
            pipe.read()
        self.function(*self.args, **self.kwargs)


threading.Timer = Timer
