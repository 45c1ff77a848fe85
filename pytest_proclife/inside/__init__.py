"""Everything that runs in observed processes.

It imports the few C modules that every interpreter has loaded when it starts; others it
borrows (`borrow`), so that `sys.modules` stays the program's own. Never `os`, which `python -S`
has not loaded, and no `__future__`, which is an import too: hence annotations in quotes.

What a program can still tell, if it looks for it:

- one descriptor more, close-on-exec, 960 or the highest that its limit allows; its children have
  it too, since `subprocess` passes it on;
- `/proc/self/environ`, which the kernel keeps as it was at the start, and under -I, -E and -S
  `/proc/self/cmdline`;
- the type of `os._exit`, `os.closerange`, `os.execv`, `os.execve`, `os.posix_spawn`,
  `os.posix_spawnp`, `signal.pidfd_send_signal`, `signal.raise_signal`, `signal.sigwait` and its
  like, and `_posixsubprocess.fork_exec` (by `type()`; `isinstance` and `inspect` take them for
  builtin), and of `use_tool_id`, `free_tool_id`,
  `get_tool` of `sys.monitoring` (of `_signal.signal` on 3.11). A trace function sees their
  frames, and what runs below them (a `preexec_fn`, a handler of a signal to oneself) has these
  on its stack;
- the type of `create` of `_interpreters` too, and of `exec_dynamic` and `exec_builtin` of `_imp`
  while that is imported;
- an audit hook of its own sees the events of what the recorder asks for (`sys._getframe`,
  `object.__getattr__`); `-X importtime` and `-v` show the way in, `tracemalloc` its memory;
- if a handler of its own raises while a forked child announces itself, the exception is lost
  ("Exception ignored in"), as in the hooks that `threading` has for forks;
- on 3.11, the bytecode of the functions of multiprocessing and runpy that are rewritten.
"""
