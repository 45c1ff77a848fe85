"""The HTML page as text: what is in it, and that nothing of a target is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import lives
from histories import Log
from hostile import MARKUP, hostile_run, many_processes

from pytest_proclife.records import Cause, Run
from pytest_proclife.render import html, phases
from pytest_proclife.render.html import Kept, Shown

# Elements and attributes that may be on a page. None of these loads or runs anything, but for the
# two script elements.
ELEMENTS = {
    "html",
    "head",
    "meta",
    "link",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "h2",
    "form",
    "label",
    "input",
    "select",
    "option",
    "fieldset",
    "legend",
    "output",
    "ul",
    "li",
    "p",
    "main",
    "section",
    "div",
    "button",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "i",
    "b",
    "a",
    "script",
}
ATTRIBUTES = {
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "rel",
    "href",
    "class",
    "id",
    "hidden",
    "type",
    "placeholder",
    "value",
    "checked",
    "style",
    "role",
    "aria-label",
    "aria-hidden",
    "aria-expanded",
    "scope",
}


class Page(HTMLParser):
    """The elements of a page, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data


def page_of(*runs: Run, test: str = "") -> Page:
    return Page(html.render([Shown(run=run, test=test, outcome="failed") for run in runs]))


def data_of(page: Page) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(page.texts["script"][0])
    return data


def test_nothing_that_a_target_chose_is_markup() -> None:
    page = page_of(hostile_run(), test=f"test_it[{MARKUP}]")

    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert {name for _, attributes in page.elements for name in attributes} <= ATTRIBUTES
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert page.texts["button"][3] == MARKUP  # after those of the zoom
    assert f"test_it[{MARKUP}] failed" in page.texts["p"][1]


def test_the_index_escapes_what_a_target_chose() -> None:
    shown = Shown(run=hostile_run(), test=MARKUP, outcome="failed")
    page = Page(html.render_index([Kept(shown=shown, page="a b.html", document="a.json")], "Note"))

    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert page.texts["td"][0] == MARKUP
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == ["a%20b.html", "a.json"]


def test_the_page_is_text_that_can_be_written() -> None:
    text = html.render([Shown(run=hostile_run())])

    assert text.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", text)


def test_the_policy_lets_the_pages_own_script_run_and_nothing_out() -> None:
    page = page_of(lives.ends())
    policy = next(
        attributes["content"]
        for tag, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.texts["script"][1].encode()).digest()).decode()

    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_the_page_asks_for_nothing() -> None:
    text = html.render([Shown(run=lives.ends())])

    assert not re.search(r"https?:|//\w|url\(|@import|fetch\(|XMLHttp|WebSocket|import\(", text)
    assert re.findall(r'\b(?:src|href|action)="([^"]*)"', text) == ["data:,"]


def test_without_a_script_the_table_has_every_process_and_its_words() -> None:
    run = lives.ends()
    page = page_of(run)

    assert page.texts["button"][3:] == [process.name for process in run]
    words = [text for text in page.texts["td"] if "died of SIGABRT, joined" in text]
    assert words == ["died of SIGABRT, joined"]
    # for those who cannot see the bars
    assert "0.05 s: SIGKILL by MainProcess (kill()); 0.07 s: joined" in page.texts["span"]


def test_the_bars_are_the_phases_of_each_process() -> None:
    run = lives.ends()
    text = html.render([Shown(run=run)])

    for process in run:
        for phase in phases.phases_of(process):
            begin, end = (f"{at:.6f}".rstrip("0").rstrip(".") for at in (phase.begin, phase.end))
            assert f'<i class="{phase.kind}" style="--a:{begin};--b:{end}"></i>' in text


def test_a_click_has_what_is_known_of_the_process() -> None:
    run = lives.ends()
    process = data_of(page_of(run))["runs"][0]["processes"][2]

    assert process["title"] == "raised (pid 102)"
    assert process["cause"] == "raised"
    values, evidence, exception = process["sections"]
    assert values[:2] == ["Process", "values"]
    assert ["exception", "job.Broken: no chalk"] in values[2]
    assert evidence[:2] == ["Evidence", "facts"]
    assert [words for _, _, words in evidence[2]] == [
        "started it at job.py:7 in <module>",
        "its code raised job.Broken: no chalk",
        "exited with 1",
        "collected its status at job.py:11 in <module>",
    ]
    assert exception == ["Exception", "text", 'File "job.py", line 9, in work']


def test_a_click_has_where_the_process_stood() -> None:
    log = Log()
    log.main.stands("<f> /home/me/job.py:3", call="read")
    process = data_of(page_of(log.run()))["runs"][0]["processes"][0]
    title, sort, text = process["sections"][1]
    assert (title, sort) == ("Where it stood at 0.00 s", "text")
    assert text.splitlines()[1:] == ["    <f> (/home/me/job.py:3)"]


def test_the_filters_are_the_causes_and_the_tests_that_there_are() -> None:
    shown = [
        Shown(run=lives.ends(), test="test_a", outcome="failed"),
        Shown(run=lives.snapshot(), test="test_b", outcome="passed"),
    ]
    page = Page(html.render(shown))
    values = [a["value"] for tag, a in page.elements if tag == "input" and a["type"] == "checkbox"]

    assert values == [
        *("killed", "terminated", "returned", "raised", "sys_exit", "os_exit", "signaled"),
        "running",
    ]
    assert page.texts["option"] == ["all tests", "test_a (failed)", "test_b (passed)"]
    assert page.texts["h1"] == ["2 runs"]


def test_what_was_not_seen_is_said() -> None:
    page = page_of(lives.polled(lives.ends()))

    assert "processes that live for less than 10 ms can be missed" in page.texts["li"]


def test_each_cause_has_a_group_with_its_colour() -> None:
    assert set(phases.GROUPS) == {*Cause, None}
    style = html._asset("page.css")
    for group in phases.Group:
        assert style.count(f".{group} {{ --group: var(--{group}); }}") == 1
        assert style.count(f"--{group}: #") == 3  # light, dark, print


def test_2000_processes_take_less_than_a_second() -> None:
    run = many_processes(2000)
    begin = time.process_time()
    text = html.render([Shown(run=run)])

    assert time.process_time() - begin < 1.0
    assert text.count("<tr ") == 2002
