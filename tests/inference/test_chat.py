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
from tiny_models import chain_model, tiny_model, write_adapter, write_base

from alpaca_lora.config import ChatConfig, DataConfig, ModelConfig, SamplingConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt, tokenize_examples
from alpaca_lora.errors import UserError
from alpaca_lora.inference import chat as chat_module
from alpaca_lora.inference.chat import chat
from alpaca_lora.inference.generate import decode_answer
from alpaca_lora.model.tokenizer import load_tokenizer

ANSWER = "the cat"
CONTEXT = 4096
SHORT = SamplingConfig(max_new_tokens=12)
Reply = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `speaker` answers ANSWER to anything; `random` with the adapters `one` and `two`."""
    root = tmp_path_factory.mktemp("models")
    for name in ("speaker", "random"):
        write_base(root / name, max_position_embeddings=CONTEXT)
        load_tokenizer(root / name)[0].save_pretrained(root / name)  # with its padding named, so that nothing is noted
    tokenizer, _ = load_tokenizer(root / "speaker")
    ids = tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    chain_model([*ids, tokenizer.eos_token_id], max_position_embeddings=CONTEXT).save_pretrained(root / "speaker")
    for seed, name in enumerate(("one", "two"), start=1):
        base = tiny_model(max_position_embeddings=CONTEXT)
        write_adapter(root / name, base, str(root / "random"), seed, lora_r=4)
    return root


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
    stream = chat_module.stream_text

    def recording(model: Any, tokenizer: Any, ids: Any, *args: Any, **more: Any) -> Any:
        prompts.append(list(ids))
        return stream(model, tokenizer, ids, *args, **more)

    monkeypatch.setattr(chat_module, "stream_text", recording)
    return prompts


def _config(base: Path | None, *adapters: Path, **settings: Any) -> ChatConfig:
    model = ModelConfig(base_model=str(base) if base else "", device="cpu", dtype="float32")
    return ChatConfig(model=model, adapter=tuple(map(str, adapters)), **{"sampling": SHORT} | settings)


def _prompt_ids(base: Path, *turns: Turn, template: str = "alpaca", system: str = "") -> list[int]:
    tokenizer, _ = load_tokenizer(base)
    return encode_prompt(TextEncoder(tokenizer), load_prompt(template, tokenizer), turns, system)


def _answer(base: Path, ids: list[int], adapter: Path | None = None) -> str:
    """Answer greedily with transformers and stock PEFT."""
    tokenizer, _ = load_tokenizer(base)
    model = tiny_model(max_position_embeddings=CONTEXT)
    model = peft.PeftModel.from_pretrained(model, adapter) if adapter else model
    found = model.generate(input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=SHORT.max_new_tokens)
    return decode_answer(tokenizer, found[0, len(ids) :].tolist())


# --- a conversation ----------------------------------------------------------------------------------------------


def test_a_line_is_answered_until_the_input_ends(models: Path, talk: Reply) -> None:
    out, err = talk(_config(models / "speaker"), "what is two", "", "  now  ")
    greeting, *answers = out.split("\n> ")
    assert greeting == f"{models / 'speaker'} answers. /help lists the commands.\n"
    assert answers == [f"{ANSWER}\n", "", f"{ANSWER}\n", "\n"]
    assert err == ""


def test_quit_leaves_at_once(models: Path, talk: Reply) -> None:
    out, _ = talk(_config(models / "speaker"), "/quit", "what is two")
    assert ANSWER not in out


def test_a_second_turn_sees_the_first_as_training_renders_it(models: Path, talk: Reply, given: list[list[int]]) -> None:
    talk(_config(models / "speaker"), "what is two", "and three")
    tokenizer, _ = load_tokenizer(models / "speaker")
    turns = (Turn("what is two", "", ANSWER), Turn("and three", "", "plus"))
    prompt = load_prompt("alpaca", tokenizer)
    table = tokenize_examples([Example(turns, "", 0)], prompt, TextEncoder(tokenizer), DataConfig(cutoff_len=CONTEXT))
    row = table[0]
    ends = np.flatnonzero(np.diff(row.is_target.astype(int)) == 1) + 1  # where each answer begins
    assert given == [row.input_ids[:end].tolist() for end in ends]
    assert tokenizer.decode(given[1]).count(f"{ANSWER}</s>") == 1


def test_reset_forgets_the_turns(models: Path, talk: Reply, given: list[list[int]]) -> None:
    out, _ = talk(_config(models / "speaker"), "what is two", "/reset", "what is two")
    assert "conversation forgotten" in out
    assert given == [_prompt_ids(models / "speaker", Turn("what is two", "", ""))] * 2


def test_a_system_text_stands_before_the_prompt(models: Path, talk: Reply, given: list[list[int]]) -> None:
    lines = ["/system you sat on a mat", "now", "/reset", "/system", "now"]
    out, _ = talk(_config(models / "speaker"), *lines)
    assert "system text set" in out
    assert "system text cleared" in out
    turn = Turn("now", "", "")
    with_system = _prompt_ids(models / "speaker", turn, system="you sat on a mat")
    assert given == [with_system, _prompt_ids(models / "speaker", turn)]


def test_help_lists_every_command(models: Path, talk: Reply) -> None:
    out, _ = talk(_config(models / "speaker"), "/help", "/sytsem x")
    for command in ("/adapter", "/system", "/reset", "/help", "/quit", "Ctrl-D", "Ctrl-C"):
        assert out.count(command) >= 2
    assert "unknown command /sytsem" in out


def test_a_prompt_that_is_too_long_does_not_end_the_conversation(
    models: Path, talk: Reply, given: list[list[int]]
) -> None:
    out, _ = talk(_config(models / "speaker"), "x" * CONTEXT, "now")
    assert f"the model reads at most {CONTEXT}" in out
    assert "/reset" in out
    assert given[1] == _prompt_ids(models / "speaker", Turn("now", "", ""))
    assert out.count(ANSWER) == 1


def test_a_line_that_is_no_utf8_does_not_end_the_conversation(
    models: Path, talk: Reply, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\nnow\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", lines)
    chat(_config(models / "speaker"))
    assert "that line cannot be read" in capsys.readouterr().out


# --- one prompt --------------------------------------------------------------------------------------------------


def test_one_prompt_prints_nothing_but_its_answer(models: Path, talk: Reply, given: list[list[int]]) -> None:
    out, err = talk(_config(models / "speaker", prompt="what is two", input="plus three"))
    assert (out, err) == (f"{ANSWER}\n", "")
    assert given == [_prompt_ids(models / "speaker", Turn("what is two", "plus three", ""))]
    assert given != [_prompt_ids(models / "speaker", Turn("what is two", "", ""))]


def test_input_without_a_prompt_is_refused(models: Path, talk: Reply) -> None:
    with pytest.raises(UserError, match="--input belongs to --prompt"):
        talk(_config(models / "speaker", input="plus three"))


@pytest.mark.parametrize(
    "changed",
    [{"temperature": 3.0}, {"temperature": 3.0, "seed": 1}, {"temperature": 3.0, "top_k": 2},
     {"temperature": 3.0, "top_p": 0.1}, {"max_new_tokens": 3}],
)  # fmt: skip
def test_sampling_settings_reach_the_answer(models: Path, talk: Reply, changed: dict[str, Any]) -> None:
    usual = {} if "top_k" not in changed and "top_p" not in changed and "seed" not in changed else {"temperature": 3.0}
    answers = [
        talk(_config(models / "random", prompt="now", sampling=SamplingConfig(**{"max_new_tokens": 12} | settings)))
        for settings in (usual, changed, changed)
    ]
    assert answers[0] != answers[1] == answers[2]


# --- adapters ----------------------------------------------------------------------------------------------------


def test_adapters_are_listed_and_switched(models: Path, talk: Reply) -> None:
    base = models / "random"
    ids = _prompt_ids(base, Turn("now", "", ""))
    lines = ["/adapter", "now"]
    for name in ("one", "base", "two"):
        lines += ["/reset", f"/adapter {name}", "now"]
    out, err = talk(_config(base, models / "one", models / "two"), *lines, "/adapter", "/adapter three")
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
    out, err = talk(_config(None, models / "one", prompt="now"))
    base = models / "random"
    assert out == _answer(base, _prompt_ids(base, Turn("now", "", "")), models / "one") + "\n"
    assert err == f"note: the base model is {base}, as recorded with the adapter; --base_model gives another\n"
