"""The first lines of ours in a new interpreter: undo the way in, announce, set the watches."""

import os
import sys

from pytest_proclife import wire
from pytest_proclife.inside import commandline, leaving, program, recorder, requests, watch, workers


def enter(site, root):
    """Join the run that the environment names, if it names one."""
    ticket = os.environ.pop(wire.VARIABLE, None)
    path = os.environ.get("PYTHONPATH")
    if path == site:
        del os.environ["PYTHONPATH"]
    elif path is not None and path.startswith(site + ":"):
        os.environ["PYTHONPATH"] = path[len(site) + 1 :]
    if ticket is None or sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        return
    commandline.restore(sys.orig_argv)
    address, inherited, parent, kind, start_method = ticket.split(",")
    recorder.join_run(address, int(inherited), parent)
    recorder.introduce("new", kind)
    os.register_at_fork(after_in_child=_after_fork)
    program.carry_on(site, root)
    leaving.install(kind)
    requests.install()
    workers.install(start_method, kind)
    watch.begin()


def _after_fork():
    leaving.forget()
    recorder.after_fork()


def main_is_running():
    """The text of -c, which let us in, is __main__ already."""
    leaving.main_begins(sys._getframe(3).f_code, recorder.kind)
