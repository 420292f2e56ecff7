"""The loss against transformers' own, its gradients, and its independence of how a step is cut up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from alpaca_lora.data.tokens import TokenRow
from alpaca_lora.training import loss as loss_module
from alpaca_lora.training.batches import padded_batches
from alpaca_lora.training.loss import TargetNats, projection_error, target_nats

SIZES = {"vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "qwen2": {},
    "gemma2": {"final_logit_softcapping": 3.0, "attn_implementation": "eager"},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
}


def make_model(family: str) -> Any:
    config = AutoConfig.for_model(
        family, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **SIZES, **FAMILIES[family],
    )  # fmt: skip
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # logits large enough that scaling and capping show
    return model


def make_rows() -> list[TokenRow]:
    """Three rows of 12, 9 and 5 tokens, the first tokens of each not trained."""
    rng = np.random.default_rng(4)
    return [
        TokenRow(rng.integers(3, 101, length).astype(np.int32), np.arange(length) >= prompt, number)
        for number, (prompt, length) in enumerate(((4, 12), (1, 9), (3, 5)))
    ]


def sample() -> torch.Tensor:
    return torch.from_numpy(make_rows()[0].input_ids).long()[None]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_transformers_loss_of_each_row_alone(family: str) -> None:
    model = make_model(family)
    expected = 0.0
    for row in make_rows():
        ids, own = (torch.from_numpy(values).long()[None] for values in (row.input_ids, row.labels))
        n_targets = int((own[:, 1:] != -100).sum())
        expected += float(model(input_ids=ids, labels=own).loss.detach()) * n_targets
    (batch,) = padded_batches(make_rows(), 3)
    # transformers casts logits to float32 before its loss: 1e-6 is float32 rounding on sums near 100
    assert float(TargetNats(model)(batch).detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_projection_is_the_models_own(family: str) -> None:
    model = make_model(family)
    assert projection_error(model, sample()) == 0
    name = {"gemma2": "final_logit_softcapping", "cohere": "logit_scale", "granite": "logits_scaling"}.get(family)
    if name:  # what the check is for: a head that does more than we know of is noticed
        config = model.config
        hidden = config.__dict__.pop(name)
        assert hidden
        model_forward_uses = projection_error_without(model, name, hidden)
        assert model_forward_uses > 1e-2


def projection_error_without(model: Any, name: str, value: float) -> float:
    """Give the projection error when our side does not see a setting that the model's forward uses."""
    input_ids = sample()
    with torch.no_grad():
        hidden = model.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state
        ours = loss_module.project(model, hidden)
        setattr(model.config, name, value)
        own = model(input_ids=input_ids, use_cache=False).logits
    return float((ours - own).abs().max() / own.abs().max())


def plain_nats(model: Any, hidden: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Compute the loss as a textbook does: all logits at once, left to autograd."""
    return cross_entropy(model.lm_head(hidden), targets, reduction="none") @ weights


@pytest.mark.parametrize("chunk", [1, 7, 49, 1024])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chunks_give_the_textbook_loss_and_gradient(
    chunk: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", chunk)
    model = make_model("llama").to(dtype).requires_grad_(False)
    torch.manual_seed(5)
    targets, weights = torch.randint(0, 101, (50,)), torch.randint(1, 5, (50,)).float()
    hidden = torch.randn(50, 32, dtype=dtype).requires_grad_()
    expected = plain_nats(model, hidden, targets, weights.to(dtype))
    (reference,) = torch.autograd.grad(expected * 0.3, hidden)
    found = target_nats(model, hidden, targets, weights)
    (gradient,) = torch.autograd.grad(found * 0.3, hidden)
    digits = 1e-13 if dtype == torch.float64 else 1e-5  # sums of 50 in another order
    assert found.dtype == dtype
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=digits)
    torch.testing.assert_close(gradient, reference, rtol=digits, atol=digits)


def test_under_autocast_the_sum_is_still_float32() -> None:
    """Half precision may round the logits, not the sum over targets: 200 x 4.6 nats would stand in steps of 4."""
    model = make_model("llama").to(torch.bfloat16).requires_grad_(False)
    torch.manual_seed(5)
    hidden = torch.randn(200, 32, dtype=torch.bfloat16).requires_grad_()
    targets, weights = torch.randint(0, 101, (200,)), torch.ones(200)
    expected = cross_entropy(model.lm_head(hidden).float(), targets, reduction="sum")
    with torch.autocast("cpu", torch.bfloat16):
        found = target_nats(model, hidden, targets, weights)
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_never_more_than_a_chunk_of_logits_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", 8)
    model, rows = make_model("llama"), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    hidden = torch.randn(50, 32, dtype=torch.float64).requires_grad_()
    target_nats(model, hidden, torch.zeros(50, dtype=torch.int64), torch.ones(50)).backward()
    assert rows == [8, 8, 8, 8, 8, 8, 2]  # and none a second time for the gradient


def test_without_a_gradient_nothing_is_kept_for_it() -> None:
    model = make_model("llama")
    with torch.no_grad():
        nats = target_nats(model, torch.ones(3, 32, dtype=torch.float64), torch.tensor([1, 2, 3]), torch.ones(3))
    assert not nats.requires_grad


def test_gradient_does_not_depend_on_micro_batches() -> None:
    model = make_model("llama")
    model.lm_head.requires_grad_(False)  # frozen, as in every run: only what reaches the hidden states is computed
    rows, nats = make_rows(), TargetNats(model)

    def gradients(cuts: list[list[int]]) -> list[torch.Tensor]:
        model.zero_grad()
        for cut in cuts:
            for batch in padded_batches([rows[number] for number in cut], 3):
                nats(batch).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    together = gradients([[0, 1, 2]])
    assert together
    for cuts in ([[0], [1], [2]], [[2, 0], [1]]):
        for found, expected in zip(gradients(cuts), together, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # norms are float32


def test_no_target_is_a_loss_of_zero_with_a_graph() -> None:
    model = make_model("llama")
    row = make_rows()[0]
    (batch,) = padded_batches([TokenRow(row.input_ids, np.zeros(12, dtype=bool), 0)], 1)
    nats = TargetNats(model)(batch)
    nats.backward()  # data-parallel ranks must be able to go through backward together
    assert float(nats.detach()) == 0
