"""The HTML page in a real browser: what it does, says and asks for. One browser for all tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import lives
import pytest
from browser import CHROMIUM, Browser
from hostile import MARKUP, hostile_run, many_processes

from pytest_proclife.records import Run
from pytest_proclife.render import html
from pytest_proclife.render.html import Shown

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

Show = Callable[..., Browser]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Open the page of some runs. In the end it has said, raised and asked for nothing."""

    def show(*runs: Run | Shown) -> Browser:
        path = tmp_path / "page.html"
        shown = [run if isinstance(run, Shown) else Shown(run=run) for run in runs]
        path.write_text(html.render(shown), encoding="utf-8")
        browser.open(path)
        return browser

    yield show
    assert browser.noted() == []


def visible_names(browser: Browser) -> list[str]:
    names: list[str] = browser.eval(
        "[...document.querySelectorAll('tr.process:not([hidden]) button')]"
        ".filter((b) => !b.closest('section').hidden).map((b) => b.textContent)"
    )
    return names


def scale(browser: Browser) -> tuple[float, float]:
    begin, span = browser.eval("[runs[0].from, runs[0].span]")
    return begin, span


def bar_of(browser: Browser, row: int) -> tuple[float, float]:
    """Where the first bar of a row begins and ends, as parts of its track."""
    begin, end = browser.eval(
        f"(() => {{ const track = document.querySelectorAll('.track')[{row}];"
        "const t = track.getBoundingClientRect(), b = track.children[0].getBoundingClientRect();"
        "return [(b.left - t.left) / t.width, (b.right - t.left) / t.width]; })()"
    )
    return begin, end


def test_the_bars_stand_where_the_times_are(show: Show) -> None:
    run = lives.left_behind()
    browser = show(run)

    begin, end = bar_of(browser, 1)
    job = run["job"]
    assert job.finished_at is not None
    assert begin == pytest.approx(job.started_at / run.duration, abs=0.01)
    assert end == pytest.approx(job.finished_at / run.duration, abs=0.01)


def test_zoom_by_buttons_keys_and_wheel(show: Show) -> None:
    run = lives.ends()
    browser = show(run)

    browser.click("button[value='+']")
    assert scale(browser)[1] == pytest.approx(run.duration / 2)
    assert bar_of(browser, 0)[1] > 1  # it goes on beyond what is shown
    browser.press("+")
    assert scale(browser)[1] == pytest.approx(run.duration / 4)
    browser.press("-")
    browser.click("button[value='0']")
    assert scale(browser) == (0, run.duration)
    browser.wheel("td.time", -100, ctrl=True)
    assert scale(browser)[1] < run.duration
    browser.press("0")
    browser.click("tr.process:nth-child(3) td.time", count=2)
    begin, span = scale(browser)
    raised = run["raised"]
    assert begin < raised.started_at < begin + span < run.duration
    assert browser.eval("document.querySelectorAll('.details').length") == 0


def test_pan_by_dragging_and_keys(show: Show) -> None:
    browser = show(lives.ends())

    browser.click("button[value='+']")
    before, _ = scale(browser)
    browser.drag("td.time", 60)
    after, _ = scale(browser)
    assert after < before
    browser.eval("runs[0].rows[0].button.focus()")
    browser.press("ArrowRight")
    assert scale(browser)[0] > after
    assert browser.eval("document.querySelectorAll('.details').length") == 0


def test_filter_by_cause_name_and_test(show: Show) -> None:
    browser = show(
        Shown(run=lives.ends(), test="test_a", outcome="failed"),
        Shown(run=lives.left_behind(), test="test_b", outcome="passed"),
    )

    browser.click("input[value='returned']")
    assert "returned" not in visible_names(browser)
    assert browser.eval("count.textContent") == "8 of 12 processes"
    browser.press("/")
    for key in "pid 106":
        browser.press("Space" if key == " " else key)
    assert visible_names(browser) == ["killed"]
    browser.press("Escape")
    browser.click("input[value='returned']")
    browser.eval("test.value = '1'; test.dispatchEvent(new Event('input', {bubbles: true}))")
    assert visible_names(browser) == ["MainProcess", "job", "background"]
    assert browser.eval("runs.map((run) => run.section.hidden)") == [True, False]


def test_a_click_shows_what_is_known_of_a_process(show: Show) -> None:
    browser = show(lives.ends())

    browser.click("tr.process:nth-child(3) button")
    details = browser.eval("document.querySelector('.details').innerText")
    assert "its code raised job.Broken: no chalk" in details
    assert 'File "job.py", line 9, in work' in details
    assert browser.eval("document.activeElement.getAttribute('aria-expanded')") == "true"
    browser.click("tr.process:nth-child(3) .why")
    assert browser.eval("document.querySelector('.details')") is None


def test_hover_says_what_was_at_that_time(show: Show) -> None:
    run = lives.changed(lives.left_behind(), "job", finished_at=None)
    browser = show(run)

    browser.move_to("tr.process:nth-child(2) td.time")
    lines = browser.eval("document.querySelector('.tip').textContent").split("\n")
    assert lines[:2] == ["job (pid 101)", "returned, exit code 0, outlived its parent"]
    assert lines[2].startswith("here: 0.1")
    assert lines[3].startswith("own code: ")
    browser.move_to("h1")
    assert browser.eval("document.querySelector('.tip').hidden")


def test_all_of_it_can_be_done_by_keyboard(show: Show) -> None:
    browser = show(lives.ends())
    stops = []
    for _ in range(20):
        browser.press("Tab")
        stops.append(
            browser.eval("document.activeElement.textContent || document.activeElement.id")
        )
        if stops[-1] == "MainProcess":
            break

    assert stops[0] == "find"
    assert stops[-4:] == ["\N{MINUS SIGN}", "+", "all", "MainProcess"]
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    assert browser.eval("document.activeElement.textContent") == "raised"
    browser.press("Enter")
    assert "no chalk" in browser.eval("document.querySelector('.details').innerText")
    browser.press("Escape")
    assert browser.eval("document.querySelector('.details')") is None
    browser.press("End")
    assert browser.eval("document.activeElement.textContent") == "polite"


def test_hostile_text_stays_text(show: Show) -> None:
    run = hostile_run()
    browser = show(Shown(run=run, test=f"test[{MARKUP}]"), Shown(run=run, test="other"))
    browser.eval("for (const run of runs) for (const row of run.rows) toggle(row)")
    browser.move_to("tr.process td.time")

    assert (
        browser.eval("document.images.length + document.querySelectorAll('[onerror]').length") == 0
    )
    assert browser.eval("document.querySelector('h2').textContent").startswith("script </script>")
    assert MARKUP in browser.eval("document.querySelector('.details').innerText")
    assert visible_names(browser)[0] == MARKUP


def test_nothing_but_the_pages_own_script_may_run(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    text = html.render([Shown(run=lives.ends())])
    evil = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    path.write_text(text.replace("<main>", "<main>" + evil), encoding="utf-8")
    browser.open(path)

    assert browser.eval("document.title") == "script job.py - proclife"
    assert any("Content Security Policy" in words for words in browser.noted())


def test_2000_processes_are_shown_in_less_than_a_second(show: Show, browser: Browser) -> None:
    browser.call("Performance.enable", timeDomain="threadTicks")
    before = browser.call("Performance.getMetrics")["metrics"]
    show(many_processes(2000))
    browser.eval("document.body.offsetHeight")
    after = browser.call("Performance.getMetrics")["metrics"]
    # what the page has cost of its processor, whatever else the machine does
    (begin, end) = (
        next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")
        for metrics in (before, after)
    )
    assert end - begin < 1.0
    assert browser.eval("count.textContent") == "2001 of 2001 processes"
    assert len(visible_names(browser)) == 2001


def test_axe_finds_no_fault(show: Show, browser: Browser) -> None:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("axe-playwright-python, for its axe.min.js, is not installed")
    axe = Path(spec.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
    shown = (
        Shown(run=lives.polled(lives.left_behind()), test="test_a", outcome="failed"),
        Shown(run=replace(hostile_run(), timed_out=True), test="test_b", outcome="failed"),
    )
    show(*shown)
    browser.eval("for (const row of runs[0].rows) toggle(row)")
    browser.eval(axe)
    faults = (
        "axe.run(RULES).then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))"
    )
    assert browser.eval(faults.replace("RULES", "")) == []
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", features=dark)
    try:  # all but the colours is the same
        assert browser.eval(faults.replace("RULES", "{runOnly: ['color-contrast']}")) == []
    finally:
        browser.call("Emulation.setEmulatedMedia", features=[])


def test_the_page_prints_all_processes_and_no_controls(show: Show, browser: Browser) -> None:
    show(lives.ends())
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        shown = "(selector) => getComputedStyle(document.querySelector(selector)).display"
        assert browser.eval(f"['form', '.zoom', '.keys'].map({shown})") == ["none"] * 3
        pdf = browser.call("Page.printToPDF", printBackground=True)["data"]
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
    assert len(pdf) > 10_000
