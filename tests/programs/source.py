"""The text of a program: what a plan says, as a person would write it."""

from __future__ import annotations

from collections.abc import Iterator

from programs.grammar import Body, Child, Plan, Request

HEAD = """\
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading

from prelude import *
"""
FOOT = """
if __name__ == "__main__":
    if len(sys.argv) > 1:
        globals()[sys.argv[1]](int(sys.argv[2]))
    else:
        main(os.getppid())
"""


END = {
    "return": "return",
    "raise": 'raise LookupError("drawn")',
    "sys_exit_0": "sys.exit()",
    "sys_exit_3": "sys.exit(3)",
    "sys_exit_text": 'sys.exit("drawn")',
    "os_exit": "os._exit(7)",
    "c_exit": "exit_in_c(8)",
    "sigkill": "os.kill(os.getpid(), signal.SIGKILL)",
    "sigterm": "os.kill(os.getpid(), signal.SIGTERM)",
    "sighup": "signal.raise_signal(signal.SIGHUP)",
    "abort": "os.abort()",
}


def source(plan: Plan) -> str:
    parts = [HEAD]
    for body in plan.bodies():
        lines = "\n".join(f"    {line}" for line in _body(body, plan))
        parts.append(f"\n\ndef {body.name}(parent):\n{lines}\n")
    parts.append("\n" + FOOT)
    text = "".join(parts)
    kinds = {child.kind for _, child in plan.children()}
    if not kinds & {"process", "pool", "executor", "manager"}:
        for module in ("concurrent.futures", "multiprocessing.connection", "multiprocessing"):
            text = text.replace(f"import {module}\n", "", 1)
    return text


def _body(body: Body, plan: Plan) -> Iterator[str]:
    yield f'born("{body.name}")'
    if body.children:
        yield "me = os.getpid()"
    if body.watches:
        yield "watch_children()"
    for parent, child in plan.children():
        if child.body is body and parent.asker == body.name:
            yield from _requests(parent, "parent", "")
    for child in body.children:
        yield from _start(child)
        if child.when == "early":
            yield from _deal(child)
    yield from _deals(body, "late")
    yield from _asked(body)
    if body.waits == "parent":
        yield "wait_until_ended(parent)"
    elif body.waits == "gate":
        yield f'wait_for("gate.{body.name}")'
    yield from _deals(body, "last")
    yield from (f'tell("gate.{c.name}")' for c in body.children if c.deal == "thread_left")
    yield END[body.end]


def _deals(body: Body, when: str) -> Iterator[str]:
    for child in body.children:
        if child.when == when:
            yield from _deal(child)


def _asked(body: Body) -> Iterator[str]:
    """Each request may come as soon as the sender is told, so within the lines that catch it."""
    reactions = ", ".join(f'{r.signal}="{r.reaction}"' for r in body.requests)
    before = f'ready("{body.name}", {reactions})'
    for number, request in enumerate(body.requests):
        lines = [before, f'asked("sent.{body.name}.{number}")']
        match request.reaction:
            case "caught":
                yield from ("with catching():", *(f"    {line}" for line in lines))
            case "chained":
                yield from ("try:", *(f"    {line}" for line in lines))
                yield from ("except Asked:", '    raise LookupError("drawn")')
            case "note_then_again":
                yield from (*lines, f"again(signal.{request.signal})")
            case _:
                yield from lines
        before = f'tell("on.{body.name}.{number}")'


def _start(child: Child) -> Iterator[str]:
    name = child.name
    match child.kind:
        case "process":
            yield (
                f'{name}_ = multiprocessing.get_context("{child.method}").Process('
                f'target={name}, args=(me,), name="{name}", daemon={child.daemon})'
            )
            if child.deal == "implicit":
                yield f'at_exit("gate.{name}")'
            yield f"{name}_.start()"
        case "fork":
            yield f"{name}_ = os.fork()"
            yield from (f"if {name}_ == 0:", f"    {name}(me)", "    os._exit(0)")
        case "python" | "program" if not child.deal.startswith("run"):
            yield f"{name}_ = subprocess.Popen({_command(child)})"
            if child.kind == "program":
                yield f'born("{name}", {name}_.pid)'
        case _:
            pass  # it is started where it is dealt with


def _command(child: Child) -> str:
    if child.kind != "program":
        return f'[sys.executable, __file__, "{child.name}", str(me)]'
    mark = [] if child.program[0] == "sleep" else [child.name]
    return repr([*child.program, *mark])


def _deal(child: Child) -> Iterator[str]:
    name = child.name
    pid = f"{name}_" if child.kind == "fork" else f"{name}_.pid"
    if child.body.requests and child.deal == "abandoned":
        yield f'wait_for("ready.{name}")'
    elif child.body.requests and child.body.asker == "parent":
        yield from _requests(child.body, pid, f"{name}_")
    if child.belated:
        yield f"send_belatedly({pid}, signal.{child.belated})"
    if child.kind in ("pool", "executor", "manager"):
        yield from _group(child)
    else:
        yield from _collect(child, pid)


def _collect(child: Child, pid: str) -> list[str]:
    it = f"{child.name}_"
    process = child.kind == "process"
    ended = f"wait_until_finished({it})" if process else f"wait_until_ended({pid})"
    wait = "join" if process else "wait"
    if child.deal == "thread" and child.kind == "fork":
        return [f"in_thread(os.waitpid, {it}, 0)"]
    lines = {
        "join": [f"{it}.join()"],
        "join_timeout": [f"{it}.join(timeout=15)"],
        "wait": [f"{it}.wait()"],
        "wait_timeout": [f"{it}.wait(timeout=15)"],
        "communicate": [f"{it}.communicate()"],
        "communicate_timeout": [f"{it}.communicate(timeout=15)"],
        "run": [f"subprocess.run({_command(child)})"],
        "run_timeout": [f"subprocess.run({_command(child)}, timeout=15)"],
        "thread": [f"in_thread({it}.{wait})"],
        "thread_left": [f"threading.Thread(target={it}.join).start()"],
        # a sentinel is ready a moment before its process has ended
        "sentinel": [f"multiprocessing.connection.wait([{it}.sentinel])", ended, f"{it}.exitcode"],
        "is_alive": [ended, f"{it}.is_alive()"],
        "poll": [ended, f"{it}.poll()"],
        "active_children": [ended, "multiprocessing.active_children()"],
        "steal": [f"os.waitpid({pid}, 0)"],
        "waitpid": [f"os.waitpid({pid}, 0)"],
        "wnohang": [ended, f"os.waitpid({it}, os.WNOHANG)"],
        "watched": [f"wait_until_collected({it})"],
        "finished": [ended],
        "del": [ended, f"del {it}"],
    }
    return lines.get(child.deal, [])


def _group(child: Child) -> Iterator[str]:
    it = f"{child.name}_"
    if child.deal == "forgotten":
        yield f"global {it}"  # else it ends with the function, before the exit path
    context = f'multiprocessing.get_context("{child.method}")'
    match child.kind, child.deal:
        case "manager", "with":
            yield from (f"with {context}.Manager() as {it}:", f"    {it}.list([1]).append(2)")
        case "manager", deal:
            yield from (f"{it} = {context}.Manager()", f"{it}.list([1]).append(2)")
            if deal == "shutdown":
                yield f"{it}.shutdown()"
        case "executor", deal:
            make = f"concurrent.futures.ProcessPoolExecutor(2, mp_context={context})"
            if deal == "with":
                yield from (f"with {make} as {it}:", f"    {it}.submit(abs, -1).result()")
                return
            yield f"{it} = {make}"
            task = "leave_a_worker" if deal == "broken" else "abs, -1"
            wait = "exception" if deal == "broken" else "result"
            yield f"{it}.submit({task}).{wait}()"
            if deal != "forgotten":
                yield f"{it}.shutdown(wait={deal == 'broken'})"
        case _, deal:
            started = "2, exit_on_sigterm" if deal == "exit_on_sigterm" else "2"
            if deal == "with":
                yield from (
                    f"with {context}.Pool({started}) as {it}:",
                    f"    {it}.map(abs, [-1, -2])",
                )
                return
            yield from (f"{it} = {context}.Pool({started})", f"{it}.map(abs, [-1, -2])")
            if deal != "forgotten":
                yield f"{it}.{'close' if deal == 'close' else 'terminate'}()"
                yield f"{it}.join()"


def _requests(body: Body, pid: str, it: str) -> Iterator[str]:
    """What the sender does: it waits until the other is ready for each request."""
    has_gates = body.end != "exec"  # a program that is not Python is ready at once
    for number, request in enumerate(body.requests):
        if has_gates:
            before = f"on.{body.name}.{number - 1}" if number else f"ready.{body.name}"
            yield f'wait_for("{before}")'
        yield _send(request, pid, it, f"{body.name}_by_{number}")
        if has_gates:
            yield f'tell("sent.{body.name}.{number}")'


def _send(request: Request, pid: str, it: str, shell: str) -> str:
    number = f"signal.{request.signal}"
    match request.via:
        case "terminate" | "kill":
            return f"{it}.{request.via}()"
        case "send_signal":
            return f"{it}.send_signal({number})"
        case "pidfd":
            return f"send_by_pidfd({pid}, {number})"
        case "thread":
            return f"in_thread(os.kill, {pid}, {number})"
        case "shell":
            short = request.signal.removeprefix("SIG")
            return f'subprocess.run(["sh", "-c", f"kill -{short} {{{pid}}}", "{shell}"])'
        case _:
            return f"os.kill({pid}, {number})"
