"""The base's weight files, whole, in shards or pickled, with an adapter added; broken or foreign ones are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.errors import UserError
from alpaca_lora.export.adapter import Adapter, read_adapter
from alpaca_lora.export.merge import check_untied, open_base, open_merged

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, and `adapter` on its query and value projections."""
    folder = tmp_path_factory.mktemp("models")
    base = write_base(folder / "base")
    write_adapter(folder / "adapter", tiny_model(), str(base), lora_target_modules=["q_proj", "v_proj"])
    return folder


@pytest.fixture
def adapter(models: Path) -> Adapter:
    return read_adapter(models / "adapter")


@pytest.fixture
def base(models: Path, tmp_path: Path) -> Path:
    """A base of one's own, to spoil."""
    return Path(shutil.copytree(models / "base", tmp_path / "base"))


def _weights() -> dict[str, torch.Tensor]:
    return tiny_model().state_dict()


def _in_shards(folder: Path) -> None:
    tiny_model().save_pretrained(folder, max_shard_size="100KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def _as_pickle(folder: Path, weights: Any = None, **options: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(_weights() if weights is None else weights, folder / "pytorch_model.bin", **options)


def _as_pickled_shards(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    parts: dict[str, dict[str, torch.Tensor]] = {"pytorch_model-1.bin": {}, "pytorch_model-2.bin": {}}
    for number, (name, tensor) in enumerate(_weights().items()):
        parts[f"pytorch_model-{number % 2 + 1}.bin"][name] = tensor
    for file, tensors in parts.items():
        torch.save(tensors, folder / file)
    weight_map = {name: file for file, tensors in parts.items() for name in tensors}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spread",
    [
        lambda folder: None,
        _in_shards,
        _as_pickle,
        lambda folder: _as_pickle(folder, _use_new_zipfile_serialization=False),  # as torch wrote before 1.6
        _as_pickled_shards,
    ],
    ids=["one file", "shards", "pickle", "old pickle", "pickled shards"],
)
def test_every_way_of_storing_gives_the_same_tensors(
    base: Path, adapter: Adapter, spread: Callable[[Path], None]
) -> None:
    spread(base)
    merged, weights = open_merged(base, adapter), _weights()
    assert merged.shapes == {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert merged.changed == {name for name in weights if name.endswith(("q_proj.weight", "v_proj.weight"))}
    for name, weight in weights.items():
        found = merged.read(name)
        assert found.dtype == torch.float32
        expected = adapter.layers[name].merge(weight) if name in merged.changed else weight
        assert torch.equal(found, expected), name
        assert torch.equal(found, weight) == (name not in merged.changed), name


def test_each_tensor_keeps_its_own_precision_unless_another_is_asked_for(base: Path, adapter: Adapter) -> None:
    wide = {"model.norm.weight", "model.layers.1.self_attn.q_proj.weight"}
    stored = {name: tensor if name in wide else tensor.bfloat16() for name, tensor in _weights().items()}
    save_file(stored, base / "model.safetensors")
    merged = open_merged(base, adapter)
    for name, weight in stored.items():
        assert merged.stored_dtype(name) == merged.read(name).dtype == weight.dtype
        assert merged.read(name, torch.float16).dtype == torch.float16
        if name not in merged.changed:
            assert torch.equal(merged.read(name), weight)
            assert torch.equal(merged.read(name, torch.float16), weight.to(torch.float16))
        else:
            assert torch.equal(merged.read(name), adapter.layers[name].merge(weight).to(weight.dtype))


def test_without_an_adapter_it_is_the_base(base: Path) -> None:
    merged = open_merged(base, None)
    assert merged.changed == set()
    assert all(torch.equal(merged.read(name), weight) for name, weight in _weights().items())


@pytest.mark.parametrize("pickled", [False, True])
def test_buffers_of_2023_are_left_out(base: Path, pickled: bool) -> None:
    buffers = {f"model.layers.{block}.self_attn.rotary_emb.inv_freq": torch.ones(8) for block in range(2)}
    if pickled:
        _as_pickle(base, _weights() | buffers)
    else:
        save_file(_weights() | buffers, base / "model.safetensors")
    assert open_base(base).tensors.keys() == _weights().keys()


def test_an_index_may_name_a_buffer(base: Path) -> None:
    _in_shards(base)
    index = json.loads((base / INDEX).read_text(encoding="utf-8"))
    index["weight_map"]["model.layers.0.self_attn.rotary_emb.inv_freq"] = next(iter(index["weight_map"].values()))
    (base / INDEX).write_text(json.dumps(index), encoding="utf-8")
    assert open_base(base).tensors.keys() == _weights().keys()


# --- broken files ------------------------------------------------------------------------------------------------


def _second_shard(folder: Path) -> Path:
    _in_shards(folder)
    return sorted(folder.glob("model-*.safetensors"))[1]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _spoil_index(folder: Path, text: str) -> None:
    _in_shards(folder)
    (folder / INDEX).write_text(text, encoding="utf-8")


def _drop_a_tensor(folder: Path) -> None:
    shard = _second_shard(folder)
    tensors = load_file(shard)
    tensors.popitem()
    save_file(tensors, shard)


@pytest.mark.parametrize(
    ("spoil", "what", "where"),
    [
        (lambda folder: _second_shard(folder).unlink(), "model-00002-of-00005.safetensors is missing", "base"),
        (lambda folder: _cut(_second_shard(folder)), "the shard cannot be read: SafetensorError", "00002-of"),
        (lambda folder: _second_shard(folder).write_bytes(b"garbage" * 50), "the shard cannot be read", "00002-of"),
        (lambda folder: _second_shard(folder).write_bytes(b""), "the shard cannot be read", "00002-of"),
        (lambda folder: _cut(folder / "model.safetensors"), "the shard cannot be read", "model.safetensors"),
        (_drop_a_tensor, "no shard holds model.", INDEX),
        (lambda folder: _spoil_index(folder, "{"), "the index of the base's shards cannot be read", INDEX),
        (lambda folder: _spoil_index(folder, "{}"), "the index of the base's shards cannot be read", INDEX),
        (lambda folder: _spoil_index(folder, "[]"), "the index of the base's shards cannot be read", INDEX),
        (lambda folder: (folder / "model.safetensors").unlink(), "the base model has no weights", "base"),
        (lambda folder: (_as_pickle(folder), _cut(folder / "pytorch_model.bin")), "cannot be read", ".bin"),
        (lambda folder: _as_pickle(folder, [torch.ones(2)]), "cannot be read: TypeError", ".bin"),
        (lambda folder: _as_pickle(folder, {"model": _weights()}), "cannot be read: TypeError", ".bin"),
    ],
)
def test_a_base_that_is_not_whole_is_refused(base: Path, spoil: Callable[[Path], Any], what: str, where: str) -> None:
    spoil(base)
    with pytest.raises(UserError) as raised:
        open_base(base)
    assert what in raised.value.what
    assert where in raised.value.where
    assert raised.value.fix == "download it again"


class _Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(base: Path, tmp_path: Path, zipped: bool) -> None:
    weights: dict[str, Any] = {"extra": _Malicious(tmp_path / "victim")}
    _as_pickle(base, _weights() | weights, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"(?s)cannot be read.*more than plain tensors"):
        open_base(base)
    assert not (tmp_path / "victim").exists()


# --- a base that this adapter cannot be added to -----------------------------------------------------------------


def test_a_quantised_base_is_refused(base: Path, adapter: Adapter) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)files are quantised.*the unquantised model"):
        open_merged(base, adapter)


@pytest.mark.parametrize("pickled", [False, True])
def test_a_weight_of_whole_numbers_is_refused(base: Path, adapter: Adapter, pickled: bool) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = _weights() | {name: torch.ones(64, 64, dtype=torch.int8)}
    if pickled:
        _as_pickle(base, weights)
    else:
        save_file(weights, base / "model.safetensors")
    with pytest.raises(UserError, match=r"(?s)q_proj.weight is stored as (I8|int8).*the unquantised model"):
        open_merged(base, adapter)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"hidden_size": 32}, "changes model.layers.0.self_attn.q_proj.weight of [64, 64], which here is [64, 32]"),
        ({"num_hidden_layers": 1}, "changes model.layers.1.self_attn.q_proj.weight of [64, 64], which here does not"),
    ],
)
def test_a_base_of_another_size_is_refused(tmp_path: Path, adapter: Adapter, changes: Any, what: str) -> None:
    other = write_base(tmp_path / "other", **changes)
    with pytest.raises(UserError, match="the adapter does not fit this base") as raised:
        open_merged(other, adapter)
    assert what in raised.value.what
    assert "trained on" in raised.value.why


@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight"])
def test_an_adapter_on_tied_embeddings_is_refused_where_one_is_held_for_both(
    models: Path, adapter: Adapter, name: str
) -> None:
    trained_whole = Adapter(adapter.folder, adapter.settings, adapter.layers, {name: torch.ones(400, 64)}, {})
    merged = open_merged(models / "base", trained_whole)
    check_untied(merged, tied=False)
    check_untied(open_merged(models / "base", adapter), tied=True)
    with pytest.raises(UserError, match=f"the adapter changes {name}, which this base uses as embedding and as output"):
        check_untied(merged, tied=True)


def test_a_tied_head_is_no_tensor_to_add_to(tmp_path: Path, adapter: Adapter) -> None:
    tied = write_base(tmp_path / "tied", tie_word_embeddings=True)
    trained_whole = Adapter(adapter.folder, adapter.settings, {}, {"lm_head.weight": torch.ones(400, 64)}, {})
    with pytest.raises(UserError, match=r"changes lm_head\.weight of .400, 64., which here does not exist"):
        open_merged(tied, trained_whole)
