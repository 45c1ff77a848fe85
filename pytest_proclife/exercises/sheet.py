"""A student's feedback as a page of its own, in Markdown and in HTML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_proclife.exercises.gradebook import Grade
from pytest_proclife.exercises.results import Mark, Outcome, Result, Status, number
from pytest_proclife.render.text import plain

_SIGNS = {
    Outcome.PASSED: "✓",
    Outcome.PARTIAL: "◐",
    Outcome.FAILED: "✗",
    Outcome.NOT_RUN: "-",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|])")
_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  color: #1f2328; background: #fff }
h2 { font-size: 1.1rem; margin: 1.5rem 0 0.2rem }
h2 span { float: right; font-weight: normal }
p { margin: 0.2rem 0; white-space: pre-line }
img { max-width: 100% }
.passed { color: #1a7f37 } .partial { color: #9a6700 } .failed { color: #cf222e }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the page says of one test."""

    mark: Mark
    points: str
    texts: tuple[str, ...]


def parts(result: Result, style: str) -> Iterator[Part]:
    """What the student reads of each test that is visible to them; each sentence once.

    A sentence that an earlier test has said is not repeated: the later test names that one.
    """
    said: dict[str, str] = {}
    for mark in result.visible:
        texts: list[str] = []
        for line in filter(None, mark.feedback(style).split("\n")):
            if line in said:
                line = f"See “{said[line]}” above."
            else:
                said[line] = mark.name
            if line not in texts:
                texts.append(line)
        extra = " extra" if mark.extra else ""
        points = f"{number(mark.points)} of {number(mark.max_points)}{extra}"
        yield Part(mark=mark, points=points, texts=tuple(texts))


def heading(result: Result, grade: Grade) -> str:
    """The result in a sentence."""
    if result.status is Status.UNGRADABLE:
        return f"This answer cannot be graded: {plain(result.reason)}"
    if result.problem:
        return f"There is no result yet: {plain(result.reason)}"
    visible = result.visible
    points = sum(mark.points for mark in visible)
    most = sum(mark.max_points for mark in visible if not mark.extra)
    text = f"{number(round(points, 2))} of {number(most)} points"
    if grade.penalty:
        text += f", less {number(grade.penalty)} since it was late"
    return f"{text}."


def markdown(result: Result, grade: Grade, style: str) -> str:
    """The page as Markdown."""
    lines = [f"# {_escaped(result.submission)}", "", _escaped(heading(result, grade))]
    if result.status is Status.GRADED:
        for part in parts(result, style):
            sign = _SIGNS[part.mark.outcome]
            lines += ["", f"## {sign} {_escaped(part.mark.name)} ({part.points})", ""]
            lines += [f"- {_escaped(text)}" for text in part.texts]
    if result.program.left_out:
        lines += ["", "## Not run of the notebook", ""]
        lines += [f"- {_escaped(text)}" for text in result.program.left_out]
    return "\n".join(lines).rstrip("\n") + "\n"


def page(result: Result, grade: Grade, style: str, picture: str) -> str:
    """The page as HTML, which loads nothing; `picture` is an SVG, or empty."""
    name = _text(result.submission)
    body = [f"<h1>{name}</h1>", f"<p>{_text(heading(result, grade))}</p>"]
    if result.status is Status.GRADED:
        for part in parts(result, style):
            outcome = part.mark.outcome
            sign = f'<b class="{outcome}">{_SIGNS[outcome]}</b>'
            title = f"{sign} {_text(part.mark.name)} <span>{part.points}</span>"
            body.append(f"<h2>{title}</h2>")
            body += [f"<p>{_text(text)}</p>" for text in part.texts]
    if picture:
        # in an image nothing of the picture is executed
        data = base64.b64encode(picture.encode()).decode()
        body += [
            "<h2>The processes of your program</h2>",
            f'<img alt="The processes of the program" src="data:image/svg+xml;base64,{data}">',
        ]
    if result.program.left_out:
        body.append("<h2>Not run of the notebook</h2>")
        body += [f"<p>{_text(text)}</p>" for text in result.program.left_out]
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{name}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", plain(text))


def _text(text: str) -> str:
    return html.escape(plain(text))
