"""Forked children that exit at once, all at the same time: as many as the argument says."""

import os
import sys

if __name__ == "__main__":
    children = []
    for number in range(int(sys.argv[1])):
        child = os.fork()
        if child == 0:
            os._exit(number % 7)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
