"""Processes that are joined, and leave what they started themselves."""

import multiprocessing
import os
import subprocess

import pytest


def starts_a_program():
    subprocess.Popen(["sleep", "600"])  # the program
    os._exit(0)


def forks():
    if os.fork() == 0:  # the fork
        os.execvp("sleep", ["sleep", "601"])
    os._exit(0)


@pytest.mark.parametrize("target", [starts_a_program, forks])
def test_joins(target):
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join()
