"""Answers from the model in this process: several grow at once by turns, one token each, the others wait in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from alpaca_lora.inference.answerer import open_answerer
from alpaca_lora.inference.engine import Busy, Closing, Event, Finished, Reason, Request, Ticket
from alpaca_lora.inference.generate import Answer, answer_room
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.settings import QueueConfig

_LOG = logging.getLogger(__name__)


@dataclass
class _Job:
    """A request with what its answer has come to."""

    ticket: Ticket
    asked: float
    started: float = 0.0
    first: float = 0.0
    answer: Answer = field(default_factory=Answer)
    steps: Generator[str] = field(default_factory=lambda: (nothing for nothing in ()))


class TorchEngine:
    """Models behind one thread that computes: what is asked is answered alone, to the last bit as with nobody else.

    Rows are not joined into batches, as a product's rounding depends on how many rows it has; taking turns keeps
    everybody's text growing all the same.
    """

    def __init__(self, models: Models, limits: QueueConfig) -> None:
        self.models = models
        self._limits = limits
        self._answerer = open_answerer(models, limits.slots)
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
                raise Closing("the program is about to end", fix="start it again")
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
                self._advance(job)

    def _free(self, job: _Job) -> None:
        with self._changed:
            if job in self._active:
                job.steps.close()
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
            job.steps = self._answerer.steps(job.ticket.request, job.answer)
            self._active.append(job)
        self._tell_places()

    def _tell_places(self) -> None:
        for place, job in enumerate(self._waiting):
            job.ticket.place = place + 1
        for job in self._active:
            job.ticket.place = 0

    def _advance(self, job: _Job) -> None:
        """Compute one more token of an answer."""
        try:
            if job.ticket.cancelled:
                self._deliver(job, self._summary(job, "cancelled"))
                return
            self.models.select(job.ticket.request.model)
            piece = next(job.steps, None)
        except Exception as error:
            _LOG.exception("an answer ended with an error")
            self._deliver(job, error)
            return
        job.ticket.tokens = len(job.answer.ids)
        job.first = job.first or time.perf_counter()
        if piece and not self._deliver(job, piece):
            return
        if job.answer.finished:
            self._deliver(job, self._summary(job, "stop" if job.answer.finished == "stop" else "length"))

    def _deliver(self, job: _Job, event: Event) -> bool:
        """Hand an event over; tell whether it arrived. Who cannot take it any more is cancelled.

        With the last event the slot is free before the asker hears of it, who may ask again at once.
        """
        if not isinstance(event, str):
            self._free(job)
        try:
            job.ticket.deliver(event)
        except Exception:
            _LOG.exception("an answer could not be handed over")
            self._free(job)
            return False
        return True

    def _summary(self, job: _Job, reason: Reason) -> Finished:
        now = time.perf_counter()
        return Finished(
            reason, len(job.ticket.request.ids), job.answer.reused_tokens, len(job.answer.ids),
            job.started - job.asked, (job.first or now) - job.started, now - job.started,
        )  # fmt: skip
