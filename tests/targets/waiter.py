"""A process that waits for a main of its own: TARGET FIFO HOW."""

import os
import sys

import pytest_proclife

target, fifo, how = sys.argv[1:]
with pytest_proclife.start(target, [fifo]) as main:
    if how == "body":
        sys.stdin.read()
    elif how == "fork":
        sys.stdin.readline()
        if os.fork() == 0:
            try:
                main.wait(timeout=0.0)
            except RuntimeError as error:
                print(error)
            main.__exit__(None, None, None)
            sys.stdout.flush()
            os._exit(0)
        os.wait()
        print("then", main.snapshot().main.ending)
    else:
        main.wait(timeout=None)
