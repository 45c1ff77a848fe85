"""What the guard warns with; a name for filters: `pytest_proclife.ProcessLeakWarning`."""


class ProcessLeakWarning(UserWarning):
    """A test, or a fixture that ended with it, left processes behind."""
