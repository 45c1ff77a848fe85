"""A plugin that names a cause, and a wrapper around it."""

import pytest


class Wrapper:
    @pytest.hookimpl(wrapper=True)
    def pytest_proclife_cause(self, process):
        answer = yield
        return "os_exit" if answer == "sys_exit" else answer


def pytest_proclife_cause(process):
    return "sys_exit"


def pytest_configure(config):
    config.pluginmanager.register(Wrapper())
