"""Where the time of a training step goes: by part of the model, and by operation.

    python benchmarks/profile_step.py --shape 135m --batch_size 32 --output FILE.json

Trains steps of real rows with the program's own batches, loss and adapter; times them without a profiler, then profiles
one. Prints two tables and one JSON line: seconds, share of the machine's own matrix multiplication rate for what had to
be computed (see `shapes.py`), the share of each part, and of each operation (of each kernel on CUDA).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from compare import make_files, make_job, rate_apart, shared_parser
from result_line import command_line, publish, result_head
from shapes import SHAPES, as_rows, needed, needed_flops
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AttentionInterface, LlamaForCausalLM

from alpaca_lora.config import LoraConfig, TrainConfig
from alpaca_lora.model.attention import IMPLEMENTATION, attending_packs, pack_attention
from alpaca_lora.model.device import half_precision, keep_freed_memory
from alpaca_lora.model.lora import attach_adapter
from alpaca_lora.training.batches import Batch, packed_batches, padded_batches
from alpaca_lora.training.loss import TargetNats, base_of

SHOWN = 16
BACKWARD = "autograd::engine::evaluate_function: "
PARTS = {
    "linear layers, forward": ("_LoraProduct",),
    "linear layers, backward": (BACKWARD + "_LoraProductBackward",),
    "attention, forward": ("attention",),
    "attention, backward": tuple(
        BACKWARD + name
        for name in ("ScaledDotProductFlashAttentionForCpuBackward0", "SplitWithSizesBackward0", "CatBackward0")
    ),
    "head and loss": ("_ChunkedNats", BACKWARD + "_ChunkedNatsBackward"),
    "update": ("Optimizer.step#AdamW.step",),
}
"""Names under which the profiler sums each part; the rest is norms, rotations, activations and residuals."""


def labelled_attention(*inputs: Any, **settings: Any) -> tuple[torch.Tensor, None]:
    """Attend as always, under a name that the profiler sums."""
    with record_function("attention"):
        return pack_attention(*inputs, **settings)


def make_step(model: Any, batches: list[Batch], device: torch.device) -> Callable[[], float]:
    """Give a function that makes one optimiser step and returns its summed loss."""
    nats = TargetNats(model).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, fused=True)
    n_targets = sum(float(batch.weights.sum()) for batch in batches)
    dtype = base_of(model).dtype
    autocast = half_precision(device, dtype)

    def step() -> float:
        total = 0.0
        for batch in batches:
            with autocast:
                loss = nats(batch.to(device))
            (loss / n_targets).backward()
            total += float(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
        return total / n_targets

    return step


def profiled(step: Callable[[], float], device: torch.device) -> tuple[dict[str, float], dict[str, float]]:
    """Profile one step; give the share of each part and of each operation."""
    on_card = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]) as profiler:
        step()
    events = profiler.key_averages()
    own = {event.key: event.self_device_time_total if on_card else event.self_cpu_time_total for event in events}
    whole = {event.key: event.device_time_total if on_card else event.cpu_time_total for event in events}
    total = sum(own.values())
    parts = {part: sum(whole.get(name, 0.0) for name in names) / total for part, names in PARTS.items()}
    parts["everything else"] = 1 - sum(parts.values())
    return parts, {name: time / total for name, time in sorted(own.items(), key=lambda item: -item[1])[:SHOWN]}


def main() -> None:
    """Time, profile, print."""
    parser = shared_parser(__doc__, batch_size=32, steps=1)
    parser.add_argument("--packing", choices=("shared_prefix", "plain", "none"), default="shared_prefix")
    parser.add_argument("--tokens_per_pack", type=int, default=TrainConfig().tokens_per_pack)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    folder, run = make_files(arguments)
    rows = as_rows(make_job("ours", arguments, folder, run).read_tokens())
    if device.type == "cpu":
        keep_freed_memory()
    if arguments.packing == "none":
        batches = padded_batches(rows, arguments.micro_batch_size)
    else:
        share = arguments.packing == "shared_prefix"
        batches = packed_batches(rows, arguments.tokens_per_pack, share_prefix=share)
    base = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, arguments.dtype)).to(device)
    model = attach_adapter(base.requires_grad_(False), LoraConfig(lora_r=16), seed=0)
    step, seconds = make_step(model, batches, device), []
    with attending_packs(base) if arguments.packing != "none" else nullcontext():
        AttentionInterface.register(IMPLEMENTATION, labelled_attention)
        rates = [rate_apart(arguments)]
        step()
        for _ in range(arguments.repeats):
            began = time.perf_counter()
            loss = step()
            seconds.append(time.perf_counter() - began)
        rates.append(rate_apart(arguments))
        parts, operations = profiled(step, device)
    flops = needed_flops(SHAPES[arguments.shape], needed([rows]))
    share = flops / statistics.median(seconds) / statistics.mean(rates)
    computed = sum(batch.input_ids.numel() for batch in batches)
    real = sum(len(row.input_ids) for row in rows)
    print(f"a step of {len(rows)} rows: {real:,} tokens, {computed:,} computed in {len(batches)} batches")
    print(f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f}), {share:.1%} of the matmul rate")
    for shares in (parts, operations):
        print("", *(f"{value:6.1%}  {name}" for name, value in shares.items()), sep="\n")
    line = {
        **result_head("profile_step", command_line("profile_step", arguments), arguments.device),
        "rows": len(rows), "real_tokens": real, "computed_tokens": computed, "seconds": seconds, "loss": loss,
        "matmul_flops": rates, "matmul_share": share, "parts": parts, "operations": operations,
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()
