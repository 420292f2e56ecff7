"""Conversations in the terminal: what the model is given at each turn, commands, adapters, interruptions."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from chat_sessions import ANSWER, CONTEXT, SHORT, chat_config, prompt_ids, write_chat_models
from tiny_models import tiny_model

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import tokenize_examples
from alpaca_lora.errors import UserError
from alpaca_lora.inference import answerer as answerer_module
from alpaca_lora.inference.chat import chat
from alpaca_lora.inference.settings import ChatConfig, SamplingConfig
from alpaca_lora.inference.text import decode_answer
from alpaca_lora.model.tokenizer import load_tokenizer

Reply = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `speaker` answers ANSWER to anything; `random` with the adapters `one` and `two`."""
    return write_chat_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Reply:
    """Type lines into a chat and leave; gives standard output and standard error."""

    def run(config: ChatConfig, *lines: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat(config)
        return tuple(capsys.readouterr())

    return run


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Collects the ids that the model is given at each turn; the answers are the real ones."""
    prompts: list[list[int]] = []
    steps = answerer_module.answer_steps

    def recording(model: Any, tokenizer: Any, ids: Any, *args: Any, **more: Any) -> Any:
        prompts.append(list(ids))
        return steps(model, tokenizer, ids, *args, **more)

    monkeypatch.setattr(answerer_module, "answer_steps", recording)
    return prompts


def _answer(base: Path, ids: list[int], adapter: Path | None = None) -> str:
    """Answer greedily with transformers and stock PEFT."""
    tokenizer, _ = load_tokenizer(base)
    model = tiny_model(max_position_embeddings=CONTEXT)
    model = peft.PeftModel.from_pretrained(model, adapter) if adapter else model
    found = model.generate(input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=SHORT.max_new_tokens)
    return decode_answer(tokenizer, found[0, len(ids) :].tolist())


# --- a conversation ----------------------------------------------------------------------------------------------


def test_a_line_is_answered_until_the_input_ends(models: Path, talk: Reply) -> None:
    out, err = talk(chat_config(models / "speaker"), "what is two", "", "  now  ")
    greeting, *answers = out.split("\n> ")
    assert greeting == f"{models / 'speaker'} answers. /help lists the commands.\n"
    assert answers == [f"{ANSWER}\n", "", f"{ANSWER}\n", "\n"]
    assert err == ""


def test_quit_leaves_at_once(models: Path, talk: Reply) -> None:
    out, _ = talk(chat_config(models / "speaker"), "/quit", "what is two")
    assert ANSWER not in out


def test_a_second_turn_sees_the_first_as_training_renders_it(models: Path, talk: Reply, given: list[list[int]]) -> None:
    talk(chat_config(models / "speaker"), "what is two", "and three")
    tokenizer, _ = load_tokenizer(models / "speaker")
    turns = (Turn("what is two", "", ANSWER), Turn("and three", "", "plus"))
    prompt = load_prompt("alpaca", tokenizer)
    table = tokenize_examples([Example(turns, "", 0)], prompt, TextEncoder(tokenizer), DataConfig(cutoff_len=CONTEXT))
    row = table[0]
    ends = np.flatnonzero(np.diff(row.is_target.astype(int)) == 1) + 1  # where each answer begins
    assert given == [row.input_ids[:end].tolist() for end in ends]
    assert tokenizer.decode(given[1]).count(f"{ANSWER}</s>") == 1


def test_reset_forgets_the_turns(models: Path, talk: Reply, given: list[list[int]]) -> None:
    out, _ = talk(chat_config(models / "speaker"), "what is two", "/reset", "what is two")
    assert "conversation forgotten" in out
    assert given == [prompt_ids(models / "speaker", Turn("what is two", "", ""))] * 2


def test_a_system_text_stands_before_the_prompt(models: Path, talk: Reply, given: list[list[int]]) -> None:
    lines = ["/system you sat on a mat", "now", "/reset", "/system", "now"]
    out, _ = talk(chat_config(models / "speaker"), *lines)
    assert "system text set" in out
    assert "system text cleared" in out
    turn = Turn("now", "", "")
    with_system = prompt_ids(models / "speaker", turn, system="you sat on a mat")
    assert given == [with_system, prompt_ids(models / "speaker", turn)]


def test_help_lists_every_command(models: Path, talk: Reply) -> None:
    out, _ = talk(chat_config(models / "speaker"), "/help", "/sytsem x")
    commands = ("/adapter", "/compare", "/retry", "/prompt", "/system", "/save", "/reset", "/help", "/quit")
    for command in (*commands, "Ctrl-D", "Ctrl-C"):
        assert out.count(command) >= 2
    assert "unknown command /sytsem" in out


def test_a_prompt_that_is_too_long_does_not_end_the_conversation(
    models: Path, talk: Reply, given: list[list[int]]
) -> None:
    out, _ = talk(chat_config(models / "speaker"), "x" * CONTEXT, "now")
    assert f"the model reads at most {CONTEXT}" in out
    assert "/reset" in out
    assert given == [prompt_ids(models / "speaker", Turn("now", "", ""))]  # the long one never reached the model
    assert out.count(ANSWER) == 1


def test_a_line_that_is_no_utf8_does_not_end_the_conversation(
    models: Path, talk: Reply, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\nnow\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", lines)
    chat(chat_config(models / "speaker"))
    assert "that line cannot be read" in capsys.readouterr().out


# --- one prompt --------------------------------------------------------------------------------------------------


def test_one_prompt_prints_nothing_but_its_answer(models: Path, talk: Reply, given: list[list[int]]) -> None:
    out, err = talk(chat_config(models / "speaker", prompt="what is two", input="plus three"))
    assert (out, err) == (f"{ANSWER}\n", "")
    assert given == [prompt_ids(models / "speaker", Turn("what is two", "plus three", ""))]
    assert given != [prompt_ids(models / "speaker", Turn("what is two", "", ""))]


def test_input_without_a_prompt_is_refused(models: Path, talk: Reply) -> None:
    with pytest.raises(UserError, match="--input belongs to --prompt"):
        talk(chat_config(models / "speaker", input="plus three"))


@pytest.mark.parametrize(
    "changed",
    [{"temperature": 3.0}, {"temperature": 3.0, "seed": 1}, {"temperature": 3.0, "top_k": 2},
     {"temperature": 3.0, "top_p": 0.1}, {"max_new_tokens": 3}],
)  # fmt: skip
def test_sampling_settings_reach_the_answer(models: Path, talk: Reply, changed: dict[str, Any]) -> None:
    usual = {} if "top_k" not in changed and "top_p" not in changed and "seed" not in changed else {"temperature": 3.0}
    answers = [
        talk(chat_config(models / "random", prompt="now", sampling=SamplingConfig(**{"max_new_tokens": 12} | settings)))
        for settings in (usual, changed, changed)
    ]
    assert answers[0] != answers[1] == answers[2]


# --- adapters ----------------------------------------------------------------------------------------------------


def test_adapters_are_listed_and_switched(models: Path, talk: Reply) -> None:
    base = models / "random"
    ids = prompt_ids(base, Turn("now", "", ""))
    lines = ["/adapter", "now"]
    for name in ("one", "base", "two"):
        lines += ["/reset", f"/adapter {name}", "now"]
    out, err = talk(chat_config(base, models / "one", models / "two"), *lines, "/adapter", "/adapter three")
    parts = out.split("\n> ")
    assert parts[0] == f"{base} answers with two. /help lists the commands.\n"
    assert parts[1] == "  base\n  one\n* two\n"
    expected = [_answer(base, ids, adapter) for adapter in (models / "two", models / "one", None, models / "two")]
    assert [parts[index] for index in (2, 5, 8, 11)] == [f"{answer}\n" for answer in expected]
    assert len(set(expected)) == 3
    assert parts[7] == "base answers now\n"
    assert "there is no adapter three" in parts[13]
    assert "one of: base, one, two" in parts[13]
    assert err == ""


def test_without_a_base_the_recorded_one_is_taken_and_named(models: Path, talk: Reply) -> None:
    out, err = talk(chat_config(None, models / "one", prompt="now"))
    base = models / "random"
    assert out == _answer(base, prompt_ids(base, Turn("now", "", "")), models / "one") + "\n"
    assert err == f"note: the base model is {base}, as recorded with the adapter; --base_model gives another\n"
