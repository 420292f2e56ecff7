"""A LoRA layer in the fewest passes over memory: two matrix products that add into the base's own.

PEFT computes W x, B A x, scaling times that, and the sum, each a tensor of its own, and as many again for the gradient.
Here the small products are accumulated into the large ones' results. Used while training; anything else is PEFT's.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear, LoraLayer
from torch import Tensor, nn


class LoraLinear(Linear):
    """PEFT's LoRA layer of an unquantised linear layer, with a forward and backward of our own while it trains.

    Left to PEFT: evaluation, several or disabled or merged adapters, DoRA and other variants, dropout above 0.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute x W' + bias + scaling * x A' B' (arXiv 2106.09685).

        Args:
            x: float (..., in features).

        Returns:
            float (..., out features).
        """
        name = self.active_adapters[0]
        is_plain = (
            self.training
            and len(self.active_adapters) == 1
            and name in self.lora_A
            and name not in self.lora_variant
            and isinstance(self.lora_dropout[name], nn.Identity)
            and not (self.disable_adapters or self.merged or args or kwargs)
        )
        if not is_plain:
            return super().forward(x, *args, **kwargs)
        base = cast(nn.Linear, self.get_base_layer())
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else base.weight.dtype
        inputs = (tensor.to(dtype) for tensor in (x, base.weight, down, up))
        own_bias = cast("Tensor | None", base.bias)
        bias = None if own_bias is None else own_bias.to(dtype)
        return cast(Tensor, _LoraProduct.apply(*inputs, bias, self.scaling[name]))


def remove_adapters(model: nn.Module) -> None:
    """Put the base's own layers back where LoRA layers stand, as if no adapter had ever been attached."""
    for name, layer in [*model.named_modules()]:
        if isinstance(layer, LoraLayer):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, bias: Tensor | None, scaling: float
    ) -> Tensor:
        flat = x.flatten(0, -2)
        narrow = flat @ down.t()
        output = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
        output.addmm_(narrow, up.t(), alpha=scaling)
        ctx.save_for_backward(flat, weight, down, up, narrow)
        ctx.scaling, ctx.shape = scaling, x.shape
        return output.unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, down, up, narrow = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        of_narrow = (gradient @ up).mul_(ctx.scaling)
        of_up = (gradient.t() @ narrow).mul_(ctx.scaling)
        of_down = of_narrow.t() @ flat
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(of_narrow, down).view(ctx.shape)
        return of_x, None, of_down, of_up, None, None
