"""Programs that watch functions themselves: WHICH, and its arguments; then a child `later`."""

import sys
from typing import Any


def start_a_child() -> None:
    import multiprocessing
    import os

    child = multiprocessing.get_context("fork").Process(target=os.getpid, name="later")
    child.start()
    child.join()


def _function() -> int:
    return 1


if sys.version_info >= (3, 12):

    def uses(tool: str) -> None:
        import multiprocessing.process  # noqa: F401 - it is there before the tool is taken

        monitoring, number = sys.monitoring, int(tool)
        seen: list[str] = []

        def started(code: object, offset: int) -> None:
            seen.append(getattr(code, "co_name", ""))

        print([monitoring.get_tool(n) for n in range(6)])
        monitoring.use_tool_id(number, "mine")
        print([monitoring.get_tool(n) for n in range(6)])
        start = monitoring.events.PY_START
        print(monitoring.register_callback(number, start, started))
        monitoring.set_local_events(number, _function.__code__, start)
        _function()
        monitoring.set_events(number, start)
        _function()
        monitoring.set_events(number, 0)
        print(seen, monitoring.register_callback(number, start, None) is started)
        monitoring.free_tool_id(number)
        try:
            monitoring.set_events(9, 0)
        except ValueError as error:
            print(error)
        try:
            monitoring.use_tool_id("x", "y")  # type: ignore[arg-type]
        except TypeError as error:
            print(error)

    def takes_all() -> None:
        for number in range(6):
            sys.monitoring.use_tool_id(number, str(number))
        print([sys.monitoring.get_tool(number) for number in range(6)])


def traces(setting: str) -> None:
    import threading

    settings = {
        "sys.settrace": sys.settrace,
        "sys.setprofile": sys.setprofile,
        "threading.settrace": threading.settrace,
    }
    settings[setting](lambda frame, event, argument: None)


def traces_with_a_handler(setting: str, order: str) -> None:
    """A handler is set before the tracer is, or after it; what the tracer sees is printed."""
    import signal

    seen: list[str] = []
    monitoring: Any = getattr(sys, "monitoring", None)

    def note(frame: object, event: str, argument: object) -> None:
        seen.append(frame.f_code.co_name)  # type: ignore[attr-defined]

    def handle() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)

    def trace() -> None:
        if setting == "sys.monitoring":
            start = monitoring.events.PY_START
            monitoring.use_tool_id(0, "mine")
            monitoring.register_callback(0, start, lambda code, _: seen.append(code.co_name))
            monitoring.set_events(0, start)
        else:
            getattr(sys, setting)(note)

    for action in (handle, trace) if order == "before" else (trace, handle):
        action()
    seen.clear()
    sys.audit("mine")
    _function()
    if setting == "sys.monitoring":
        monitoring.set_events(0, 0)
    else:
        getattr(sys, setting)(None)
    print(seen)


def is_interrupted_in_audit_hooks(count: str) -> None:
    """Another process sends main one signal after the other, while it raises audit events."""
    import os
    import signal

    caught: list[int] = []
    told, tell = os.pipe()

    def catch(number: int, frame: object) -> None:
        caught.append(number)
        os.write(tell, b"1")

    signal.signal(signal.SIGUSR1, catch)
    if os.fork() == 0:
        for _ in range(int(count)):
            os.kill(os.getppid(), signal.SIGUSR1)
            os.read(told, 1)
        os._exit(0)
    while len(caught) < int(count):
        sys.audit("mine")
    os.wait()
    print(len(caught))


def audits() -> None:
    def hook(event: str, arguments: object) -> None:
        if event in ("os.system", "shutil.rmtree"):
            raise RuntimeError(event)

    sys.addaudithook(hook)
    import os

    try:
        os.system("true")
    except RuntimeError as error:
        print(error)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
    start_a_child()
