"""What other plugins answer, and who of them it was."""

from __future__ import annotations

from pathlib import Path

import pluggy
import pytest

from pytest_proclife.assemble import CauseHook
from pytest_proclife.records import Cause, ProcessRecord, Run

_HOOK = "pytest_proclife_cause"


def cause_hook(item: pytest.Item) -> CauseHook | None:
    """Ask the plugins, and the conftest.py files above the test; None where none would answer."""
    everyone = getattr(item.config.hook, _HOOK).get_hookimpls()
    heard = getattr(item.ihook, _HOOK).get_hookimpls()
    answering = [impl for impl in reversed(heard) if not (impl.wrapper or impl.hookwrapper)]
    if not answering:
        return None
    manager = item.config.pluginmanager

    def ask(run: Run, process: ProcessRecord) -> tuple[str, str] | None:
        # one by one, since what a hook with one result returns does not say whose it is
        for impl in answering:
            others = [
                other.plugin
                for other in everyone
                if other is not impl and (other in answering or other not in heard)
            ]
            caller = manager.subset_hook_caller(_HOOK, others)
            answer = caller(run=run, process=process)
            if answer is not None:
                return _cause(answer, impl, item), _name(impl, item)
        return None

    return ask


def _cause(answer: object, impl: pluggy.HookImpl, item: pytest.Item) -> Cause:
    try:
        return Cause(str(answer))
    except ValueError:
        who, causes = _name(impl, item), ", ".join(Cause)
        raise ValueError(
            f"{who} answered {_HOOK} with {answer!r}, which is no cause: these are {causes}"
        ) from None


def _name(impl: pluggy.HookImpl, item: pytest.Item) -> str:
    """A plugin's name; of a conftest.py, its path below the root of the suite."""
    path, root = Path(impl.plugin_name), item.config.rootpath
    return str(path.relative_to(root)) if path.is_relative_to(root) else impl.plugin_name
