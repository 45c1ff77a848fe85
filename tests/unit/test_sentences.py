"""What a user reads is plain English, and can be read in one go.

PROCLIFE_SENTENCES=FILE writes all sentences of the package to a file.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentences

from pytest_proclife import cli
from pytest_proclife.records import EvidenceKind, MissingKind, UnknownKind
from pytest_proclife.render import evidence

SENTENCES = list(sentences.sentences())
WHOLE = "\n".join(" ".join(sentence.text.split()) for sentence in SENTENCES)

# Turns of phrase that make a reader read twice, each with what to write.
AVOIDED = {
    r"\bso (many|long|often|much) (seconds|times|processes|columns|at a time)": "a number",
    r"\bat a time \(": "number of parallel jobs",
    r"\b(what|who) holds\b": "a noun",
    r"\bnobody who\b": "no process that",
    r"\bnothing (runs|of it runs)\b": "no process is running",
    r"\bnot (\w+) nor\b": "or",
    r"\bof (it|them|him)'s\b": "its",
    r"\bif no more is said\b": "the default",
    r"\bis told\b": "is, receives",
    r"\bsome few\b": "some",
    r"\bin the midst\b": "during",
    r"\bwhatever is set\b": "whatever the settings say",
    r"\bthat there is not\b": "unknown",
    r"(?<![Tt]here )\bis no (?!longer)[a-z]+\b": "is not a",
}


def test_all_sentences_can_be_read_in_one_file() -> None:
    text = sentences.as_text()
    assert text.count("\n") > 1000
    if os.environ.get("PROCLIFE_SENTENCES"):
        Path(os.environ["PROCLIFE_SENTENCES"]).write_text(text)


@pytest.mark.parametrize("phrase", AVOIDED)
def test_a_phrase_that_makes_a_reader_read_twice_is_avoided(phrase: str) -> None:
    wrong = [
        f"{sentence.place}: {sentence.text.strip()}"
        for sentence in SENTENCES
        if re.search(phrase, " ".join(sentence.text.split()))
    ]
    assert wrong == [], f"write {AVOIDED[phrase]}"


def helps(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from helps(verb)
        elif action.help and action.option_strings != ["-h", "--help"]:
            yield action.help


def test_the_file_has_what_help_evidence_and_the_rest_say() -> None:
    for text in helps(cli._parser()):
        assert text.partition(" (default")[0].strip() in WHOLE
    for words in [*evidence._UNKNOWN.values(), *evidence._MISSING.values()]:
        # some are made of two
        own = words.removeprefix(evidence._OWN).removeprefix(evidence._OTHERS)
        assert own in WHOLE
    assert len(evidence._UNKNOWN) == len(UnknownKind)
    assert len(evidence._MISSING) == len(MissingKind)
    assert len(evidence._WORDS) == len(EvidenceKind)
