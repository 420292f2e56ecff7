"""A no-input marker where a row has no field for an input: at the end of the question, as converters leave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cleaning import chat, clean, log_of, write_rows

from alpaca_lora.data.audit.markers import NO_INPUT
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Fix

QUESTION = "Name a river.\n\nIt is long."
PLACES = {"instruction": "prompt", "output": "completion"}


def _fixes(question: str, **places: str) -> list[Fix | None]:
    assert NO_INPUT.find
    return [hit.fix for hit in NO_INPUT.find(TurnView(question, "", "The Elbe.", {**PLACES, **places}))]


@pytest.mark.parametrize("marker", ["No input", "<noinput>", "no input required.", "\\<noinput\\>", " NoInput \n"])
@pytest.mark.parametrize("gap", ["\n\n", " \r\n\r\n", "\n \n\n"])
def test_a_last_paragraph_that_is_only_a_marker_is_cut(marker: str, gap: str) -> None:
    assert _fixes(QUESTION + gap + marker) == [Fix("set", QUESTION)]


@pytest.mark.parametrize(
    "question",
    [
        "Translate this into Polish:\n\nNo input",
        "Which one is it?\n\nNone",
        "Name a river.\nNo input",
        "Explain this message.\n\nNo input device was found.",
        "What does it mean?\n\n“No input”",
        "\n\nNo input",
        "No input",
        "Name a river.\n\nNo input\n\nBe brief.",
    ],
)
def test_a_question_that_a_marker_belongs_to_is_left_alone(question: str) -> None:
    assert _fixes(question) == []


def test_beside_an_input_field_a_question_keeps_its_last_paragraph() -> None:
    assert _fixes(QUESTION + "\n\nNo input", input="input") == []


def test_it_is_cut_from_rows_of_every_other_shape(tmp_path: Path) -> None:
    asked, answer = QUESTION + "\n\n<noinput>", "It is the Elbe, which is long."
    rows: list[list[Any]] = [
        [chat("sharegpt", asked, answer, "And another?", "The Rhine.")],
        [chat("messages", "Name a herb.", "Dill.", asked, answer)],
        [chat("prompt_completion", asked, answer)],
        [{"prompt": asked, "completion": answer}],
        [{"history": [[asked, answer]], "instruction": "Another?", "output": "The Rhine."}],
    ]
    for given in rows:
        file = write_rows(tmp_path, given)
        out = clean(file, output="clean.json")
        assert out.read_text(encoding="utf-8") == file.read_text(encoding="utf-8").replace("\\n\\n<noinput>", "")
        assert [(line["rule"], line["action"]) for line in log_of(out)] == [("no-input", "set")]
        assert clean(out, output="again.json").read_bytes() == out.read_bytes()
