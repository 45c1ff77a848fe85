"""The SVG picture of runs beside each other."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

import lives
from hostile import MARKUP, hostile_run, many_processes

from pytest_proclife.render import picture

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(text: str) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(text).iter(f"{SVG}text")
    ]


def test_the_runs_have_one_scale() -> None:
    short, long = lives.left_behind(), lives.plain_exam()
    text = picture.render([short, long])
    starts = [
        float(match[1]) for match in re.finditer(r'<rect x="([\d.]+)" width="([\d.]+)"', text)
    ]
    widths = [
        float(match[2]) for match in re.finditer(r'<rect x="([\d.]+)" width="([\d.]+)"', text)
    ]
    assert starts[0] == 16
    main = short.main.ended_at
    assert main is not None
    assert abs(widths[0] - 440 * main / long.duration) < 0.1


def test_a_notebook_shows_the_picture_of_a_run() -> None:
    run = hostile_run()
    image = ElementTree.fromstring(run._repr_html_().replace('">', '"/>'))
    data = image.attrib["src"].partition("data:image/svg+xml;base64,")[2]
    assert base64.b64decode(data).decode() == picture.render([run])
    assert image.tag == "img"
    assert image.attrib["alt"].endswith("and left by sys.exit, exit code 7, joined.")


def test_it_says_what_the_timeline_says() -> None:
    texts = texts_of(picture.render([lives.ends()]))

    assert "script job.py" in texts
    assert "killed by MainProcess (SIGKILL), joined" in texts
    assert {"own code", "exit path", "zombie", "signal", "joined"} <= set(texts)


def test_nothing_that_a_target_chose_is_markup() -> None:
    text = picture.render([hostile_run()])
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(text).iter()}

    assert tags <= {
        "svg",
        "title",
        "desc",
        "style",
        "defs",
        "pattern",
        "rect",
        "text",
        "tspan",
        "line",
        "g",
        "polygon",
    }
    assert any(MARKUP[:10] in words for words in texts_of(text))


def test_of_many_processes_the_first_are_drawn() -> None:
    texts = texts_of(picture.render([many_processes(500)]))

    assert "... and 471 more" in texts
