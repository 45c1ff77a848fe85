"""Everything that runs in observed processes.

It may import `sys`, `posix`, `os` and `io` (and `_socket` where it must), never what
the program has not imported itself: an import costs every fork of the program.
"""
