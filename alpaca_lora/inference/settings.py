"""Every setting of the verbs that answer: how an answer is drawn, by which model, on what page or address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from alpaca_lora.config import ModelConfig
from alpaca_lora.options import Whole, flat, require


@flat
@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How an answer is drawn from the model."""

    temperature: float = 0.0
    """0 takes the likeliest token each time; above 0 draws, flatter as it grows."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together hold this share of the probability, above 0 to 1."""
    top_k: Whole = 0
    """Draw among this many likeliest tokens; 0 among all."""
    num_beams: Whole = 1
    """Answers grown side by side, of which the likeliest is given; 1 grows one. Nothing is shown before its end."""
    max_new_tokens: Whole = 256
    """Longest answer in tokens, at least 1."""
    seed: Whole = 42
    """Start of the random draws."""

    def __post_init__(self) -> None:
        require(
            self,
            temperature=(0 <= self.temperature < float("inf"), "of at least 0"),
            top_p=(0 < self.top_p <= 1, "above 0 and at most 1"),
            top_k=(self.top_k >= 0, "of at least 0"),
            num_beams=(1 <= self.num_beams <= 16, "from 1 to 16"),
            max_new_tokens=(self.max_new_tokens >= 1, "of at least 1"),
            seed=(0 <= self.seed < 2**63, "from 0 to below 2 to the power of 63"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class AdaptersConfig:
    """Which adapters can answer, and how they are asked."""

    adapter: tuple[str, ...] = ()
    """Folder or Hub id of an adapter; may be given several times, the last one answers first. None: the bare base."""
    adapter_dir: str = ""
    """Folder whose adapters, checkpoints of runs included, can be chosen too; loaded when first asked, then kept."""
    prompt_template_name: str | None = None
    """Template as in training; unset: the one recorded with the adapter, `alpaca` where none is."""
    merge_adapter: bool = False
    """Fold the one adapter into the base's weights: fewer products a token, but then only it can answer."""
    compile_step: bool = False
    """On CUDA, compile the step of one token over a static cache: the first answers wait for the compiler, then no time
    is lost between kernels. Takes the memory of 4,096 tokens a slot at the start; an adapter must be merged."""


@flat
@dataclass(frozen=True, kw_only=True)
class ChatConfig:
    """Everything `chat` needs."""

    model: ModelConfig = field(default_factory=ModelConfig)
    adapters: AdaptersConfig = field(default_factory=AdaptersConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    prompt: str | None = None
    """Answer this one instruction and leave."""
    input: str = ""
    """Further context for --prompt."""


@flat
@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """How many are answered at once, and how many may wait."""

    slots: Whole = 4
    """Answers that grow at once, taking turns token by token; each holds its own keys and values in memory."""
    queue: Whole = 64
    """Requests that may wait for a slot; a further one is refused."""

    def __post_init__(self) -> None:
        require(self, slots=(self.slots >= 1, "of at least 1"), queue=(self.queue >= 0, "of at least 0"))


@flat
@dataclass(frozen=True, kw_only=True)
class UiConfig:
    """Everything `ui` needs."""

    model: ModelConfig = field(default_factory=ModelConfig)
    adapters: AdaptersConfig = field(default_factory=AdaptersConfig)
    limits: QueueConfig = field(default_factory=QueueConfig)
    server_name: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets the whole network in."""
    server_port: Whole = 7860
    """Port; 0 takes a free one."""
    share_gradio: bool = False
    """Open a public link through Gradio's servers: all that is typed passes them, and anybody with the link can ask."""
    votes: str = "./alpaca-votes.jsonl"
    """File that the votes of the comparison are appended to."""

    def __post_init__(self) -> None:
        require(self, server_port=(0 <= self.server_port < 65536, "from 0 to 65535"))


@flat
@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Everything `serve` needs."""

    model: ModelConfig = field(default_factory=ModelConfig)
    adapters: AdaptersConfig = field(default_factory=AdaptersConfig)
    limits: QueueConfig = field(default_factory=QueueConfig)
    engine: Literal["transformers", "llama.cpp", "vllm"] = "transformers"
    """What computes: this package's own generator, llama.cpp on a GGUF file, or a vLLM server that is started."""
    gguf: str = ""
    """GGUF file for llama.cpp: the merged model that `export gguf` wrote, or the base's with --gguf_lora."""
    gguf_lora: tuple[str, ...] = ()
    """The adapters as GGUF files (`export gguf-lora`), in the order of --adapter; chosen per request by `model`."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs a key."""
    port: Whole = 8000
    """Port; 0 takes a free one."""
    api_key: str = ""
    """Key that clients must send as `Authorization: Bearer KEY`; better as the variable ALPACA_LORA_API_KEY, as a
    command line can be read by others on the machine. None: no key is asked for."""
    max_body_kib: Whole = 1024
    """Largest request in KiB; a larger one is refused with 413."""
    max_answer_tokens: Whole = 2048
    """Most tokens that a request may ask for."""
    default_answer_tokens: Whole = 256
    """Longest answer where a request names no limit."""

    def __post_init__(self) -> None:
        require(
            self,
            port=(0 <= self.port < 65536, "from 0 to 65535"),
            max_body_kib=(self.max_body_kib >= 1, "of at least 1"),
            max_answer_tokens=(self.max_answer_tokens >= 1, "of at least 1"),
            default_answer_tokens=(
                1 <= self.default_answer_tokens <= self.max_answer_tokens, "from 1 to --max_answer_tokens",
            ),
        )  # fmt: skip
