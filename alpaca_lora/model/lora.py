"""The adapter: attach, count, save, check, load. Beside its layer (`lora_linear`) the only importer of PEFT."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors import safe_open

from alpaca_lora.config import LoraConfig
from alpaca_lora.errors import UserError
from alpaca_lora.model.lora_linear import LoraLinear

_EXPECTED_REMARKS = (  # a second adapter; keys of 2023 that never meant anything; checked here; PEFT's own affair
    r"Already found a `peft_config`|Unexpected keyword arguments \['enable_lora', 'merge_weights'\]|Found missing|"
    r"`is_gradient_checkpointing` is deprecated"
)


def attach_adapter(base: Any, lora: LoraConfig, *, seed: int) -> Any:
    """Wrap a frozen base model with a fresh adapter W + scaling * B A (arXiv 2106.09685); return the PeftModel.

    B starts at zero, so the wrapped model computes what the base computes, to the last bit; with DoRA up to rounding,
    as it divides by a norm and multiplies by it again. The adapter is float32 whatever the base is.
    """
    targets = _check_targets(base, lora.lora_target_modules)
    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.lora_r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init_lora_weights=True if lora.init_lora_weights == "default" else lora.init_lora_weights,
    )
    if not getattr(base, "is_quantized", False):
        settings._register_custom_module({torch.nn.Linear: LoraLinear})  # pyright: ignore[reportPrivateUsage]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_EXPECTED_REMARKS)
        return peft.get_peft_model(base, settings)


def linear_names(base: Any) -> list[str]:
    """List the linear layers that can be adapted: all but the output head, quantised ones included."""
    head = base.get_output_embeddings()
    return [name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear) and module is not head]


def _check_targets(base: Any, targets: Sequence[str]) -> list[str]:
    names = linear_names(base)
    for target in targets:
        if target != "all-linear" and not any(name == target or name.endswith("." + target) for name in names):
            short = sorted({name.rsplit(".", 1)[-1] for name in names})
            near = get_close_matches(target, short, n=1)
            raise UserError(
                f"the model has no layer {target!r} to adapt" + (f"; did you mean {near[0]!r}?" if near else ""),
                where="--lora_target_modules",
                fix=f"choose from all-linear, {', '.join(short)}",
            )
    if "all-linear" in targets and len(targets) > 1:
        raise UserError("all-linear already names every layer", where="--lora_target_modules", fix="give it alone")
    return list(targets)


def adapter_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Give the active adapter's tensors by the names PEFT saves them under."""
    # Left to itself PEFT asks the Hub for the base's config, to see whether its embedding grew.
    return peft.get_peft_model_state_dict(model, adapter_name=model.active_adapter, save_embedding_layers=False)


def check_trained(model: Any) -> None:
    """Refuse an adapter that is not whole or was not trained: 2 tensors a target layer, finite, no B all zero."""
    tensors = adapter_tensors(model)
    layers = [name for name, module in model.named_modules() if hasattr(module, "lora_A") and len(module.lora_A)]
    matrices = [name for name in tensors if _is_matrix(name)]
    if not layers or len(matrices) != 2 * len(layers):
        raise UserError(
            f"the adapter holds {len(matrices)} matrices for {len(layers)} adapted layers, expected 2 each",
            fix="go on from the last checkpoint: --resume_from_checkpoint auto",
        )
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"{len(broken)} of {len(tensors)} adapter tensors hold NaN or infinity",
            where=broken[0],
            fix="go on from an earlier checkpoint with a lower --learning_rate",
        )
    untrained = [name for name in matrices if ".lora_B." in name and not tensors[name].any()]
    if untrained:
        raise UserError(
            f"{len(untrained)} of {len(layers)} adapted layers were not trained: their B is all zero",
            where=untrained[0],
            fix="train longer or with a higher --learning_rate, or leave unused layers out of --lora_target_modules",
        )


def save_adapter(model: Any, folder: Path, *, base_name: str, base_revision: str | None) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` with the base's name and revision."""
    settings = model.peft_config[model.active_adapter]
    settings.base_model_name_or_path, settings.revision = base_name, base_revision
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; the run writes a real one
    (folder / "adapter_model.safetensors").chmod(0o644)  # written as 0600, which other users and containers cannot read


@torch.no_grad()
def reload_error(model: Any, folder: Path, input_ids: torch.Tensor) -> float:
    """Reload a saved adapter through stock PEFT beside the live one; give the largest difference of their logits.

    The base is shared, so this costs no second model. Exact equality is expected: float32 is saved as it is. Infinite
    where logits are no numbers.

    Args:
        input_ids: int64 (1, tokens).
    """
    live, was_training = model.active_adapter, model.training
    model.eval()
    expected = model(input_ids=input_ids, use_cache=False).logits.float()
    try:
        with _loading(folder):
            model.load_adapter(str(folder), adapter_name="reloaded")
        model.set_adapter("reloaded")
        found = model(input_ids=input_ids, use_cache=False).logits.float()
    finally:
        model.set_adapter(live)
        if "reloaded" in model.peft_config:
            model.delete_adapter("reloaded")
        model.train(was_training)
    return float((expected - found).abs().nan_to_num(nan=torch.inf).max())


def load_weights(model: Any, folder: Path) -> None:
    """Put saved adapter weights into the attached adapter, to resume training."""
    saved, wanted = read_tensors(folder), adapter_tensors(model)
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (saved, wanted)]
    if shapes[0] != shapes[1]:
        differing = {name for name, _ in shapes[0].items() ^ shapes[1].items()}
        raise UserError(
            f"{len(differing)} tensors of the checkpoint's adapter do not fit the adapter to be trained",
            where=f"{folder}: {min(differing)}",
            fix="give the --lora_r, --lora_target_modules and --use_dora that the checkpoint was made with",
        )
    peft.set_peft_model_state_dict(model, saved)


def load_adapter(base: Any, folder: Path, name: str) -> Any:
    """Attach a trained adapter to a base model, or to a PeftModel as one more; return the PeftModel with it active.

    Reads safetensors, or the pickled `adapter_model.bin` of old adapters with `weights_only=True`. Raises `UserError`
    before any weight is loaded when the folder is no adapter, is empty, or does not fit the base's shapes.
    """
    check_fits(base, folder)
    with _loading(folder):
        if isinstance(base, peft.PeftModel):
            base.load_adapter(str(folder), adapter_name=_name_inside(name))
        else:
            base = peft.PeftModel.from_pretrained(base, str(folder), adapter_name=_name_inside(name))
    select_adapter(base, name)
    differing = {key for key in adapter_tensors(base).keys() ^ _read_shapes(folder).keys() if _is_matrix(key)}
    if differing:
        raise UserError(
            f"the adapter's config and its weights name different layers: {len(differing)} matrices are in one only",
            where=f"{folder}: {min(differing)}",
            fix="copy the folder again, both files from the same run",
        )
    return base


@contextmanager
def _loading(folder: Path) -> Generator[None]:
    """Let PEFT load without its remarks on what is meant so or checked here; turn its refusals into `UserError`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_EXPECTED_REMARKS)
        try:
            yield
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"the adapter cannot be loaded: {str(error)[:300]}", where=str(folder)) from error


def _name_inside(name: str) -> str:
    """Give the name an adapter has inside the model.

    PEFT looks for it as text in parameter names: with a dot in it, or named `lora`, an adapter would not be loaded.
    """
    return f"adapter_{name.encode().hex()}"


def select_adapter(model: Any, name: str | None) -> None:
    """Compute with one of the loaded adapters from now on, or with the bare base for None."""
    if name is None:
        model.base_model.disable_adapter_layers()
    else:
        model.base_model.enable_adapter_layers()
        model.set_adapter(_name_inside(name))
        model.requires_grad_(False)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read `adapter_config.json`; raise `UserError` where there is none or it is not a LoRA's."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is no adapter: it has no adapter_config.json",
            fix="give --adapter the output_dir of a finished run, one of its checkpoints, or a Hub id",
        )
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"the adapter's config is not JSON: {error}", where=str(path), fix="copy it again") from error
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind != "LORA":
        raise UserError(f"the adapter's peft_type is {kind!r}, only 'LORA' can be used", where=str(path))
    return settings


def check_fits(base: Any, folder: Path) -> None:
    """Compare every matrix's shape with the base's layers, from the file's header where it has one."""
    settings, shapes = read_adapter_config(folder), _read_shapes(folder)
    matrices = {name: shape for name, shape in shapes.items() if _is_matrix(name)}
    if not matrices:
        raise UserError(
            f"the adapter {folder} holds no LoRA matrices ({len(shapes)} tensors), so it would change nothing",
            fix="train it again, or take one of its checkpoints",
        )
    layers = dict((base.get_base_model() if isinstance(base, peft.PeftModel) else base).named_modules())
    rank = None if settings.get("rank_pattern") else settings.get("r")
    misfits = [text for name, shape in matrices.items() if (text := _misfit(name, shape, layers, rank))]
    if misfits:
        raise UserError(
            f"{len(misfits)} of the adapter's {len(matrices)} matrices do not fit this base model: {misfits[0]}",
            where=str(folder),
            why=f"it was trained on {settings.get('base_model_name_or_path')}",
            fix="give --base_model the model the adapter was trained on",
        )


def _is_matrix(name: str) -> bool:
    return name.endswith((".lora_A.weight", ".lora_B.weight"))


def _misfit(name: str, shape: list[int], layers: dict[str, Any], rank: int | None) -> str:
    """Say why a matrix, A of (rank, in) or B of (out, rank), does not fit; empty where it does."""
    layer_name, _, matrix = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
    layer = layers.get(layer_name)
    if layer is None or not hasattr(layer, "in_features"):
        return f"it has no linear layer {layer_name}"
    is_a = matrix == "lora_A"
    expected = [rank or shape[0], layer.in_features] if is_a else [layer.out_features, rank or shape[-1]]
    return "" if shape == expected else f"{matrix} of {layer_name} is {shape}, expected {expected}"


def _weights_file(folder: Path) -> Path:
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} holds no adapter_model.safetensors or adapter_model.bin", fix="give a finished adapter")


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except Exception as error:  # safetensors, zipfile and pickle each raise their own
        raise UserError(
            f"the adapter's weights cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            why="the file is broken, or holds more than plain tensors",
            fix="copy it again, or take another checkpoint",
        ) from error


def _read_shapes(folder: Path) -> dict[str, list[int]]:
    path = _weights_file(folder)
    if path.suffix == ".bin":
        return {name: list(tensor.shape) for name, tensor in read_tensors(folder).items()}
    with _readable(path), safe_open(path, framework="pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  not a dict


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of an adapter; a pickle is read with `weights_only=True`, so that nothing in it is run."""
    path = _weights_file(folder)
    with _readable(path):
        if path.suffix == ".bin":
            tensors: Any = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(tensors, dict) or not all(isinstance(it, torch.Tensor) for it in tensors.values()):
                raise TypeError("expected names and their tensors")
            return tensors
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
