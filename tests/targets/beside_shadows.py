"""Beside files of its own with the names of modules of C, which it imports."""

import _socket
import fcntl
import os
import select
import sys

if os.fork() == 0:
    os.closerange(3, 4096)
    os._exit(3)
os.wait()
for module in (fcntl, _socket, select):
    # an interpreter may have it built in, which then comes before the file
    print(getattr(module, "NAME", "built in"), sys.modules[module.__name__] is module)
