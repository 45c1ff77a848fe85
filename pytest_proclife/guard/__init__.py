"""Leaks of a test suite's own processes: what was started, what is there, whose it is.

Nothing here waits for a child's status: who is there is read from /proc, ends are awaited by
pidfds, so that the code under test finds each wait status where it left it.
"""
