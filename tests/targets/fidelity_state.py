"""Prints what a program can see of itself, as JSON: one key for each thing."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # nothing is imported before it has been looked at
    from collections.abc import Iterator
    from typing import Any

_modules = sorted(sys.modules)  # before anything is imported here
_modules_seen = dict(sys.modules)
_names = {name: repr(value) for name, value in globals().items() if not name.startswith("_mod")}


def _see() -> None:
    import atexit
    import builtins
    import fcntl
    import inspect
    import io
    import json
    import os
    import pickle
    import resource
    import signal
    import subprocess
    import threading

    seen: dict[str, object] = {
        "sys.modules": _modules,
        "__main__": _names,
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "path": sys.path,
        "flags": repr(sys.flags),
        "warnoptions": sys.warnoptions,
        "xoptions": {k: str(v) for k, v in sys._xoptions.items()},
        "pycache_prefix": sys.pycache_prefix,
        "environ": dict(os.environ),
        "environb": repr(os.environb),
        "posix.environ": repr(sys.modules["posix"].environ),
        "env of a child": subprocess.run(
            ["env"], capture_output=True, text=True, errors="backslashreplace"
        ).stdout,
        "env of a Python": subprocess.run(
            [sys.executable, "-c", "import os; print(dict(os.environ))"],
            capture_output=True,
            text=True,
        ).stdout,
        "cwd": os.getcwd(),
        "umask": _status("Umask"),
        "signals": [_status(name) for name in ("SigBlk", "SigIgn", "SigCgt", "Threads")],
        "handlers": [repr(signal.getsignal(n)) for n in sorted(signal.valid_signals())],
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "wakeup_fd": signal.set_wakeup_fd(-1),
        "threads": [thread.name for thread in threading.enumerate()],
        "rlimits": [
            resource.getrlimit(getattr(resource, name))
            for name in sorted(dir(resource))
            if name.startswith("RLIMIT_")
        ],
        "group": os.getpgrp() == os.getpid(),
        "meta_path": repr(sys.meta_path),
        "path_hooks": repr(sys.path_hooks),
        "path_importer_cache": sorted(sys.path_importer_cache),
        "excepthook": repr(sys.excepthook),
        "hooks": [repr(h) for h in (sys.displayhook, sys.unraisablehook, sys.breakpointhook)],
        "trace": [sys.gettrace(), sys.getprofile()],
        "builtins": sorted(vars(builtins)),
        "exit handlers": atexit._ncallbacks(),
        "stack": [(f.function, f.lineno) for f in inspect.stack()],
        "origins": {
            name: repr(getattr(module, "__spec__", None))
            for name, module in _modules_seen.items()
            if name != "__main__"
        },
        "cached": {
            name: getattr(getattr(module, "__spec__", None), "cached", None)
            for name, module in _modules_seen.items()
        },
        "module names": {
            name: sorted(vars(module))
            for name, module in {**_modules_seen, **sys.modules}.items()
            if name != "__main__"
        },
        "streams": [
            (stream.encoding, stream.errors, stream.line_buffering)
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "stdin": sys.stdin.read() if sys.argv[0] != "-" else "",
        "builtin functions": {
            name: (
                repr(function),
                function.__module__,
                function.__qualname__,
                function.__doc__,
                repr(function.__self__),
                inspect.isbuiltin(function),
                isinstance(function, type(len)),
                function.__text_signature__,
                pickle.loads(pickle.dumps(function)) is function,
                repr(pickle.dumps(function)),
                type("Holder", (), {"held": function})().held is function,
            )
            for name, function in _functions(os)
        },
        "tools": [sys.monitoring.get_tool(n) for n in range(6)]
        if sys.version_info >= (3, 12)
        else [],
        "dispositions of a child": subprocess.run(
            ["grep", "^Sig[BIC]", "/proc/self/status"], capture_output=True, text=True
        ).stdout,
        "open_code": repr(io.open_code),
    }
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            flags = fcntl.fcntl(int(name), fcntl.F_GETFD)
            link = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # that of the listing
        descriptors[name] = (link.partition(":")[0], flags)
    seen["descriptors"] = descriptors
    print(json.dumps(seen, indent=1))


def _functions(os: "Any") -> "Iterator[tuple[str, Any]]":
    yield "_exit", os._exit
    yield "execv", os.execv
    yield "execve", os.execve
    yield "posix_spawn", os.posix_spawn
    yield "posix_spawnp", os.posix_spawnp


def _status(name: str) -> "str | None":
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return line.strip()
    return None


_see()
