"""Reload an export with the program it is for, and compare what that computes with the trained model."""

from __future__ import annotations

import gc
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from alpaca_lora.errors import UserError
from alpaca_lora.export.compare import Comparison, Limits, compare
from alpaca_lora.export.gguf_model import read_gguf, write_gguf
from alpaca_lora.export.kinds import Export, find_export, named_files
from alpaca_lora.export.llama_cpp import LlamaCpp
from alpaca_lora.export.merge import Merged
from alpaca_lora.export.ollama import modelfile_faults
from alpaca_lora.export.probes import FOLLOWED, Probe, follow, make_probes
from alpaca_lora.export.readers import MetaReader, Reader, Transformers, float32_of, open_adapter, open_hf
from alpaca_lora.export.source import Source, text_config
from alpaca_lora.export.weights import WeightCheck, check_weights, merge_faults
from alpaca_lora.model.device import free_memory_gib, pick_device
from alpaca_lora.model.load import load_base_model
from alpaca_lora.model.lora import load_adapter

_ANY = float("inf")
_EXACT = Limits(1e-5, 1e-6, 2e-5)
_LLAMA_CPP_EXACT = Limits(1e-4, 1e-5, 2e-4)
_HALF, _BRAIN = Limits(0.01, 1e-4, 0.1), Limits(0.1, 2e-3, 0.5)
"""float16 keeps 11 bits of each weight, bfloat16 8."""

_ROUNDED = {"float32": _EXACT, "float16": _HALF, "bfloat16": _BRAIN}
_TRAINED = {
    "f32": _LLAMA_CPP_EXACT,
    "f16": _HALF,
    "bf16": _BRAIN,
    "q8_0": Limits(_ANY, 0.02, _ANY),
    "q6_k": Limits(_ANY, 0.05, _ANY),
    "q5_k_m": Limits(_ANY, 0.2, _ANY),
    "q4_k_m": Limits(_ANY, 0.3, _ANY),
    "q4_0": Limits(_ANY, 0.5, _ANY),
}
"""How far a GGUF file may be from the trained model. Rounding is what was asked for: coarse types have wide limits."""

_OWN = {"f16": _HALF, "bf16": _BRAIN}
_OWN_QUANTISED = Limits(0.15, 0.02, 1.0)
"""How far llama.cpp may be from the file's own weights: it rounds activations too, to 16 or to 8 bits."""


@dataclass(frozen=True)
class Verification:
    """What was compared, and what came of it.

    Attributes:
        weights: what was found in the exported tensors; None for an adapter's own file.
        measured: comparisons that are shown and recorded, and have no limit.
        other_faults: what is wrong beside the numbers, a line each.
        notes: what a reader of the numbers should know.
    """

    export: Export
    comparisons: list[Comparison]
    weights: WeightCheck | None = None
    measured: list[Comparison] = field(default_factory=list[Comparison])
    other_faults: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    @property
    def faults(self) -> list[str]:
        """Say in a line each what is outside its limit."""
        compared = [fault for comparison in self.comparisons for fault in comparison.faults]
        return [*self.other_faults, *(self.weights.faults if self.weights else []), *compared]


def memory_gib(source: Source) -> float:
    """Give what the trained model takes in float32, with a tenth for what is computed, in GiB."""
    parameters = sum(torch.Size(shape).numel() for shape in source.merged.shapes.values())
    return 1.1 * 4 * parameters / 2**30


def check_memory(source: Source) -> None:
    """Refuse to begin what memory would end: the trained model in float32 does not fit."""
    needed, free = memory_gib(source), free_memory_gib(pick_device("auto"))
    if needed > free:
        raise UserError(
            f"verifying needs {needed:.1f} GiB for the trained model in float32, {free:.1f} GiB are free",
            fix="free memory; or write with --verify=False, and run alpaca-lora verify on a larger machine",
        )


def verify_export(export: Export, source: Source, console: Console) -> Verification:
    """Compare an export with the base and adapter it was made of, both in float32.

    Loads one model at a time: the trained one answers all questions first, then the export is put the same.
    """
    check_memory(source)
    probes, faults = _ask_trained(source, console)
    weights = check_weights(export, source)
    if export.kind in ("gguf", "gguf-lora"):
        comparisons = _compare_gguf(export, source, probes, console)
    else:
        reader = _open_folder(export, source)
        limits = _EXACT if export.kind == "adapter" else _ROUNDED[export.precision]
        comparisons = [compare(reader, probes, "the trained model", limits, console)]
        if export.kind == "hf" and isinstance(reader, Transformers) and not set(source.end_ids) <= reader.end_ids:
            faults.append(f"answers end at the ids {reader.end_ids} only, and training taught {source.end_ids}")
    verification = Verification(export, comparisons, weights, other_faults=faults)
    if export.modelfile:
        verification.other_faults.extend(modelfile_faults(export.modelfile, probes))
    if source.adapter.quantization != "none":
        verification = _measure_quantised_training(verification, source, probes, console)
    return verification


def _open_folder(export: Export, source: Source) -> Reader:
    if export.kind == "meta":
        return MetaReader(export.path)
    if export.kind == "adapter":
        return open_adapter(export.path, source)
    return open_hf(export.path, trust_remote_code=source.trust_remote_code)


def _ask_trained(source: Source, console: Console) -> tuple[list[Probe], list[str]]:
    """Put the questions to base and adapter as they were trained; then see whether PEFT merges them as this package."""
    model = load_adapter(load_base_model(float32_of(source), source.place), source.adapter.folder, "trained").eval()
    probes = make_probes(model, source.tokenizer, source.prompt, console)
    faults = merge_faults(model.merge_and_unload(), source)
    del model
    gc.collect()
    return probes, faults


def _context(probes: list[Probe]) -> int:
    return max(len(probe.ids) for probe in probes) + FOLLOWED + 1


def _compare_gguf(export: Export, source: Source, probes: list[Probe], console: Console) -> list[Comparison]:
    """Compare with the trained model; where weights were rounded, also with the file's own weights.

    A broken file is so told from a coarse one: llama.cpp must compute what the weights in the file say.
    """
    rows, path = text_config(source).vocab_size, export.path
    if export.kind == "gguf-lora":
        found = [_compare_lora(path, source, probes, console)]
        if export.modelfile:
            base = find_export(named_files(export.modelfile)[0])
            with LlamaCpp(base.path, rows, lora=path, context=_context(probes)) as reader:
                found.append(compare(reader, probes, "the trained model", _TRAINED[base.precision], console))
        return found
    own = [] if export.precision == "f32" else _ask_own_weights(path, source, probes)
    with LlamaCpp(path, rows, context=_context(probes)) as reader:
        found = [compare(reader, probes, "the trained model", _TRAINED[export.precision], console)]
        if own:
            limits = _OWN.get(export.precision, _OWN_QUANTISED)
            found.append(compare(reader, own, "the file's own weights", limits, console, texts=False))
    return found


def _ask_own_weights(path: Path, source: Source, probes: list[Probe]) -> list[Probe]:
    """Put the questions, and the trained model's answers, to a model made of the file's dequantised weights."""
    model: Any = AutoModelForCausalLM.from_config(source.config, dtype=torch.float32).eval().requires_grad_(False)
    own = dict(model.named_parameters())
    for name, weight in read_gguf(source, path):
        own.pop(name).copy_(weight)
    if own:
        raise UserError(f"the file lacks {len(own)} tensors, first {min(own)}", where=str(path), fix="export it again")
    return [replace(probe, logits=follow(model, probe.ids, probe.answer)) for probe in probes]


def _compare_lora(path: Path, source: Source, probes: list[Probe], console: Console) -> Comparison:
    """Load the adapter onto a GGUF file of its base, written in float32 for the occasion."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".base-") as folder:
        base = Path(folder) / "base.gguf"
        write_gguf(source, Merged(source.merged.base, None), base, "f32", lambda size: None)
        with LlamaCpp(base, text_config(source).vocab_size, lora=path, context=_context(probes)) as reader:
            return compare(reader, probes, "the trained model", _LLAMA_CPP_EXACT, console)


def _measure_quantised_training(
    verification: Verification, source: Source, probes: list[Probe], console: Console
) -> Verification:
    """Measure what the full-precision base changes for an adapter that was trained on a quantised one."""
    kind = source.adapter.quantization
    what = f"trained on a base in {kind}, exported on the base in full precision"
    try:
        base = load_base_model(float32_of(source, kind), source.place)
    except UserError as error:
        return replace(verification, notes=[f"{what}; the difference was not measured: {error.what}"])
    model = load_adapter(base, source.adapter.folder, "trained").eval()
    reader = Transformers(model, None, f"the model as it was trained, its base in {kind}")
    found = compare(reader, probes, "the base in full precision", Limits(_ANY, _ANY, _ANY), console, texts=False)
    return replace(verification, measured=[found], notes=[f"{what}: the difference is measured, not limited"])
