"""Programs that watch functions themselves: WHICH, and its arguments; then a child `later`."""

import sys


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
