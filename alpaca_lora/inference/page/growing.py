"""Answers as a page shows them: looked at some times a second, stopped by who asked and by nobody else."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(eq=False)
class Click:
    """What somebody asked for at once.

    Attributes:
        session: the open page.
        tab: where on it.
        at: when, by that page's own clock in milliseconds; a page that withdraws nothing need not tell.
        tickets: the engine's receipts.
        instead: what stands in its place once it was withdrawn; None until then.
    """

    session: str
    tab: str
    at: float = math.inf
    tickets: list[Ticket] = field(default_factory=list[Ticket])
    instead: Any = None

    def cancel(self) -> None:
        for ticket in self.tickets:
            ticket.cancel()


class Asked:
    """Which answers grow for whom: the last click in every tab of every open page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clicks: dict[tuple[str, str], Click] = {}
        self._withdrawn: dict[tuple[str, str], tuple[float, Any]] = {}
        self._left: dict[str, float] = {}

    def put(self, click: Click) -> None:
        """Remember what was asked; what grows in the same tab of the same page is cancelled for it.

        So is what was asked by a page that was closed meanwhile, or asked before the last withdrawal: a browser's
        requests can overtake one another.
        """
        key = (click.session, click.tab)
        with self._lock:
            before = self._clicks.get(key)
            self._clicks[key] = click
            at, instead = self._withdrawn.get(key, (-math.inf, None))
            if late := click.at < at:
                click.instead = instead
            closed = time.monotonic() - self._left.get(click.session, -math.inf) < LATE_SECONDS
        if before:
            before.cancel()
        if late or closed:
            click.cancel()

    def stop(self, session: str, tab: str) -> None:
        """Cancel what grows in one tab of one page; what it has come to is kept."""
        with self._lock:
            click = self._clicks.get((session, tab))
        if click:
            click.cancel()

    def withdraw(self, session: str, tab: str, at: float, instead: Any) -> None:
        """Cancel all that was asked in one tab of one page before some time, and say what stands in its place."""
        with self._lock:
            self._withdrawn[session, tab] = at, instead
            click = self._clicks.get((session, tab))
            if click:
                click.instead = instead
        if click:
            click.cancel()

    def leave(self, session: str) -> None:
        """Cancel all that grows for a page that was closed."""
        now = time.monotonic()
        with self._lock:
            self._left = {key: then for key, then in self._left.items() if now - then < LATE_SECONDS} | {session: now}
            gone = [self._clicks.pop(key) for key in list(self._clicks) if key[0] == session]
            self._withdrawn = {key: value for key, value in self._withdrawn.items() if key[0] != session}
        for click in gone:
            click.cancel()


def grow(engine: Engine, requests: Sequence[Request], asked: Asked, click: Click) -> Iterator[Sequence[Growing]]:
    """Ask for a click's answers at once and yield them, the same objects each time, until all have ended.

    Nothing is yielded any more once the click was withdrawn. Raises what `Engine.ask` raises. Left early, it cancels
    them.
    """
    growing: list[Growing] = []
    try:
        for request in requests:
            growing.append(Growing(engine, request))
            click.tickets.append(growing[-1].ticket)
        asked.put(click)
        while True in [one.look() for one in growing] and click.instead is None:
            yield growing
            time.sleep(INTERVAL_SECONDS)
        if click.instead is None:
            yield growing
    finally:
        click.cancel()
