"""What is answered, in the words of OpenAI's API: the part of /openapi.json that tells clients what they get."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class PromptDetails(BaseModel):
    """Where the prompt's tokens came from."""

    cached_tokens: int
    """Those whose keys and values were there already."""


class Usage(BaseModel):
    """What an answer took, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class _Answered(BaseModel):
    id: str
    created: int
    """Seconds since 1970."""
    model: str
    system_fingerprint: str
    usage: Usage


class AnswerMessage(BaseModel):
    """The answer as a message."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """The one answer of a chat."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: None
    finish_reason: Literal["stop", "length"]


class ChatAnswered(_Answered):
    """An answer to a conversation."""

    object: Literal["chat.completion"]
    choices: Annotated[list[ChatChoice], Field(min_length=1, max_length=1)]


class TextChoice(BaseModel):
    """The one answer of a completion."""

    index: Literal[0]
    text: str
    logprobs: None
    finish_reason: Literal["stop", "length"]


class TextAnswered(_Answered):
    """A text's continuation."""

    object: Literal["text_completion"]
    choices: Annotated[list[TextChoice], Field(min_length=1, max_length=1)]


class ModelShown(BaseModel):
    """One that can answer: the base, or an adapter."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Seconds since 1970 at which the adapter was written; of the base, at which the server started."""
    owned_by: Literal["alpaca-lora"] = "alpaca-lora"


class ModelList(BaseModel):
    """All that can answer."""

    object: Literal["list"] = "list"
    data: list[ModelShown]


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"] = "ok"
