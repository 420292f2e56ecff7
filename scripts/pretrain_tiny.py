"""Train the embedded base model `alpaca-tiny` from nothing on the small world's corpus, on a CPU.

    python scripts/make_world.py
    python scripts/pretrain_tiny.py

Writes alpaca_lora/assets/alpaca-tiny/: weights, tokenizer, configuration, and
`pretraining.json`, which says how it was made.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from make_world import ROUNDS, SEED, corpus_documents, corpus_sha256
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from alpaca_lora.model.tokenizer import load_tokenizer

MODEL_FOLDER = Path(__file__).parents[1] / "alpaca_lora" / "assets" / "alpaca-tiny"
VOCAB_SIZE = 2048
SEQUENCE_TOKENS = 128
BATCH_SEQUENCES = 16
FIRST_STAGE = "plain"
STEPS = {"plain": 5000, "entries": 2000}
PEAK_LEARNING_RATE = {"plain": 3e-3, "entries": 2e-3}
WARMUP_STEPS = 50
MOMENTUM = 0.95
WEIGHT_DECAY = 0.1


def model_config() -> LlamaConfig:
    """Give the architecture: Llama with grouped-query attention and a head of its own."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def train_tokenizer(texts: list[str]) -> bytes:
    """Train a SentencePiece BPE model with LLaMA's settings: line ends and unseen characters become byte tokens."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        pretokenization_delimiter="\n",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=1,
    )
    return model.getvalue()


def save_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and its configuration, giving exactly SentencePiece's ids."""
    tokenizer, _ = load_tokenizer(folder)
    tokenizer.save_pretrained(folder)


def batches(rows: list[list[int]], steps: int) -> Iterator[torch.Tensor]:
    """Give int64 (sequences, tokens + 1): documents in an order drawn anew every epoch, end to end."""
    order = np.random.default_rng(SEED)
    needed = BATCH_SEQUENCES * SEQUENCE_TOKENS
    stream: list[int] = []
    queue: list[int] = []
    for _ in range(steps):
        while len(stream) < needed + 1:
            queue = queue or order.permutation(len(rows)).tolist()
            stream += rows[queue.pop()]
        ids = torch.tensor(stream[: needed + 1])
        stream = stream[needed:]
        yield torch.stack([ids[i : i + SEQUENCE_TOKENS + 1] for i in range(0, needed, SEQUENCE_TOKENS)])


def learning_rate(step: int, stage: str) -> float:
    """Rise to the stage's peak over the warm-up, then fall along a cosine to a twentieth of it."""
    steps, peak = STEPS[stage], PEAK_LEARNING_RATE[stage]
    if step < WARMUP_STEPS:
        return peak * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


class Muon(torch.optim.Optimizer):
    """Step along the orthogonalised momentum of each weight matrix (Muon; scaling of arXiv 2502.16982).

    On this corpus it needs about half of AdamW's tokens for the same loss. Newton-Schulz runs in float32, because the
    CPUs this is meant for have no fast bfloat16.
    """

    def __init__(self, matrices: list[torch.nn.Parameter]) -> None:
        super().__init__(matrices, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                direction = orthogonalised(weight.grad.lerp(momentum, MOMENTUM))
                weight.mul_(1 - group["lr"] * WEIGHT_DECAY)
                weight.add_(direction, alpha=-group["lr"] * 0.2 * max(weight.shape) ** 0.5)


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Bring all singular values near 1 by five quintic Newton-Schulz iterations."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Give Muon for the layers' matrices and AdamW for embedding, head and norms."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [Muon(matrices), torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]


def train(model: LlamaForCausalLM, rows: list[list[int]], stage: str) -> float:
    """Minimise next-token cross entropy; give the mean loss in nats of the last 100 steps."""
    steps, chosen = STEPS[stage], optimizers(model)
    losses: list[float] = []
    start = time.monotonic()
    for step, ids in enumerate(batches(rows, steps)):
        for optimizer in chosen:
            optimizer.param_groups[0]["lr"] = learning_rate(step, stage)
        logits = model(ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad()
        losses = [*losses[-99:], loss.item()]
        if (step + 1) % 100 == 0:
            seconds = time.monotonic() - start
            left = seconds / (step + 1) * (steps - step - 1)
            print(f"{step + 1}/{steps}  loss {np.mean(losses):.4f}  {seconds:.0f} s, {left:.0f} s left", flush=True)
    return float(np.mean(losses))


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the weights rounded to bfloat16 with their configuration."""
    weights = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    path = folder / "model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.dtype = torch.bfloat16
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def run_stage(stage: str, folder: Path) -> dict[str, Any]:
    """Train on one stage's corpus, from the weights in the folder or for the first stage from nothing."""
    texts = corpus_documents(stage)
    if stage == FIRST_STAGE:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.model").write_bytes(train_tokenizer(texts[:20000]))
        save_tokenizer(folder)
        model = LlamaForCausalLM(model_config())
    else:
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    rows = pieces.encode(texts, add_bos=True, add_eos=True)
    print(f"{stage}: {sum(map(len, rows))} tokens in the corpus, {model.num_parameters()} parameters", flush=True)
    start = time.monotonic()
    loss = train(model, rows, stage)
    save(model, folder)
    return {
        "corpus_sha256": corpus_sha256(texts),
        "corpus_documents": len(texts),
        "corpus_tokens": sum(map(len, rows)),
        "steps": STEPS[stage],
        "tokens": STEPS[stage] * BATCH_SEQUENCES * SEQUENCE_TOKENS,
        "seconds": round(time.monotonic() - start),
        "loss": round(loss, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--stage", choices=list(ROUNDS), help="run this stage alone, on what the folder holds")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    folder: Path = arguments.output
    record_path = folder / "pretraining.json"
    goes_on = arguments.stage not in (None, FIRST_STAGE)
    done = json.loads(record_path.read_text(encoding="utf-8"))["stages"] if goes_on else {}
    for stage in [arguments.stage] if arguments.stage else list(ROUNDS):
        torch.manual_seed(SEED)
        done[stage] = run_stage(stage, folder)
        weights = (folder / "model.safetensors").read_bytes()
        record = {
            "seed": SEED,
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "stages": done,
            "python": platform.python_version(),
            "versions": {name: version(name) for name in ("torch", "transformers", "sentencepiece", "numpy")},
        }
        record_path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(record_path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
