"""Our LoRA layer against PEFT's own, forward and backward, and where it steps aside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft.tuners.lora.layer import Linear

from alpaca_lora.model.lora_linear import LoraLinear


def make_layer(kind: Any, *, bias: bool = False, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = PeftConfig(r=3, lora_alpha=7, **settings)
    base = torch.nn.Linear(10, 6, bias=bias).to(dtype).requires_grad_(False)
    layer = kind(base, "default", config=config, r=3, lora_alpha=7, use_rslora=config.use_rslora)
    layer.to(dtype)
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    return layer.train()


def run(layer: Any, x: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    output = layer(x)
    (output * weight).sum().backward()
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return [output.detach(), x.grad, down.grad, up.grad]


def functions(layer: Any, x: torch.Tensor) -> str:
    return (
        type(layer(x.clone().requires_grad_()).grad_fn).__name__
        + type(layer(x.clone().requires_grad_()).grad_fn.next_functions[0][0]).__name__
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}])
@pytest.mark.parametrize("shape", [(5, 10), (2, 5, 10), (1, 1, 1, 10)])
def test_equals_pefts_layer(bias: bool, settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(shape, dtype=torch.float64), torch.randn(*shape[:-1], 6, dtype=torch.float64)
    ours, theirs = (make_layer(kind, bias=bias, **settings) for kind in (LoraLinear, Linear))
    assert "LoraProduct" in functions(ours, x)
    for mine, reference in zip(run(ours, x, weight), run(theirs, x, weight), strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-13)


def test_under_autocast_it_rounds_as_pefts_layer_does() -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(50, 10), torch.randn(50, 6)
    exact = run(make_layer(Linear, dtype=torch.float32), x, weight)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (run(make_layer(kind, dtype=torch.float32), x, weight) for kind in (LoraLinear, Linear))
    for mine, reference, truth in zip(ours, theirs, exact, strict=True):
        assert mine.dtype == reference.dtype
        error, their_error = (float((found - truth).abs().mean()) for found in (mine, reference))
        assert 0 < error < 1.3 * their_error  # two roundings may fall either way


def test_gradients_are_right_by_finite_differences() -> None:
    layer = make_layer(LoraLinear, bias=True)
    x = torch.randn(4, 10, dtype=torch.float64, requires_grad=True)
    parameters = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


def test_without_a_gradient_for_its_input_none_is_computed() -> None:
    layer = make_layer(LoraLinear)
    layer(torch.ones(2, 10, dtype=torch.float64)).sum().backward()
    assert layer.lora_A["default"].weight.grad is not None


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}], ids=["dropout", "DoRA"])
def test_what_it_does_not_know_is_pefts(settings: dict[str, Any]) -> None:
    layer, x = make_layer(LoraLinear, **settings), torch.ones(2, 10, dtype=torch.float64)
    assert "LoraProduct" not in functions(layer, x)


def test_evaluation_is_pefts() -> None:
    layer, x = make_layer(LoraLinear).eval(), torch.ones(2, 10, dtype=torch.float64)
    assert "LoraProduct" not in functions(layer, x)
    layer.train()
    layer.merge()
    assert "LoraProduct" not in functions(layer, x)
