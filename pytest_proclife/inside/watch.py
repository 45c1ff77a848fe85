"""See functions of the standard library run, without a frame of ours in any traceback.

From 3.12 on by `sys.monitoring` local events, which replace nothing; on 3.11, which has no
such thing, by rewriting the few functions in question (`rewrite`). The module's code object
arrives with the audit event `exec` before it has run, and its functions' code objects stand
in its constants, so that no import has to be hooked.
"""

import sys

from pytest_proclife.inside import rewrite

MONITORING = sys.version_info >= (3, 12)
TOOL = 4  # of sys.monitoring; 0 to 2 and 5 are meant for debuggers, coverage, profilers

_modules = {}  # "folder/file.py" -> function(code of the module)
_handlers = {}  # audit event -> function(arguments)
_starts = {}  # code -> function(frame)
_returns = {}  # code -> function(frame, value)
_calls = {}  # code -> function(frame, callable)
_loaded = []  # 3.11: weak references that tell the end of an import


def on_event(event, handler):
    _handlers[event] = handler


def on_module(tail, handler):
    """Have `handler(code)` called when a module whose file ends so is about to run."""
    _modules[tail] = handler


def begin():
    if MONITORING:
        _claim_tool()
    _handlers.setdefault("exec", _on_exec)
    sys.addaudithook(_on_audit)


def _claim_tool():
    global TOOL
    monitoring = sys.monitoring
    for tool in (4, 3, 5):
        try:
            monitoring.use_tool_id(tool, "proclife")
        except ValueError:
            continue  # in use; the interpreter is a debugger's, say
        TOOL = tool
        break
    else:
        raise RuntimeError("no free tool of sys.monitoring")
    events = monitoring.events
    monitoring.register_callback(TOOL, events.PY_START, _on_start)
    monitoring.register_callback(TOOL, events.PY_RETURN, _on_return)
    monitoring.register_callback(TOOL, events.CALL, _on_call)


def _on_audit(event, arguments):
    handler = _handlers.get(event)
    if handler is not None:
        try:
            handler(arguments)
        except Exception:
            pass  # raising here would make the program's own call fail


def _on_exec(arguments):
    code = arguments[0]
    path = getattr(code, "co_filename", None)
    if path is not None:
        found(code, path)


def found(code, path):
    handler = _modules.get(path[path.rfind("/", 0, path.rfind("/")) + 1 :])
    if handler is not None:
        handler(code)


def nested(code, *names):
    """The code object of a function (or a method) inside a module's; None if it has none."""
    for name in names:
        for constant in code.co_consts:
            if getattr(constant, "co_name", None) == name:
                code = constant
                break
        else:
            return None
    return code


def watch(code, *, start=None, returned=None, call=None):
    """Call `start(frame)`, `returned(frame, value)`, `call(frame, callable)` as `code` runs."""
    if code is None:
        return
    if start is not None:
        _starts[code] = start
    if returned is not None:
        _returns[code] = returned
    if call is not None:
        _calls[code] = call
    if MONITORING:
        events = sys.monitoring.events
        wanted = (
            (events.PY_START if code in _starts else 0)
            | (events.PY_RETURN if code in _returns else 0)
            | (events.CALL if code in _calls else 0)
        )
        sys.monitoring.set_local_events(TOOL, code, wanted)


def watch_function(module_code, names, **callbacks):
    """Watch a function that will be defined when the module whose code this is has run."""
    code = nested(module_code, *names)
    if code is None:
        return
    if MONITORING:
        watch(code, **callbacks)
        return
    when_loaded(module_code, lambda: rewrite.instrument(_resolve(code, names), **callbacks))


def _resolve(code, names):
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == code.co_filename:
            found = module
            for name in names:
                found = found.__dict__[name]
            return found
    raise LookupError(code.co_filename)


def when_loaded(module_code, action):
    """Call `action` once the module has run.

    The import system drops a module's code object when it has executed it
    (`importlib._bootstrap_external._LoaderBasics.exec_module`), so its weak reference dies
    at that very moment; the audit events tell only of beginnings.
    """
    import _weakref

    def ended(reference):
        _loaded.remove(reference)
        try:
            action()
        except Exception:
            pass  # the observed program must never see a fault of the recorder

    _loaded.append(_weakref.ref(module_code, ended))


def _on_start(code, offset):
    handler = _starts.get(code)
    if handler is not None:
        try:
            handler(sys._getframe(1))
        except Exception:
            pass  # see above


def _on_return(code, offset, value):
    handler = _returns.get(code)
    if handler is not None:
        try:
            handler(sys._getframe(1), value)
        except Exception:
            pass  # see above


def _on_call(code, offset, function, argument):
    handler = _calls.get(code)
    if handler is not None:
        try:
            handler(sys._getframe(1), function)
        except Exception:
            pass  # see above
