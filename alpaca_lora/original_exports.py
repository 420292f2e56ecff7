"""The original project's two export scripts: their environment variable and outputs, turned into today's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from alpaca_lora.errors import UserError
from alpaca_lora.export.settings import HfExportConfig, MetaExportConfig
from alpaca_lora.original import build_settings, flag_kinds, parse_flags

# Not flags of the original, but fixed in its code, all but the base: float16, files of 400 MB, these folders.
HF_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "base_model": "",
        "lora_weights": "tloen/alpaca-lora-7b",
        "output": "./hf_ckpt",
        "dtype": "float16",
        "shard_gb": 0.4,
    }
)
META_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"base_model": "", "lora_weights": "tloen/alpaca-lora-7b", "output": "./ckpt", "dtype": "float16", "shards": 1}
)


def hf_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> HfExportConfig:
    """Read the command line and environment of `export_hf_checkpoint.py`."""
    settings: HfExportConfig = build_settings(
        HfExportConfig, _values(HfExportConfig, HF_DEFAULTS, arguments, environment)
    )
    return settings


def meta_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> MetaExportConfig:
    """Read the command line and environment of `export_state_dict_checkpoint.py`."""
    settings: MetaExportConfig = build_settings(
        MetaExportConfig, _values(MetaExportConfig, META_DEFAULTS, arguments, environment)
    )
    return settings


def _values(
    config: Any, defaults: Mapping[str, Any], arguments: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    values = {**defaults, **parse_flags(arguments, {**flag_kinds(config, defaults), "lora_weights": str})}
    values["base_model"] = values["base_model"] or environment.get("BASE_MODEL", "")
    values["adapter"] = values.get("adapter") or values["lora_weights"]
    if not values["base_model"]:
        raise UserError(
            "no base model given",
            where="environment variable BASE_MODEL",
            fix="export BASE_MODEL=huggyllama/llama-7b, or --base_model huggyllama/llama-7b",
        )
    return values
