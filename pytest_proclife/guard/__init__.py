"""Leaks of a test suite: which processes it started, which still exist, and who owns them.

Nothing here takes a child's wait status: /proc tells which processes exist, and pidfds when they
exit. So the code under test finds each status where it left it.
"""
