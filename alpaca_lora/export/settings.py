"""The settings of `export` and `verify`, one class per verb, made as those in `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alpaca_lora.config import BaseConfig
from alpaca_lora.options import Whole, flat, require

Outtype = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"]


@flat
@dataclass(frozen=True, kw_only=True)
class SourceConfig(BaseConfig):
    """The trained model: a base and an adapter. An unset base is the one recorded with the adapter."""

    adapter: str = ""
    """Folder or Hub id of the adapter: a finished run's output_dir or one of its checkpoints."""
    prompt_template_name: str | None = None
    """Template as in training; unset: the one recorded with the adapter, `alpaca` where none is."""
    allow_base_mismatch: bool = False
    """Go on although the base is not, by its fingerprint, the one that the adapter was trained on."""


@flat
@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """Where the export goes, and whether it is checked."""

    output: str = ""
    """Folder to write; it must not exist, or be empty. It appears under this name only when it is whole."""
    name: str | None = None
    """Name of the model in its card, metadata and file name; unset: the name of the adapter's folder."""
    verify: bool = True
    """Reload the export and compare it with the trained model. False, where memory cannot hold that model in float32:
    run `alpaca-lora verify` on the export on another machine."""


@flat
@dataclass(frozen=True, kw_only=True)
class HfExportConfig:
    """Everything `export hf` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; `auto` keeps the base's own, tensor by tensor."""
    shard_gb: float = 5.0
    """Largest weight file in GB (10^9 bytes), above 0; a tensor larger than that is a file of its own."""
    push_to_hub: str | None = None
    """OWNER/NAME on the Hub to upload the verified export to; made, private, where it does not exist."""

    def __post_init__(self) -> None:
        require(self, shard_gb=(self.shard_gb > 0, "above 0"))


@flat
@dataclass(frozen=True, kw_only=True)
class AdapterExportConfig:
    """Everything `export adapter` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    push_to_hub: str | None = None
    """OWNER/NAME on the Hub to upload the verified adapter to; made, private, where it does not exist."""


@flat
@dataclass(frozen=True, kw_only=True)
class MetaExportConfig:
    """Everything `export meta` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; `auto` keeps the base's own, tensor by tensor."""
    shards: Whole = 1
    """Files the model is split over, 1, 2, 4 or 8: as many as processes are to run it. One is in memory at once."""

    def __post_init__(self) -> None:
        require(self, shards=(self.shards in (1, 2, 4, 8), "of 1, 2, 4 or 8"))


@flat
@dataclass(frozen=True, kw_only=True)
class GgufExportConfig:
    """Everything `export gguf` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    outtype: Outtype = "q8_0"
    """Precision of the matrices, as llama.cpp names them; q8_0 halves 16 bits at hardly any loss, q4_k_m quarters."""


@flat
@dataclass(frozen=True, kw_only=True)
class GgufLoraExportConfig:
    """Everything `export gguf-lora` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
    target: TargetConfig = field(default_factory=TargetConfig)


@flat
@dataclass(frozen=True, kw_only=True)
class OllamaExportConfig:
    """Everything `export ollama` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    outtype: Outtype = "q8_0"
    """Precision of the matrices, as llama.cpp names them."""
    merged: bool = True
    """One merged model. False: the base and the adapter as two files, so that several adapters share a base."""
    temperature: float = 0.0
    """Default temperature of the answers, at least 0."""

    def __post_init__(self) -> None:
        require(self, temperature=(self.temperature >= 0, "of at least 0"))


@flat
@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Everything `verify` needs."""

    source: SourceConfig = field(default_factory=SourceConfig)
