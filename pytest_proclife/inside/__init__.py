"""Everything that runs in observed processes.

It imports the few C modules that every interpreter has loaded when it starts; others it
borrows (`borrow`), so that `sys.modules` stays the program's own. Never `os`, which `python -S`
has not loaded, and no `__future__`, which is an import too: hence annotations in quotes.
"""
