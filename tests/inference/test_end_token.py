"""Answers stop at what training taught to end them with, even where that is not EOS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from alpaca_lora.data.prompts import end_token, load_prompt
from alpaca_lora.inference.generate import stop_ids
from alpaca_lora.model.tokenizer import load_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_chat_templates_end_of_turn_is_a_stop(tiny_llama: Path) -> None:
    tokenizer, _ = load_tokenizer(tiny_llama)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_llama)
    assert end_token(load_prompt("alpaca", tokenizer)) == tokenizer.eos_token == "</s>"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    end = end_token(load_prompt("chat", tokenizer))
    assert end == "<|im_end|>"
    assert stop_ids(model, tokenizer, end) == stop_ids(model, tokenizer) | {tokenizer.convert_tokens_to_ids(end)}
    assert tokenizer.convert_tokens_to_ids(end) not in stop_ids(model, tokenizer)
