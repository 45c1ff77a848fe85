"""Checks of recorded runs: plain functions of values, each `None` or a `Violation`."""
