"""Three plugins that may name a cause: the first does not know it, the second does."""

from pytest_proclife import Cause


class First:
    def pytest_proclife_cause(self):
        print("asked first")


class Second:
    def pytest_proclife_cause(self, process):
        return Cause.RETURNED


class Third:
    def pytest_proclife_cause(self, process):
        raise AssertionError("the second has answered")


def pytest_configure(config):
    # who is registered last is asked first
    for plugin in (Third(), Second(), First()):
        config.pluginmanager.register(plugin, type(plugin).__name__.lower())
