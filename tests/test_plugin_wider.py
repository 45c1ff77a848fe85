"""The fixtures of wider scope: their runs end with the module, or with the session."""

from __future__ import annotations

import pytest

SERVER = """
    import os

    import pytest

    from pytest_proclife import Code

    FOREVER = Code("print('ready', flush=True); import signal; signal.pause()")


    @pytest.fixture(scope="{scope}")
    def server({fixture}):
        main = {fixture}.start(FOREVER, linger=0.0)
        main.wait_for_output("ready")
        return main


    def test_it_runs(server, {fixture}):
        assert repr({fixture}) == "<Proclife of {name}>"
        assert server.snapshot().main.cause is None
        assert len({fixture}.runs) == 1


    def test_it_still_runs(server):
        os.kill(server.pid, 0)
"""
CONFTEST = """
    def pytest_proclife_run_finished(run, item):
        print("finished:", type(item).__name__, run.main.cause)
"""


@pytest.mark.parametrize(
    ("scope", "name"), [("module", "test_server.py"), ("session", "the session")]
)
def test_what_a_wider_fixture_starts_ends_with_its_scope(
    suite: pytest.Pytester, scope: str, name: str
) -> None:
    text = SERVER.format(scope=scope, fixture=f"proclife_{scope}", name=name)
    suite.makepyfile(test_server=text)
    suite.makeconftest(CONFTEST)
    result = suite.runpytest("-Werror", "-s")
    result.assert_outcomes(passed=2)
    told = [line.partition("finished: ")[2] for line in result.outlines if "finished: " in line]
    assert told == [f"{scope.title()} cleaned_up"]


def test_a_module_has_the_defaults_of_its_marker(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        from pytest_proclife import Code, RunTimeout

        pytestmark = pytest.mark.proclife(timeout=0.1)


        @pytest.fixture(scope="module")
        def run(proclife_module):
            with pytest.raises(RunTimeout, match="within 0.1 s"):
                proclife_module.run(Code("import signal; signal.pause()"))


        def test_it(run):
            pass
    """)
    suite.runpytest("-Werror").assert_outcomes(passed=1)


def test_each_failing_test_that_uses_it_shows_its_runs(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        from pytest_proclife import Code


        @pytest.fixture(scope="module")
        def run(proclife_module):
            return proclife_module.run(Code("1/0"))


        def test_one(run):
            assert run.exitcode == 0


        def test_two(run, proclife):
            proclife.run(Code("pass"))
            assert run.exitcode == 0


        def test_without():
            assert False
    """)
    result = suite.runpytest("-Werror")
    result.assert_outcomes(failed=3)
    titles = [line.strip("- ") for line in result.outlines if " proclife: run " in line]
    assert titles == ["proclife: run 1 of 1", "proclife: run 1 of 2", "proclife: run 2 of 2"]
