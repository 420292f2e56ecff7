"""The loss against transformers' own, its gradients, and its independence of how a step is cut up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from alpaca_lora.training import loss as loss_module
from alpaca_lora.training.loss import IGNORED, TargetNats, projection_error, target_nats

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


def make_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Three right-padded rows of 12, 9 and 5 tokens, the first tokens of each not trained."""
    torch.manual_seed(4)
    input_ids = torch.randint(3, 101, (3, 12))
    labels = input_ids.clone()
    for row, (prompt, length) in enumerate(((4, 12), (1, 9), (3, 5))):
        input_ids[row, length:] = 0
        labels[row, :prompt] = IGNORED
        labels[row, length:] = IGNORED
    return input_ids, labels


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_transformers_loss_of_each_row_alone(family: str) -> None:
    model = make_model(family)
    input_ids, labels = make_rows()
    expected = 0.0
    for row, length in enumerate((12, 9, 5)):
        ids, own = input_ids[row : row + 1, :length], labels[row : row + 1, :length]
        n_targets = int((own[:, 1:] != IGNORED).sum())
        expected += float(model(input_ids=ids, labels=own).loss.detach()) * n_targets
    # transformers casts logits to float32 before its loss, as ours does: 1e-6 is float32 rounding on sums near 100
    assert float(TargetNats(model)(input_ids, labels).detach()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_projection_is_the_models_own(family: str) -> None:
    model = make_model(family)
    assert projection_error(model, make_rows()[0][:1]) == 0
    name = {"gemma2": "final_logit_softcapping", "cohere": "logit_scale", "granite": "logits_scaling"}.get(family)
    if name:  # what the check is for: a head that does more than we know of is noticed
        config = model.config
        hidden = config.__dict__.pop(name)
        assert hidden
        model_forward_uses = projection_error_without(model, name, hidden)
        assert model_forward_uses > 1e-2


def projection_error_without(model: Any, name: str, value: float) -> float:
    """Give the projection error when our side does not see a setting that the model's forward uses."""
    input_ids = make_rows()[0][:1]
    with torch.no_grad():
        hidden = model.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state
        ours = loss_module.project(model, hidden)
        setattr(model.config, name, value)
        own = model(input_ids=input_ids, use_cache=False).logits
    return float((ours - own).abs().max() / own.abs().max())


def test_chunks_change_neither_loss_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    torch.manual_seed(5)
    targets = torch.randint(0, 101, (50,))

    def run(chunk: int) -> tuple[float, torch.Tensor]:
        monkeypatch.setattr(loss_module, "CHUNK_TOKENS", chunk)
        hidden = torch.linspace(-1, 1, 50 * 32, dtype=torch.float64).reshape(50, 32).requires_grad_()
        nats = target_nats(model, hidden, targets)
        nats.backward()
        assert hidden.grad is not None
        return float(nats.detach()), hidden.grad

    whole, whole_gradient = run(1024)
    for chunk in (1, 7, 49):
        nats, gradient = run(chunk)
        assert nats == pytest.approx(whole, rel=1e-6)  # float32 sums in another order
        torch.testing.assert_close(gradient, whole_gradient, rtol=1e-5, atol=1e-7)


def test_gradient_does_not_depend_on_micro_batches() -> None:
    model = make_model("llama")
    input_ids, labels = make_rows()
    nats = TargetNats(model)

    def gradients(cuts: list[list[int]]) -> list[torch.Tensor]:
        model.zero_grad()
        for rows in cuts:
            nats(input_ids[rows], labels[rows]).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    together = gradients([[0, 1, 2]])
    assert together
    for cuts in ([[0], [1], [2]], [[2, 0], [1]]):
        for found, expected in zip(gradients(cuts), together, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # logits are float32


def test_no_target_is_a_loss_of_zero_with_a_graph() -> None:
    model = make_model("llama")
    input_ids, labels = make_rows()
    nats = TargetNats(model)(input_ids, torch.full_like(labels, IGNORED))
    nats.backward()  # data-parallel ranks must be able to go through backward together
    assert float(nats.detach()) == 0
