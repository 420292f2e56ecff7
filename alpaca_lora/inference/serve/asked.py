"""What may be asked, in the words of OpenAI's API; checks and /openapi.json are made from these classes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from alpaca_lora.data.examples import Turn
from alpaca_lora.inference.serve.refusal import Refused
from alpaca_lora.inference.settings import SamplingConfig, ServeConfig

MESSAGES = 1024
"""Most messages of a conversation."""


@dataclass(frozen=True, eq=False)  # Annotated takes equal ones for the same, and False equals 0
class Neutral:
    """Marks a parameter that cannot be honoured here: null is taken, and values that ask for nothing."""

    values: tuple[Any, ...] = ()

    def check(self, value: Any) -> Any:
        """Refuse a value that would change the answer; true is no 1, 1.0 is."""
        if value is None or any(
            value == known and isinstance(value, bool) == isinstance(known, bool) for known in self.values
        ):
            return value
        raise PydanticCustomError("unsupported", "this server does not support it; leave it out")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": [None, *self.values]}


def _form(value: Any) -> str:
    """Say which of two forms a value has, so that only that one's errors are told."""
    return "list" if isinstance(value, list) else "text"


_Stop = Annotated[str, Field(min_length=1)]
_Stops = Annotated[
    Annotated[_Stop, Tag("text")] | Annotated[list[_Stop], Field(max_length=16), Tag("list")], Discriminator(_form)
]
_Prompt = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[str], Field(min_length=1, max_length=1), Tag("list")],
    Discriminator(_form),
]
_Count = Annotated[int, Field(ge=1)]


class StreamOptions(BaseModel):
    """What a stream holds beside the text."""

    model_config = ConfigDict(strict=True)
    include_usage: bool | None = None
    """Send the counts of tokens before the end."""


class Asked(BaseModel):
    """What both routes take. A parameter that is not listed is refused: it would be ignored without a word."""

    model_config = ConfigDict(strict=True, extra="forbid")
    model: Annotated[str, Field(min_length=1)]
    max_tokens: _Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: _Stops | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Any = None
    n: Annotated[Any, Neutral((1,))] = None
    presence_penalty: Annotated[Any, Neutral((0,))] = None
    frequency_penalty: Annotated[Any, Neutral((0,))] = None
    logit_bias: Annotated[Any, Neutral(({},))] = None

    @model_validator(mode="before")
    @classmethod
    def _check_characters(cls, body: Any) -> Any:
        """Refuse half a character (a lone surrogate): JSON can spell it, tokenizers and answers cannot."""
        try:
            json.dumps(body, ensure_ascii=False, default=repr).encode()
        except (UnicodeEncodeError, RecursionError) as error:
            message = "it holds half a character (a lone surrogate), or is nested too deeply"
            raise PydanticCustomError("broken", message) from error
        return body

    @property
    def stops(self) -> Sequence[str]:
        """The strings that end the answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def limit(self) -> tuple[str, int | None]:
        """Give the longest answer asked for, in tokens, and the name of the parameter that says so."""
        return "max_tokens", self.max_tokens

    def sampling(self, config: ServeConfig) -> SamplingConfig:
        """Give how the answer is drawn: OpenAI's defaults, a seed of its own where none is given."""
        name, tokens = self.limit()
        if tokens is not None and tokens > config.max_answer_tokens:
            raise Refused(400, f"{name} is {tokens}; this server gives at most {config.max_answer_tokens}", param=name)
        if self.stream_options is not None and not self.stream:
            raise Refused(400, "stream_options belongs to stream: true", param="stream_options")
        return SamplingConfig(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            max_new_tokens=tokens or config.default_answer_tokens,
            seed=secrets.randbits(63) if self.seed is None else self.seed % 2**63,
        )


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(strict=True, extra="forbid")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message; what else clients keep with an earlier answer is of no account."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Annotated[str, Tag("text")] | Annotated[list[TextPart], Tag("list")], Discriminator(_form)]
    input: str | None = None
    """Of a user's message: the further context of Alpaca's rows, for the template's head with an input."""
    tool_calls: Annotated[Any, Neutral(([],))] = None
    function_call: Annotated[Any, Neutral()] = None

    @property
    def text(self) -> str:
        """The content in one piece."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatAsked(Asked):
    """A conversation whose next message is wanted."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES)]
    max_completion_tokens: _Count | None = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    parallel_tool_calls: Any = None
    logprobs: Annotated[Any, Neutral((False,))] = None
    top_logprobs: Annotated[Any, Neutral((0,))] = None
    tools: Annotated[Any, Neutral(([],))] = None
    tool_choice: Annotated[Any, Neutral(("none", "auto"))] = None
    functions: Annotated[Any, Neutral(([],))] = None
    function_call: Annotated[Any, Neutral(("none", "auto"))] = None
    response_format: Annotated[Any, Neutral(({"type": "text"},))] = None
    modalities: Annotated[Any, Neutral((["text"],))] = None
    audio: Annotated[Any, Neutral()] = None
    prediction: Annotated[Any, Neutral()] = None
    reasoning_effort: Annotated[Any, Neutral(("none",))] = None
    verbosity: Annotated[Any, Neutral(("medium",))] = None
    web_search_options: Annotated[Any, Neutral()] = None

    def limit(self) -> tuple[str, int | None]:
        if self.max_completion_tokens is None:
            return super().limit()
        if self.max_tokens is not None:
            raise Refused(400, "max_tokens is the old name of max_completion_tokens: give one", param="max_tokens")
        return "max_completion_tokens", self.max_completion_tokens

    def conversation(self) -> tuple[str, list[Turn]]:
        """Give the system text and the turns, the last of them without an answer; the rules are those for rows."""
        system, turns = "", list[Turn]()
        question: Turn | None = None
        for number, message in enumerate(self.messages):
            if number == 0 and message.role in ("system", "developer"):
                system = message.text
            elif message.role == "user" and question is None:
                question = Turn(message.text, message.input or "", "")
            elif message.role == "assistant" and question is not None:
                turns.append(replace(question, output=message.text))
                question = None
            else:
                expected = "one system message at most, then user and assistant in turn, the user first"
                raise Refused(400, f"message {number} is from {message.role!r}; expected {expected}", param="messages")
        if question is None:
            raise Refused(400, "the last message must be the user's: that is what is answered", param="messages")
        return system, [*turns, question]


class TextAsked(Asked):
    """A text to go on with, as it is, without the adapter's prompt format."""

    prompt: _Prompt
    echo: Annotated[Any, Neutral((False,))] = None
    best_of: Annotated[Any, Neutral((1,))] = None
    suffix: Annotated[Any, Neutral(("",))] = None
    logprobs: Annotated[Any, Neutral()] = None

    @property
    def text(self) -> str:
        """The one text."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]
