"""Tests that do not use the plugin."""

import unittest

import pytest


@pytest.mark.parametrize("value", range(3))
def test_it(value):
    pass


class TestCase(unittest.TestCase):
    def test_it(self):
        pass
