"""Answers from the model in this process: several grow at once by turns, one token each, the others wait in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from alpaca_lora.errors import UserError
from alpaca_lora.inference.compiled import CompiledStep
from alpaca_lora.inference.engine import Busy, Event, Finished, Reason, Request, Ticket
from alpaca_lora.inference.generate import Answer, answer_room, answer_steps
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.prompt_cache import PromptCache
from alpaca_lora.inference.settings import QueueConfig

_LOG = logging.getLogger(__name__)


@dataclass
class _Job:
    """A request with what its answer has come to."""

    ticket: Ticket
    asked: float
    started: float = 0.0
    first: float = 0.0
    reused: int = 0
    answer: Answer = field(default_factory=Answer)
    steps: Iterator[str] = field(default_factory=lambda: iter(()))
    borrowed: Any = None


class TorchEngine:
    """Models behind one thread that computes: what is asked is answered alone, to the last bit as with nobody else.

    Rows are not joined into batches, as a product's rounding depends on how many rows it has; taking turns keeps
    everybody's text growing all the same.
    """

    def __init__(self, models: Models, limits: QueueConfig) -> None:
        self.models = models
        self._limits = limits
        self._prompts = PromptCache()
        self._compiled = CompiledStep(models.model, limits.slots) if models.compiles else None
        self._waiting: deque[_Job] = deque()
        self._active: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """Names of all that can answer."""
        return self.models.names

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
        self.models.prompt(request.model)
        answer_room(self.models.model, len(request.ids), request.sampling)
        ticket = Ticket(request, deliver)
        with self._changed:
            if self._closed:
                raise UserError("the program is about to end", fix="start it again")
            if self.active + self.waiting >= self._limits.slots + self._limits.queue:
                raise Busy(f"{self.active + self.waiting} requests are being answered or wait", fix="ask again later")
            self._waiting.append(_Job(ticket, time.perf_counter()))
            self._tell_places()
            self._changed.notify()
        return ticket

    def close(self) -> None:
        """Cancel all requests and end the thread."""
        with self._changed:
            self._closed = True
            for job in [*self._waiting, *self._active]:
                job.ticket.cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._active or self._waiting or self._closed):
                    self._changed.wait()
                if self._closed and not (self._active or self._waiting):
                    return
                self._admit()
            for job in sorted(self._active, key=lambda job: job.ticket.request.model != self.models.active):
                if not self._advance(job):
                    if self._compiled and job.borrowed is not None:
                        self._compiled.give_back(job.borrowed)
                    with self._changed:
                        self._active.remove(job)
                        self._tell_places()

    def _admit(self) -> None:
        """Give free slots to those that wait, first come, first served; who has left makes room at once."""
        for job in [job for job in self._waiting if job.ticket.cancelled]:
            self._waiting.remove(job)
            job.started = time.perf_counter()
            self._deliver(job, self._summary(job, "cancelled"))
        while self._waiting and len(self._active) < self._limits.slots:
            job = self._waiting.popleft()
            job.started = time.perf_counter()
            job.steps = self._steps(job)
            self._active.append(job)
        self._tell_places()

    def _tell_places(self) -> None:
        for place, job in enumerate(self._waiting):
            job.ticket.place = place + 1
        for job in self._active:
            job.ticket.place = 0

    def _steps(self, job: _Job) -> Iterator[str]:
        models, request = self.models, job.ticket.request

        def begin() -> object:
            cache, job.reused = self._prompts.begin(models.model, request.model, request.ids, request.heads)
            if self._compiled and request.sampling.num_beams == 1:
                tokens = len(request.ids) + request.sampling.max_new_tokens
                job.borrowed = self._compiled.borrow(models.model, cache, tokens)
            return job.borrowed if job.borrowed is not None else cache

        return answer_steps(
            models.model, models.tokenizer, request.ids, request.sampling, job.answer,
            end=request.end, stop=request.stop, begin=begin,
            step=partial(self._step, job) if self._compiled else None,
        )  # fmt: skip

    def _step(self, job: _Job, **inputs: Any) -> Any:
        """Compute one token: compiled where the answer could borrow a static cache."""
        compiled = self._compiled if job.borrowed is not None else None
        return (compiled.step if compiled else self.models.model)(**inputs)

    def _advance(self, job: _Job) -> bool:
        """Compute one more token of an answer; tell whether it goes on."""
        try:
            if job.ticket.cancelled:
                return self._deliver(job, self._summary(job, "cancelled"))
            self.models.select(job.ticket.request.model)
            piece = next(job.steps, None)
        except Exception as error:
            _LOG.exception("an answer ended with an error")
            return self._deliver(job, error)
        job.ticket.tokens = len(job.answer.ids)
        job.first = job.first or time.perf_counter()
        if piece and not self._deliver(job, piece):
            return False
        if not job.answer.finished:
            return True
        return self._deliver(job, self._summary(job, "stop" if job.answer.finished == "stop" else "length"))

    def _deliver(self, job: _Job, event: Event) -> bool:
        """Hand an event over; tell whether more may come. Who cannot take it any more is cancelled."""
        try:
            job.ticket.deliver(event)
        except Exception:
            _LOG.exception("an answer could not be handed over")
            return False
        return isinstance(event, str)

    def _summary(self, job: _Job, reason: Reason) -> Finished:
        now = time.perf_counter()
        return Finished(
            reason, len(job.ticket.request.ids), job.reused, len(job.answer.ids),
            job.started - job.asked, (job.first or now) - job.started, now - job.started,
        )  # fmt: skip
