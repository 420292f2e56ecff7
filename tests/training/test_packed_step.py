"""One step and fifty: packed, packed plainly, and padded are the same training, with the model's full arithmetic."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import VOCABULARY, tiny_model

from alpaca_lora.config import LoraConfig, Packing, TrainConfig
from alpaca_lora.data.tokens import Ledger, TokenTable
from alpaca_lora.model import attention
from alpaca_lora.model.attention import attending_packs
from alpaca_lora.model.lora import attach_adapter
from alpaca_lora.training.batches import make_batches
from alpaca_lora.training.loss import TargetNats, base_of
from alpaca_lora.training.pack_check import choose_packing

TRAIN = TrainConfig(batch_size=16, micro_batch_size=4, tokens_per_pack=160)
RNG = np.random.default_rng(3)
HEADS = [RNG.integers(3, VOCABULARY, 29).tolist(), RNG.integers(3, VOCABULARY, 39).tolist()]
SYSTEM = RNG.integers(3, VOCABULARY, 120).tolist()


def make_table(kind: str, *, train_on_inputs: bool = False) -> TokenTable:
    """Sixteen rows: both heads mixed, one long system prompt, nothing in common, or some longer than a pack."""
    rng = np.random.default_rng(4)
    rows, masks = [], []
    for number in range(16):
        head = {"two heads": HEADS[number % 3 == 0], "system prompt": SYSTEM, "nothing": []}.get(kind, HEADS[0])
        own = rng.integers(3, VOCABULARY, int(rng.integers(4, 40)) + (170 if kind == "long" and number % 5 == 0 else 0))
        first = 3 + number if kind == "nothing" else 1
        ids = np.array([first, *head, *own.tolist()], dtype=np.int32)
        rows.append(ids)
        masks.append(np.arange(len(ids)) >= (0 if train_on_inputs else len(head) + 1 + len(own) // 3))
    starts = np.cumsum([0, *(len(ids) for ids in rows)])
    return TokenTable(np.concatenate(rows), np.concatenate(masks), starts, np.arange(16), Ledger(), "")


def make_model(lora: LoraConfig, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    base = tiny_model(**changes).to(dtype)
    if dtype == torch.float64:
        _widen_norms(base)
    model = attach_adapter(base.requires_grad_(False), lora, seed=1).to(dtype)
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)  # B too: its zeros would hide half of the gradients
    return model.train()


def _widen_norms(base: Any) -> None:
    """Put torch's norms in place of transformers', which compute in float32 even in a float64 model."""
    for name, module in list(base.named_modules()):
        if name.endswith("norm"):
            gemma = "Gemma" in type(module).__name__  # its weight is what is added to one
            eps = getattr(module, "variance_epsilon", 1e-6)
            wide = torch.nn.RMSNorm(module.weight.shape[0], eps=eps, dtype=torch.float64)
            wide.weight.data.copy_(module.weight.data + float(gemma))
            parent, _, own = name.rpartition(".")
            setattr(base.get_submodule(parent), own, wide)


def step(model: Any, table: TokenTable, packing: Packing) -> tuple[float, dict[str, torch.Tensor], int]:
    """Return a step's loss, its gradients, and the tokens computed."""
    batches = make_batches(table, np.arange(len(table)), replace(TRAIN, packing=packing))
    nats, total = TargetNats(model), 0.0
    with attending_packs(base_of(model)) if packing != "none" else nullcontext():
        for batch in batches:
            loss = nats(batch)
            loss.backward()
            total += float(loss.detach())
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return total, gradients, sum(batch.input_ids.numel() for batch in batches)


CASES: dict[str, tuple[str, bool, LoraConfig, dict[str, Any]]] = {
    "two heads": ("two heads", False, LoraConfig(lora_r=4), {}),
    "two heads, prompts trained": ("two heads", True, LoraConfig(lora_r=4), {}),
    "system prompt": ("system prompt", False, LoraConfig(lora_r=4), {}),
    "system prompt, trained": ("system prompt", True, LoraConfig(lora_r=4), {}),
    "nothing in common": ("nothing", False, LoraConfig(lora_r=4), {}),
    "longer than a pack": ("long", True, LoraConfig(lora_r=4), {}),
    "no grouped queries": ("two heads", False, LoraConfig(lora_r=4), {"num_key_value_heads": 4}),
    "one key head": ("two heads", False, LoraConfig(lora_r=4), {"num_key_value_heads": 1}),
    "tied embeddings": ("two heads", True, LoraConfig(lora_r=4), {"tie_word_embeddings": True}),
    "rsLoRA": ("two heads", False, LoraConfig(lora_r=4, use_rslora=True), {}),
    "DoRA": ("two heads", False, LoraConfig(lora_r=4, use_dora=True), {}),
    "sliding window": ("two heads", False, LoraConfig(lora_r=4), {"family": "mistral", "sliding_window": 11}),
    "gemma": ("two heads", False, LoraConfig(lora_r=4), {"family": "gemma3_text", "sliding_window": 16}),
    "qwen": ("two heads", True, LoraConfig(lora_r=4), {"family": "qwen3"}),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_do_not_depend_on_the_packing(case: str) -> None:
    kind, train_on_inputs, lora, changes = CASES[case]
    table, model = make_table(kind, train_on_inputs=train_on_inputs), make_model(lora, **changes)
    loss, gradients, padded = step(model, table, "none")
    assert len(gradients) == 2 * 2 * 7 + (2 * 7 if lora.use_dora else 0)
    assert all(float(gradient.abs().max()) > 1e-3 for gradient in gradients.values())
    computed = {}
    for packing in ("plain", "shared_prefix"):
        packed_loss, packed_gradients, computed[packing] = step(model, table, packing)
        assert packed_loss == pytest.approx(loss, rel=1e-13)
        for name, expected in gradients.items():  # float64 sums in another order, through two layers and back
            difference = float((packed_gradients[name] - expected).abs().max())
            assert difference < 1e-11 * float(expected.abs().max()), name
    assert computed["plain"] == int(table.lengths.sum()) < padded
    assert (computed["shared_prefix"] < computed["plain"]) == (kind != "nothing")


def train(packing: Packing, steps: int) -> dict[str, torch.Tensor]:
    """Train a fresh adapter in float32 at the default learning rate."""
    table, base = make_table("two heads"), tiny_model(initializer_range=0.05).requires_grad_(False)
    model = attach_adapter(base, LoraConfig(lora_r=4), seed=1).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=TRAIN.learning_rate)
    settings, nats = replace(TRAIN, packing=packing), TargetNats(model)
    n_targets = table.count_targets(np.arange(16))
    with attending_packs(base_of(model)) if packing != "none" else nullcontext():
        for _ in range(steps):
            for batch in make_batches(table, np.arange(16), settings):
                (nats(batch) / n_targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def test_fifty_steps_give_the_same_adapter() -> None:
    """AdamW divides a gradient by its own size, so rounding of small ones counts as much as that of large ones."""
    reference = train("none", 50)
    start = train("none", 0)
    moved = max(float((reference[name] - start[name]).abs().max()) for name in start)
    assert moved > 5e-3
    for packing in ("shared_prefix", "plain"):
        packed = train(packing, 50)
        assert max(float((packed[name] - reference[name]).abs().max()) for name in reference) < 1e-5


def test_activation_checkpointing_changes_no_bit() -> None:
    table, model = make_table("two heads"), make_model(LoraConfig(lora_r=4, lora_dropout=0.2), torch.float32)
    results = []
    for every in (0, 1, 2):
        if every:
            base_of(model).activation_checkpointing_enable(every_n_layers=every)
        torch.manual_seed(7)
        results.append(step(model, table, "shared_prefix"))
    for loss, gradients, _ in results[1:]:
        assert loss == results[0][0]
        assert all(torch.equal(gradients[name], results[0][1][name]) for name in gradients)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "cohere", "granite", "phi3"])
def test_known_families_are_packed(family: str) -> None:
    packing, notes = choose_packing(tiny_model(family), make_table("two heads"), "shared_prefix")
    assert (packing, notes) == ("shared_prefix", [])


def test_a_window_that_packs_are_not_told_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows longer than the window: the check's rows are longer too, and see that it is ignored."""
    model, table = tiny_model("mistral", sliding_window=11), make_table("two heads")
    assert choose_packing(model, table, "shared_prefix") == ("shared_prefix", [])
    real = attention.pack_attention

    def deaf(*inputs: Any, sliding_window: int | None = None, **settings: Any) -> Any:
        return real(*inputs, **settings)

    monkeypatch.setattr(attention, "pack_attention", deaf)
    assert choose_packing(model, table, "shared_prefix")[0] == "none"


def test_a_known_family_keeps_the_packing_asked_for() -> None:
    model, table = make_model(LoraConfig(lora_r=4), torch.float32), make_table("two heads")
    assert choose_packing(model, table, "shared_prefix") == ("shared_prefix", [])
    assert choose_packing(model, table, "plain") == ("plain", [])
    assert model.training


def test_a_model_that_cannot_be_packed_is_found_and_said() -> None:
    """GPT-2 learns its positions, which packs can give it; Bloom's attention (ALiBi) knows no packs at all."""
    table = make_table("two heads")
    bloom = tiny_model("bloom", hidden_size=64, n_head=4, n_layer=2)
    packing, notes = choose_packing(bloom, table, "shared_prefix")
    assert packing == "none"
    assert len(notes) == 2
    assert "shared_prefix does not fit BloomForCausalLM" in notes[0]
    assert "going on with none" in notes[1]


def _attend(query: Any, key: Any, value: Any, scaling: float, mask: torch.Tensor) -> Any:
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True).transpose(1, 2), None


@pytest.mark.parametrize(("fault", "dtype"), [
    ("one token too many", torch.float32),
    ("one token too many", torch.bfloat16),
    ("a prefix token missing", torch.float32),  # drowns in bfloat16's rounding
])  # fmt: skip
def test_the_check_sees_a_single_wrong_pair(fault: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key more, or less, for one row of a pack."""
    model, table = make_model(LoraConfig(lora_r=4), torch.float32).to(dtype), make_table("two heads")

    def wrong(module: Any, query: Any, key: Any, value: Any, mask: Any, *, pack: Any, scaling: float, **_: Any) -> Any:
        tokens = query.shape[2]
        sees = torch.zeros(tokens, tokens, dtype=torch.bool)
        for span in pack.spans:
            own = slice(span.start, span.start + span.length)
            sees[own, own] = torch.ones(span.length, span.length, dtype=torch.bool).tril()
            sees[own, span.prefix_start : span.prefix_start + span.prefix_length] = True
        last = pack.spans[-1]
        if fault == "one token too many":
            sees[last.start :, pack.spans[-2].start - 1] = True  # the end of the first row
        else:
            sees[last.start :, 0] = False
        return _attend(query, key, value, scaling, sees)

    monkeypatch.setattr("alpaca_lora.model.attention.pack_attention", wrong)
    packing, notes = choose_packing(model, table, "shared_prefix")
    assert packing != "shared_prefix"
    assert "hidden states differ by" in notes[0]


@pytest.mark.parametrize(
    ("name", "setting"), [("gemma2", {"attn_logit_softcapping": 5.0}), ("llama", {"attention_dropout": 0.1})]
)
def test_attention_that_packs_do_not_compute_is_refused(name: str, setting: dict[str, float]) -> None:
    model = tiny_model(name, **setting)
    packing, notes = choose_packing(model, make_table("two heads"), "shared_prefix")
    assert packing == "none"
    assert "softcap" in notes[0] or "attention dropout" in notes[0]
