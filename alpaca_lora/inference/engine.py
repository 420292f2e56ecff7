"""What an answer is asked with, and what comes back: the same whatever program computes it."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from alpaca_lora.errors import UserError
from alpaca_lora.inference.settings import SamplingConfig

Reason = Literal["stop", "length", "cancelled"]


class Busy(UserError):
    """All slots are taken and the queue is full: ask again later."""


class Closing(UserError):
    """The program is about to end: nothing more is taken."""


@dataclass(frozen=True)
class Request:
    """One answer that is asked for.

    Attributes:
        model: name of the adapter that answers, or `base`.
        ids: token ids of the prompt, BOS included.
        heads: after how many tokens the prompt's heads end, see `encode_with_heads`.
        end: the token that ends an answer in this prompt format, beside end-of-sequence.
        stop: strings that end the answer and are left out of it.
    """

    model: str
    ids: Sequence[int]
    sampling: SamplingConfig
    heads: Sequence[int] = ()
    end: str = ""
    stop: Sequence[str] = ()


@dataclass(frozen=True)
class Finished:
    """How an answer ended.

    Attributes:
        reason: `stop` at its end or a stop string, `length` at a limit, `cancelled` by who asked.
        reused_tokens: of the prompt's tokens, those whose keys and values were there already.
        waited_seconds: from the question to a slot.
        first_seconds: from the slot to the first token.
        seconds: from the slot to the end.
    """

    reason: Reason
    prompt_tokens: int
    reused_tokens: int
    tokens: int
    waited_seconds: float
    first_seconds: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first over the time they took."""
        return (self.tokens - 1) / (self.seconds - self.first_seconds) if self.tokens > 1 else 0.0


Event = str | Finished | Exception
"""A piece of text, then how it ended; or the error that ended it. Nothing comes after the last two."""


class Ticket:
    """One answer as it grows; may be read and cancelled from any thread.

    Attributes:
        place: how many requests are before this one; 0 while it is answered and after.
        tokens: tokens so far.
        cancelled: whether it was cancelled.
    """

    def __init__(self, request: Request, deliver: Callable[[Event], None]) -> None:
        self.request = request
        self.deliver = deliver
        self.place = 0
        self.tokens = 0
        self.cancelled = False

    def cancel(self) -> None:
        """Stop it after the token that is being computed; `Finished` with `cancelled` follows."""
        self.cancelled = True


class Engine(Protocol):
    """A program that answers."""

    @property
    def names(self) -> list[str]:
        """Names of all that can answer."""
        ...

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        ...

    @property
    def active(self) -> int:
        """Requests that are being answered."""
        ...

    def ask(self, request: Request, deliver: Callable[[Event], None]) -> Ticket:
        """Take a request; `deliver` is called with each event, from another thread, and must return at once.

        Raises `Busy` where the queue is full, `Closing` at the end, `UserError` for a prompt that does not fit.
        """
        ...

    def close(self) -> None:
        """Cancel all requests and free what it holds."""
        ...


class Answering:
    """One answer for a caller that waits for it: iterate over the pieces; `finished` is there after the last."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.ticket = engine.ask(request, self._events.put)
        self.finished: Finished | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield the pieces as they come; an error of the engine is raised here. Cancels it if left early."""
        try:
            while (piece := self.next(None)) is not None:
                if piece:
                    yield piece
        finally:
            self.ticket.cancel()

    def next(self, timeout_seconds: float | None) -> str | None:
        """Give the next piece of text, an empty one where none came in time, None after the last."""
        if self.finished:
            return None
        try:
            event = self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            return ""
        if isinstance(event, str):
            return event
        if isinstance(event, Exception):
            raise event
        self.finished = event
        return None
