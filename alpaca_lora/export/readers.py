"""The programs that exports are for, each behind the same four questions."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpaca_lora.config import ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.export.meta_reader import MetaModel
from alpaca_lora.export.probes import follow
from alpaca_lora.export.source import Source
from alpaca_lora.model.device import pick_device
from alpaca_lora.model.load import load_base_model
from alpaca_lora.model.lora import load_adapter


class Reader(Protocol):
    """A program with an export loaded.

    Attributes:
        name: program and version.
        gives_logits: `follow` gives logits; else log-probabilities.
    """

    name: str
    gives_logits: bool

    def tokenize(self, text: str, *, plain: bool) -> list[int] | None:
        """Encode a prompt, BOS by the program's own rule; None where it has no tokenizer.

        Args:
            plain: special tokens written in the text do not act.
        """
        ...

    def chat_text(self, instruction: str) -> str | None:
        """Render one question with the chat template that the export carries; None where it carries none."""
        ...

    def chat_tokens(self, instruction: str) -> int | None:
        """Count the tokens of that question as the program would compute them; None where it does not say."""
        ...

    def follow(self, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
        """Give the scores each token of an answer is chosen from, float32 (tokens, vocabulary), NaN where unknown."""
        ...


class Transformers:
    """A model and its tokenizer in transformers."""

    gives_logits = True

    def __init__(self, model: Any, tokenizer: Any, name: str = "") -> None:
        self.name = name or f"transformers {transformers.__version__}"
        self._model, self._tokenizer = model, tokenizer

    @property
    def end_ids(self) -> set[int]:
        """Give the ids at which `generate` stops."""
        found = self._model.generation_config.eos_token_id
        return set(found) if isinstance(found, list) else {found}

    def tokenize(self, text: str, *, plain: bool) -> list[int]:
        return list(self._tokenizer(text, split_special_tokens=plain)["input_ids"])

    def chat_text(self, instruction: str) -> str:
        return str(self._chat(instruction, tokenize=False))

    def chat_tokens(self, instruction: str) -> int:
        return len(self._chat(instruction, tokenize=True, return_dict=False))

    def _chat(self, instruction: str, **options: Any) -> Any:
        """Render a question; what has no template, or one that cannot be rendered, gives nothing."""
        messages = [{"role": "user", "content": instruction}]
        try:
            return self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)
        except Exception:  # Jinja's, transformers', and whatever the template's own Python meets
            return ""

    def follow(self, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
        return follow(self._model, ids, answer)


@contextmanager
def _loading(folder: Path) -> Generator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each file format and architecture has its own
        raise UserError(
            f"transformers cannot load the export: {type(error).__name__}: {str(error)[:300]}",
            where=str(folder),
            fix="export it again",
        ) from error


def open_hf(folder: Path, *, trust_remote_code: bool) -> Transformers:
    """Load an exported folder as any user of transformers would, its weights widened to float32."""
    with _loading(folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=trust_remote_code
        )
    model, found = loaded
    faults = [*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]]
    if faults:
        raise UserError(
            f"{len(faults)} tensors of the export are missing, too many or misshapen, first {faults[0]}",
            where=str(folder),
            fix="export it again",
        )
    return Transformers(model.to(pick_device("auto")).eval(), tokenizer)


def open_adapter(folder: Path, source: Source) -> Transformers:
    """Load an exported adapter through PEFT onto the base in float32, with the tokenizer that lies beside it."""
    with _loading(folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = load_adapter(load_base_model(float32_of(source), source.place), folder, "export").eval()
    return Transformers(model, tokenizer, f"PEFT {version('peft')} on transformers {transformers.__version__}")


def float32_of(source: Source, quantization: Any = "none") -> ModelConfig:
    """Give the settings that load the base in float32, or with its matrices quantised and the rest in float32."""
    return ModelConfig(
        base_model=source.place.name, dtype="float32", quantization=quantization,
        trust_remote_code=source.trust_remote_code,
    )  # fmt: skip


class MetaReader:
    """Meta's interleaved rotary layout, computed by code that shares nothing with the export's."""

    gives_logits = True
    name = "interleaved-RoPE forward"

    def __init__(self, folder: Path) -> None:
        self._model = MetaModel(folder)

    def tokenize(self, text: str, *, plain: bool) -> None:
        """Say that the weights come without a program to tokenise."""

    def chat_text(self, instruction: str) -> None:
        """Say that the format holds no chat template."""

    def chat_tokens(self, instruction: str) -> None:
        """Say that the format holds no chat template."""

    def follow(self, ids: Sequence[int], answer: Sequence[int]) -> Tensor:
        return self._model.logits([*ids, *answer[:-1]])[-len(answer) :]
