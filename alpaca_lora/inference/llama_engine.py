"""Answers from llama.cpp: its own C++ server inside this process, asked with our token ids, adapters per request."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Busy, Closing, Event, Finished, Reason, Request, Ticket
from alpaca_lora.inference.generate import end_ids
from alpaca_lora.inference.llama_files import check_files
from alpaca_lora.inference.llama_server import check_installed, sampling_settings, slot_context, start_server
from alpaca_lora.inference.models import BASE, Prompts, show_notes
from alpaca_lora.inference.prompt_cache import shared_length
from alpaca_lora.inference.settings import QueueConfig
from alpaca_lora.inference.text import StopStrings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.05
"""How often those that wait are looked at: one that was cancelled makes room for another."""


@dataclass
class _Slot:
    """One of llama.cpp's slots with what its keys and values are of: only the same adapter can go on from them."""

    number: int
    model: str = ""
    ids: Sequence[int] = ()


@dataclass
class _Job:
    """A request with what its answer has come to.

    Attributes:
        ends: ids that end the answer.
        drops_space: the tokenizer's decoder leaves out the space that a text begins with; llama.cpp writes it.
        last: the event to end with, once it is known.
    """

    ticket: Ticket
    ends: frozenset[int]
    drops_space: bool
    asked: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    first: float = 0.0
    reused: int = 0
    last: Event | None = None

    def __post_init__(self) -> None:
        self.model = self.ticket.request.model
        self._strings = StopStrings(self.ticket.request.stop)

    def take(self, content: bytes) -> bool:
        """Take what llama.cpp sends after a step; tell it whether to stop."""
        try:
            self.last = self._ended(json.loads(content))
        except Exception as error:  # also of who takes the text: nothing may be raised into llama.cpp
            self.last = error
        return self.last is not None

    def _ended(self, event: dict[str, Any]) -> Event | None:
        if "error" in event:
            return RuntimeError(f"llama.cpp: {event['error'].get('message')}")
        if self.ticket.cancelled:
            return self.finished("cancelled")
        step, reason = event.get("__verbose", {}), event["choices"][0]["finish_reason"]
        if "prompt_progress" in event:
            self.reused = event["prompt_progress"]["cache"]
        if step.get("tokens"):
            self.first = self.first or time.perf_counter()
            if step["tokens"][-1] in self.ends:
                return self._stopped()
        if not reason and not step.get("tokens"):
            return None
        # Where llama.cpp knows the token that ended it, it has counted it.
        self.ticket.tokens = step["tokens_predicted"] - (reason == "stop")
        self._deliver(self._strings.add(self._text(step["content"])))
        if self._strings.found:
            return self.finished("stop")
        if reason:
            return self._stopped("stop" if reason == "stop" else "length")
        return None

    def _text(self, text: str) -> str:
        if text and self.drops_space:
            self.drops_space = False
            return text.removeprefix(" ")
        return text

    def _stopped(self, reason: Reason = "stop") -> Finished:
        self._deliver(self._strings.end())
        return self.finished(reason)

    def _deliver(self, text: str) -> None:
        if text:
            self.ticket.deliver(text)

    def finished(self, reason: Reason) -> Finished:
        """Give the end with what it took."""
        now = time.perf_counter()
        started = self.started or now
        return Finished(
            reason, len(self.ticket.request.ids), self.reused, self.ticket.tokens,
            started - self.asked, (self.first or now) - started, now - started,
        )  # fmt: skip


class LlamaEngine:
    """llama.cpp behind the same questions as `TorchEngine`, with its own batching, prefix reuse and sampling.

    It computes one adapter at a time, and would let one adapter's answers starve another's. So slots are given by
    turns: a turn belongs to the adapter of who has waited longest, and ends when that is another's.

    Text is what llama.cpp writes, in whole characters. Bytes that are none yet when the answer ends are left out.

    Attributes:
        names: adapters that can be asked, or `base`.
        context: tokens that a prompt and its answer may have together.
    """

    def __init__(self, prompts: Prompts, limits: QueueConfig, gguf: str, gguf_lora: Sequence[str] = ()) -> None:
        check_installed()
        model, loras, notes = check_files(prompts, gguf, gguf_lora)
        self.names = [BASE, *prompts.folders] if loras else list(prompts.folders) or [BASE]
        self._loras = list(prompts.folders) if loras else []
        self._tokenizer, self._limits = prompts.tokenizer, limits
        self._drops_space = _drops_space(prompts.tokenizer)
        self.context, more = slot_context(model, limits.slots)
        show_notes([*notes, *more])
        self._server: Any = start_server(model.path, [file.path for file in loras], limits.slots, self.context)
        self._free = [_Slot(number) for number in range(limits.slots)]
        self._waiting: deque[_Job] = deque()
        self._active: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._give_slots, name="llama.cpp", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Requests that are being answered."""
        return len(self._active)

    def ask(self, request: Request, deliver: Callable[[Event], None]) -> Ticket:
        """Take a request, see `Engine`."""
        if request.model not in self.names:
            raise UserError(f"there is no adapter {request.model}", fix=f"one of: {', '.join(self.names)}")
        if request.sampling.num_beams > 1:
            raise UserError("llama.cpp has no beam search", fix="--num_beams 1, or --engine transformers")
        if len(request.ids) >= self.context:
            raise UserError(
                f"the prompt has {len(request.ids)} tokens, a slot holds at most {self.context}", fix="shorten it"
            )
        ticket = Ticket(request, deliver)
        with self._changed:
            if self._closed:
                raise Closing("the program is about to end", fix="start it again")
            if len(self._active) + len(self._waiting) >= self._limits.slots + self._limits.queue:
                raise Busy(f"{len(self._active)} answers grow and {len(self._waiting)} wait", fix="ask again later")
            self._waiting.append(_Job(ticket, end_ids(self._tokenizer, request.end), self._drops_space))
            self._tell_places()
            self._changed.notify()
        return ticket

    def close(self) -> None:
        """Cancel all requests, end the threads and free the model."""
        with self._changed:
            self._closed = True
            for job in [*self._waiting, *self._active]:
                job.ticket.cancel()
            self._changed.notify()
        self._thread.join()
        self._server = None  # its destructor stops it

    def _give_slots(self) -> None:
        with self._changed:
            while not self._closed or self._waiting or self._active:
                for job in [job for job in self._waiting if job.ticket.cancelled]:
                    self._waiting.remove(job)
                    _hand_over(job.ticket, job.finished("cancelled"))
                for job in self._next():
                    self._waiting.remove(job)
                    self._active.append(job)
                    threading.Thread(target=self._answer, args=(job, self._take_slot(job)), daemon=True).start()
                self._tell_places()
                self._changed.wait(_LOOK_SECONDS if self._waiting else None)

    def _next(self) -> list[_Job]:
        """Give those who get a free slot now: of one adapter, in the order in which they came."""
        turn, waiting = [], list(self._waiting)
        for job in waiting:
            if job.model == (self._active or waiting)[0].model:
                turn.append(job)
            elif self._active:
                break
        return turn[: len(self._free)]

    def _take_slot(self, job: _Job) -> _Slot:
        """Take the free slot that has computed most of the prompt already, of those the least lately used."""
        ids = job.ticket.request.ids
        slot = max(self._free, key=lambda slot: shared_length(ids, slot.ids) if slot.model == job.model else -1)
        self._free.remove(slot)
        slot.model, slot.ids = job.model, ids
        return slot

    def _tell_places(self) -> None:
        for place, job in enumerate(self._waiting):
            job.ticket.place = place + 1
        for job in self._active:
            job.ticket.place = 0

    def _answer(self, job: _Job, slot: _Slot) -> None:
        job.started = time.perf_counter()
        try:
            self._server.handle_completions(json.dumps(self._question(job, slot)).encode(), job.take)
        except Exception as error:
            job.last = error
        last = job.last or RuntimeError("llama.cpp stopped in the middle of an answer")
        if isinstance(last, Exception):
            _LOG.error("an answer ended with an error", exc_info=last)
        with self._changed:
            self._active.remove(job)
            self._free.append(slot)
            _hand_over(job.ticket, last)
            self._changed.notify()

    def _question(self, job: _Job, slot: _Slot) -> dict[str, Any]:
        request = job.ticket.request
        question = sampling_settings(request.sampling, self.context - len(request.ids)) | {
            "prompt": list(request.ids), "id_slot": slot.number, "cache_prompt": True, "stream": True,
            "verbose": True, "return_tokens": True, "return_progress": True,
        }  # fmt: skip
        if self._loras:  # each is named: an empty list would mean the scales they were loaded with
            scales = [float(name == request.model) for name in self._loras]
            question["lora"] = [{"id": number, "scale": scale} for number, scale in enumerate(scales)]
        return question


def _hand_over(ticket: Ticket, event: Event) -> None:
    try:
        ticket.deliver(event)
    except Exception:
        _LOG.exception("an answer could not be handed over")


def _drops_space(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Say whether the decoder leaves out the space that a text begins with, as SentencePiece's does."""
    word = next(
        (token for text, token in tokenizer.get_vocab().items() if text[:1] in "▁Ġ" and text[1:].isalpha()), None
    )
    return word is not None and not str(tokenizer.decode([word])).startswith(" ")
