"""Answers as a page shows them: looked at some times a second, stopped by who asked and by nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Answering, Engine, Finished, Request, Ticket

INTERVAL_SECONDS = 0.06
"""Between two looks. Each one that has something new is sent to the browser, which costs more than a small model's
token."""

LATE_SECONDS = 10.0
"""A closed page's last question may arrive after the news that it was closed, but not so much later."""


class Growing:
    """One answer.

    Attributes:
        text: what has come.
        error: what ended it, empty unless an error did.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self._answering = Answering(engine, request)
        self._begun = 0.0
        self.model = request.model
        self.beams = request.sampling.num_beams
        self.text = ""
        self.error = ""

    @property
    def ticket(self) -> Ticket:
        """The engine's receipt for it."""
        return self._answering.ticket

    @property
    def finished(self) -> Finished | None:
        """How it ended; None while it grows and after an error."""
        return self._answering.finished

    @property
    def seconds(self) -> float:
        """Time since a look found it out of the queue."""
        return time.perf_counter() - self._begun if self._begun else 0.0

    def look(self) -> bool:
        """Take what has come since the last look; tell whether more may come."""
        if not self._begun and not self.ticket.place:
            self._begun = time.perf_counter()
        try:
            while not self.error and (piece := self._answering.next(0)):
                self.text += piece
        except UserError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        return not (self.error or self.finished)


class Asked:
    """Which answers grow for whom: the tickets of every tab of every open page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[tuple[str, str], list[Ticket]] = {}
        self._left: dict[str, float] = {}

    def put(self, session: str, tab: str, tickets: list[Ticket]) -> None:
        """Remember what was asked; what grows in the same tab of the same page is cancelled for it.

        So is what was asked by a page that was closed meanwhile.
        """
        with self._lock:
            before = self._tickets.pop((session, tab), [])
            if session in self._left and time.monotonic() - self._left[session] < LATE_SECONDS:
                before += tickets
            else:
                self._tickets[session, tab] = tickets
        _cancel(before)

    def stop(self, session: str, tab: str) -> None:
        """Cancel what grows in one tab of one page."""
        self.put(session, tab, [])

    def leave(self, session: str) -> None:
        """Cancel all that grows for a page that was closed."""
        now = time.monotonic()
        with self._lock:
            self._left = {key: then for key, then in self._left.items() if now - then < LATE_SECONDS} | {session: now}
            gone = [key for key in self._tickets if key[0] == session]
            before = [ticket for key in gone for ticket in self._tickets.pop(key)]
        _cancel(before)


def _cancel(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        ticket.cancel()


def grow(
    engine: Engine, requests: Sequence[Request], asked: Asked, session: str, tab: str
) -> Iterator[Sequence[Growing]]:
    """Ask for answers at once and yield them, the same objects each time, until all have ended.

    Raises what `Engine.ask` raises. Left early, it cancels them.
    """
    growing: list[Growing] = []
    try:
        for request in requests:
            growing.append(Growing(engine, request))
        asked.put(session, tab, [one.ticket for one in growing])
        while True in [one.look() for one in growing]:
            yield growing
            time.sleep(INTERVAL_SECONDS)
        yield growing
    finally:
        _cancel([one.ticket for one in growing])
