"""Tell what an export on the disk is, from its files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open

from alpaca_lora.errors import UserError


@dataclass(frozen=True)
class Export:
    """An export on the disk.

    Attributes:
        kind: hf, meta, adapter, gguf or gguf-lora.
        path: the folder; of gguf and gguf-lora the file.
        folder: where `verification.json` belongs.
        precision: of the weights: a torch name, or one of llama.cpp's types.
        modelfile: Ollama's, where the folder has one.
    """

    kind: str
    path: Path
    folder: Path
    precision: str
    modelfile: Path | None = None


def find_export(path: Path) -> Export:
    """Say what a file or folder holds; raise `UserError` where it is no export."""
    if path.name == "Modelfile" and path.is_file():
        path = path.parent
    if path.is_file() and path.suffix == ".gguf":
        return _gguf(path)
    if not path.is_dir():
        raise UserError(f"{path} does not exist", fix="give the folder, or the GGUF file, of an export")
    files = sorted(path.glob("*.gguf"))
    if (path / "adapter_config.json").is_file():
        return Export("adapter", path, path, "float32")
    if (path / "consolidated.00.pth").is_file():
        return Export("meta", path, path, _pth_precision(path / "consolidated.00.pth"))
    if (path / "config.json").is_file():
        return Export("hf", path, path, _safetensors_precision(path))
    if (path / "Modelfile").is_file() and (named := named_files(path / "Modelfile")):
        return replace(_gguf(named[-1]), modelfile=path / "Modelfile")
    if len(files) == 1:
        return _gguf(files[0])
    raise UserError(
        f"{path} holds no export: {len(files)} GGUF files, no config.json, consolidated.00.pth or Modelfile",
        fix="give the folder of an export, or one GGUF file",
    )


def named_files(modelfile: Path) -> list[Path]:
    """Give the files that a Modelfile's FROM and ADAPTER lines name, in that order."""
    lines = re.sub(r'""".*?"""', "", modelfile.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    return [modelfile.parent / line.split(maxsplit=1)[1] for line in lines if line.startswith(("FROM ", "ADAPTER "))]


def _gguf(path: Path) -> Export:
    from gguf import GGUFReader, LlamaFileType

    from alpaca_lora.export.gguf_types import FILE_TYPES

    try:
        fields = GGUFReader(str(path)).fields
        is_adapter = fields["general.type"].contents() == "adapter"
        file_type = LlamaFileType(fields["general.file_type"].contents())
    except Exception as error:  # the reader raises whatever its parsing meets
        raise UserError(
            f"the GGUF file cannot be read: {type(error).__name__}: {str(error)[:200]}", where=str(path),
            fix="export it again",
        ) from error  # fmt: skip
    names = {kind: name for name, kind in FILE_TYPES.items()}
    if file_type not in names:
        raise UserError(f"the GGUF file is of the type {file_type.name}, which is not exported here", where=str(path))
    return Export("gguf-lora" if is_adapter else "gguf", path, path.parent, names[file_type])


def _safetensors_precision(folder: Path) -> str:
    """Give the lowest precision among the weights, by torch's name."""
    names = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    found: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                kinds = {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118  not a dict
        except Exception as error:  # safetensors raises its own
            raise _unreadable(path, error) from error
        found |= {names.get(kind, kind) for kind in kinds}
    return _lowest(found, folder)


def _pth_precision(path: Path) -> str:
    import torch

    try:
        tensors: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        found = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
    except Exception as error:  # pickle and zip each raise their own
        raise _unreadable(path, error) from error
    return _lowest(found, path)


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the export's weights cannot be read: {type(error).__name__}: {str(error)[:200]}", where=str(path),
        why="the file is cut off or damaged, or holds more than plain tensors", fix="export it again",
    )  # fmt: skip


def _lowest(found: set[str], place: Path) -> str:
    known = ("bfloat16", "float16", "float32")
    if not found or not found <= set(known):
        odd = ", ".join(sorted(found - set(known)))
        raise UserError(
            f"the export's weights are of the types {odd}" if odd else "the export has no weights in safetensors",
            where=str(place),
            fix="give a folder that alpaca-lora export wrote",
        )
    return next(name for name in known if name in found)
