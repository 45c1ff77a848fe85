"""New programs: subprocess, posix_spawn, exec, the interpreters of spawn and forkserver.

A Python is let in through PYTHONPATH; one that does not look there (-I, -E, -S) through its
program text, where it has one. What is neither is recorded from outside only.
"""

import os
import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, commandline, recorder, rewrite, watch

_site = ""
_real = {}


def carry_on(site, root):
    """From here on let the recorder into what this process starts."""
    global _site
    _site = site
    folder = "python%d.%d/" % sys.version_info[:2]
    watch.on_module(folder + "subprocess.py", _subprocess)
    watch.on_event("os.system", lambda arguments: recorder.report(wire.UNSEEN, "os.system"))
    posix = sys.modules["posix"]
    for name, wrapper in (
        ("execv", _execv),
        ("execve", _execve),
        ("posix_spawn", _posix_spawn),
        ("posix_spawnp", _posix_spawnp),
    ):
        _real[name] = getattr(posix, name)
        wrapper.__name__ = wrapper.__qualname__ = name
        wrapper.__doc__ = _real[name].__doc__
        setattr(posix, name, wrapper)
        setattr(os, name, wrapper)


def _subprocess(code):
    """subprocess is about to run: it, and multiprocessing.util, take fork_exec from here."""
    import _posixsubprocess

    if "fork_exec" not in _real:
        _real["fork_exec"] = _posixsubprocess.fork_exec
        _posixsubprocess.fork_exec = _fork_exec
        watch.on_event("subprocess.Popen", _on_popen)


def _fork_exec(args, executables, close_fds, keep, cwd, env, *rest):
    caller = sys._getframe(1)
    try:
        kind = _kind(caller)
        args = list(args)
        plan = commandline.plan(executables, args, cwd)
        recorder.prepare_to_report_about()
        if plan.observed:
            descriptor = recorder.usable_descriptor()
            env = _with_ticket(env, kind, descriptor, plan)
            if descriptor >= 0:
                keep = tuple(sorted({*keep, descriptor}))
        arguments = plan.arguments
    except Exception:
        plan, arguments, kind = None, args, "subprocess"
    pid = _real["fork_exec"](arguments, executables, close_fds, keep, cwd, env, *rest)
    if plan is not None and kind != "process":
        _report_start(pid, kind, plan.observed, args, caller)
    return pid


def _kind(caller):
    if caller.f_code.co_name == "spawnv_passfds":
        path = caller.f_back.f_code.co_filename
        for kind in ("resource_tracker", "forkserver"):
            if path.endswith("/%s.py" % kind):
                return kind
        return "process"  # its start() reports it
    return "subprocess"


def _report_start(pid, kind, observed, args, caller):
    try:
        texts = [wire.clip(os.fsdecode(text), 1000) for text in args[: wire.ARGV_LIMIT]]
        where = callsite.where(caller)
        flag = wire.flag(observed)
        name = texts[0].rsplit("/", 1)[-1] if texts else ""
        recorder.report_about(
            wire.STARTED, pid, str(pid), kind, name, "", "", flag, where, *texts
        )
    except Exception:
        pass  # the observed program must never see a fault of the recorder


def _with_ticket(env, kind, descriptor, plan):
    """The environment as a list of `NAME=value`, with the way to the run in it."""
    if env is None:
        env = [name + b"=" + value for name, value in os.environb.items()]
    else:
        env = list(env)
    ticket = ",".join((recorder.address, str(descriptor), recorder.key, kind, ""))
    env.append(wire.VARIABLE.encode() + b"=" + ticket.encode())
    if plan.by_path:
        site = os.fsencode(_site)
        for index, item in enumerate(env):
            if item.startswith(b"PYTHONPATH="):
                env[index] = b"PYTHONPATH=" + site + b":" + item[11:]
                break
        else:
            env.append(b"PYTHONPATH=" + site)
    return env


def _mapping_with_ticket(env, kind, plan):
    """The same for the functions that take a mapping, or None for our own (3.13 on)."""
    env = os.environ if env is None else env
    items = [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in env.items()]
    return dict(item.split(b"=", 1) for item in _with_ticket(items, kind, -1, plan))


# --- posix_spawn


def _on_popen(arguments):
    """The first Popen: its method _posix_spawn gets its arguments from us (3.11 on)."""
    del watch._handlers["subprocess.Popen"]
    function = sys.modules["subprocess"].Popen.__dict__.get("_posix_spawn")
    if function is None:
        return

    def edit(tree, put):
        for node in rewrite.walk(tree):
            for block in (getattr(node, "body", None),):
                for index, line in enumerate(block if isinstance(block, list) else ()):
                    call = getattr(line, "value", None)
                    called = getattr(call, "func", None)
                    if getattr(called, "attr", None) == "posix_spawn":
                        executable, args, env = call.args
                        call.args[2] = put.call(_popen_env, env, *(executable, args, env))
                        call.args[1] = put.call(_popen_args, args, *(args,))
                        call.func = put.item(_real["posix_spawn"], called)
                        block.insert(index + 1, put.statement(_popen_started, line))
                        return

    rewrite.recompile(function, edit)


_spawning = {}  # the arguments of a Popen that is under way -> its plan


def _popen_args(args):
    try:
        texts = list(args)
        plan = commandline.plan([texts[0]], texts, None)
        return plan.arguments
    except Exception:
        return args


def _popen_env(executable, args, env):
    try:
        plan = commandline.plan([executable], list(args), None)
        _spawning[id(args)] = plan
        if plan.observed:
            return _mapping_with_ticket(env, "subprocess", plan)
    except Exception:
        pass  # the program starts unobserved, and is recorded so
    return env


def _popen_started():
    frame = sys._getframe(1)
    variables = frame.f_locals
    try:
        args = variables["args"]
        plan = _spawning.pop(id(args), None)
        observed = plan is not None and plan.observed
        _report_start(variables["self"].pid, "subprocess", observed, list(args), frame)
    except Exception:
        pass  # as above


def _posix_spawn(path, argv, env, /, **options):
    return _spawn("posix_spawn", path, argv, env, options)


def _posix_spawnp(path, argv, env, /, **options):
    return _spawn("posix_spawnp", path, argv, env, options)


def _spawn(name, path, argv, env, options):
    observed, arguments = False, argv
    try:
        plan = commandline.plan(commandline.candidates(path, name == "posix_spawnp"), list(argv))
        if plan.observed:
            env = _mapping_with_ticket(env, "posix_spawn", plan)
            observed, arguments = True, plan.arguments
    except Exception:
        pass  # the program starts unobserved, and is recorded so
    pid = _real[name](path, arguments, env, **options)
    _report_start(pid, "posix_spawn", observed, list(argv), sys._getframe(2))
    return pid


# --- exec


def _execv(path, argv, /):
    plan = _before_exec(path, argv)
    if plan is not None and plan.observed:
        _real["execve"](path, plan.arguments, _mapping_with_ticket(os.environ, "exec", plan))
    else:
        _real["execv"](path, argv)


def _execve(path, argv, env):
    plan = _before_exec(path, argv)
    if plan is not None and plan.observed:
        argv, env = plan.arguments, _mapping_with_ticket(env, "exec", plan)
    _real["execve"](path, argv, env)


def _before_exec(path, argv):
    try:
        texts = [wire.clip(os.fsdecode(text), 1000) for text in argv[: wire.ARGV_LIMIT]]
        plan = commandline.plan([path], list(argv), None)
        os.stat(path)  # a PATH search tries many; what is not there replaces nothing
        recorder.report(wire.EXEC, wire.flag(plan.observed), *texts)
        return plan
    except Exception:
        return None
