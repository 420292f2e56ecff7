"""Show that packs with shared prompt heads train the same model: our losses beside the 2023 recipe's, step by step.

    python benchmarks/same_losses.py --shape 15m --batch_size 8 --steps 100 [--dtype bfloat16] [--packing plain]

Both start from the same base and the same adapter and take the same batches in the same order at the same constant
rate: ours packed, the recipe (`transformers.Trainer`, PEFT, AdamW) in padded micro-batches of 8. Each is a process of
its own. Prints the losses of some steps, the largest difference of all, and one JSON line with every loss. With the
default settings it takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from compare import make_files, make_job, run_apart, shared_parser
from result_line import command_line, publish, result_head

SHOWN_STEPS = 10


def losses_of(name: str, arguments: argparse.Namespace, model: Any, run: Any) -> dict[str, Any]:
    """Train one side; end the program where it cannot."""
    print(f"training {name}", file=sys.stderr, flush=True)
    result = run_apart(name, arguments, make_job(name, arguments, model, run), run)
    if "failed" in result:
        sys.exit(f"{name}: {result['failed']}")
    if len(result["losses"]) != arguments.steps:
        sys.exit(f"{name} logged {len(result['losses'])} losses for {arguments.steps} steps")
    return result


def main() -> None:
    """Train both, compare, print."""
    parser = shared_parser(__doc__, batch_size=8, steps=100)
    parser.add_argument("--packing", default="shared_prefix", help="ours: shared_prefix, plain, none, or default")
    arguments = parser.parse_args()
    model, run = make_files(arguments)
    name = "ours" if arguments.packing == "default" else f"ours:{arguments.packing}"
    ours = losses_of(name, arguments, model, run)
    recipe = losses_of("recipe_2023:our_start", arguments, model, run)
    pairs = list(zip(ours["losses"], recipe["losses"], strict=True))
    differences = [abs(mine - theirs) for mine, theirs in pairs]
    worst = max(range(len(pairs)), key=differences.__getitem__)
    print(f"{'step':>6}  {name:>18}  {'recipe_2023':>12}  {'difference':>11}")
    for step in sorted({*range(0, len(pairs), max(1, len(pairs) // SHOWN_STEPS)), worst, len(pairs) - 1}):
        mine, theirs = pairs[step]
        print(f"{step + 1:>6}  {mine:>18.6f}  {theirs:>12.6f}  {mine - theirs:>11.1e}")
    print(f"largest difference of {len(pairs)} steps: {differences[worst]:.2e} nats, at step {worst + 1}")
    line = {
        **result_head("same_losses", command_line("same_losses", arguments), arguments.device),
        "shape": arguments.shape, "dtype": arguments.dtype,
        "steps": len(pairs), "largest_difference": differences[worst], "at_step": worst + 1,
        "mean_difference": sum(differences) / len(differences), "ours": ours, "recipe_2023": recipe,
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()
