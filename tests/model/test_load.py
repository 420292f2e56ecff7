"""The base model: found, whole or refused, in the arithmetic asked for; its fingerprint; quantised training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model, write_base

from alpaca_lora.config import ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model.load import (
    EMBEDDED,
    BasePlace,
    find_base,
    load_base_model,
    load_base_tokenizer,
)

IDS = torch.arange(5, 25)[None]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A copy of the base, to be spoilt."""
    shutil.copytree(base, tmp_path / "copy")
    return tmp_path / "copy"


def _load(folder: Path, **settings: Any) -> Any:
    config = ModelConfig(base_model=str(folder), **{"device": "cpu", "dtype": "float32"} | settings)
    return load_base_model(config, find_base(config))


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits.float()


# --- finding -----------------------------------------------------------------------------------------------------


def test_the_embedded_model_is_found_by_name_and_computes() -> None:
    config = ModelConfig(base_model=EMBEDDED, device="cpu")
    place = find_base(config)
    assert (place.name, place.commit) == (EMBEDDED, None)
    tokenizer, notes = load_base_tokenizer(config, place)
    assert notes == []
    assert _logits(load_base_model(config, place)).shape == (1, 20, len(tokenizer))


def test_a_folder_is_found(base: Path) -> None:
    assert find_base(ModelConfig(base_model=str(base))) == BasePlace(str(base), base, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "no base model given"),
        ("./nowhere", "the base model folder ./nowhere does not exist"),
        ("a/b/c", "the base model folder a/b/c does not exist"),
        ("empty", "empty is no model folder: it has no config.json"),
        ("file.gguf", "file.gguf is a file"),
    ],
)
def test_what_is_no_model_folder_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.gguf").touch()
    with pytest.raises(UserError) as error:
        find_base(ModelConfig(base_model=name))
    assert message in str(error.value)
    assert "fix: " in str(error.value)


def test_a_name_that_is_no_folder_is_asked_of_the_hub() -> None:
    with pytest.raises(UserError, match="someone/model is not in the local cache"):
        find_base(ModelConfig(base_model="someone/model"))


# --- loading -----------------------------------------------------------------------------------------------------


def test_the_model_is_the_saved_one_frozen_in_eval_mode(base: Path) -> None:
    model = _load(base)
    assert torch.equal(_logits(model), _logits(tiny_model()))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_arithmetic_is_the_one_asked_for(base: Path, dtype: Any) -> None:
    assert {parameter.dtype for parameter in _load(base, dtype=dtype).parameters()} == {getattr(torch, dtype)}


def _as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _in_shards(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    tiny_model().save_pretrained(folder, max_shard_size="100KB")


@pytest.mark.parametrize("spread", [_as_pickle, _in_shards])
def test_pickled_and_sharded_weights_load(copy: Path, spread: Callable[[Path], None]) -> None:
    spread(copy)
    assert torch.equal(_logits(_load(copy)), _logits(tiny_model()))


def test_a_tied_head_is_not_missed(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    assert torch.equal(_logits(_load(folder)), _logits(tiny_model(tie_word_embeddings=True)))


def test_tensors_that_old_uploads_carry_along_are_no_fault(copy: Path) -> None:
    _edit_weights(copy, lambda tensors: tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)})
    assert torch.equal(_logits(_load(copy)), _logits(tiny_model()))


def _edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(edit(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


UP = "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tensors: {name: tensor for name, tensor in tensors.items() if name != UP},
            f"1 tensors missing, first {UP}",
        ),
        (
            lambda tensors: {name: tensor for name, tensor in tensors.items() if "lm_head" not in name},
            "1 tensors missing, first lm_head.weight",
        ),
        (
            lambda tensors: tensors | {UP.replace("0", "2"): torch.zeros(3, 3)},
            "1 tensors unknown to the model, first model.layers.2.mlp.up_proj.weight",
        ),
        (lambda tensors: tensors | {UP: torch.zeros(3, 3)}, f"1 tensors of another shape, first {UP}"),
    ],
)
def test_weights_of_another_model_are_refused(copy: Path, edit: Any, message: str) -> None:
    """Left to itself transformers fills what is missing with random numbers."""
    _edit_weights(copy, edit)
    with pytest.raises(UserError) as error:
        _load(copy)
    assert message in str(error.value)
    assert str(copy) in str(error.value)
