"""The purpose of a Process of multiprocessing, and the function that it runs."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def kind_of(process: "Any") -> str:
    """The kind of a child, by the function of multiprocessing that it runs."""
    target = getattr(process, "_target", None)
    function = getattr(target, "__func__", target)
    name = getattr(function, "__name__", None)
    module = getattr(function, "__module__", None) or ""
    if name == "worker" and module.endswith(".pool"):
        return "pool_worker"
    if name == "_process_worker" and module.startswith("concurrent.futures"):
        return "executor_worker"
    if name is None and type(target).__name__ == "Worker":
        module = type(target).__module__  # billiard's, a callable object
        return "pool_worker" if module == "billiard.pool" else "process"
    if name == "_run_server" and module.endswith(".managers"):
        return "manager"
    return "process"


def run_of(process: "Any") -> object:
    """Its `run`, unbound; to get the attribute could run code of the program."""
    for names in (process.__dict__, *(kind.__dict__ for kind in type(process).__mro__)):
        if "run" in names:
            run = names["run"]
            return run.__func__ if isinstance(run, staticmethod | classmethod) else run
    return None
