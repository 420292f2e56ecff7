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
        at: when, by that page's own clock in milliseconds; a tab that withdraws nothing need not tell.
        tickets: the engine's receipts.
    """

    session: str
    tab: str
    at: float = math.inf
    tickets: list[Ticket] = field(default_factory=list[Ticket])

    @property
    def place(self) -> tuple[str, str]:
        return self.session, self.tab

    def cancel(self) -> None:
        for ticket in self.tickets:
            ticket.cancel()


class Asked:
    """Which answers grow for whom, and what was withdrawn: the last of both in every tab of every open page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clicks: dict[tuple[str, str], Click] = {}
        self._withdrawn: dict[tuple[str, str], tuple[float, Any]] = {}
        self._left: dict[str, float] = {}

    def put(self, click: Click) -> None:
        """Remember what was asked; what grows in the same tab of the same page is cancelled for it.

        So is what was asked by a page that was closed meanwhile, and what was withdrawn before it came: a browser's
        requests can overtake one another.
        """
        with self._lock:
            before = self._clicks.pop(click.place, None)
            gone = self._is_gone(click.session)
            if not gone:
                self._clicks[click.place] = click
        if before:
            before.cancel()
        if gone or self.instead(click) is not None:
            click.cancel()

    def stop(self, session: str, tab: str) -> None:
        """Cancel what grows in one tab of one page; what it has come to stays."""
        with self._lock:
            click = self._clicks.get((session, tab))
        if click:
            click.cancel()

    def withdraw(self, session: str, tab: str, at: float, state: Any) -> Any:
        """Cancel all that was asked in one tab of one page before some time; `state` stands in its place.

        Returns:
            The state that stands there now: another's, if that was withdrawn later but came first.
        """
        place = session, tab
        with self._lock:
            last, instead = self._withdrawn.get(place, (-math.inf, None))
            if at < last:
                return instead
            if not self._is_gone(session):
                self._withdrawn[place] = at, state
            click = self._clicks.get(place)
        if click and click.at < at:
            click.cancel()
        return state

    def instead(self, click: Click) -> Any:
        """Give what stands in the place of what was asked; None unless it was withdrawn."""
        with self._lock:
            at, state = self._withdrawn.get(click.place, (-math.inf, None))
        return state if click.at < at else None

    def leave(self, session: str) -> None:
        """Cancel all that grows for a page that was closed, and forget the page."""
        now = time.monotonic()
        with self._lock:
            self._left = {key: then for key, then in self._left.items() if now - then < LATE_SECONDS} | {session: now}
            gone = [self._clicks.pop(place) for place in list(self._clicks) if place[0] == session]
            self._withdrawn = {place: last for place, last in self._withdrawn.items() if place[0] != session}
        for click in gone:
            click.cancel()

    def _is_gone(self, session: str) -> bool:
        """Tell whether a page was closed; one that comes back later only lost its connection."""
        return time.monotonic() - self._left.get(session, -math.inf) < LATE_SECONDS


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
        more = True
        while more and asked.instead(click) is None:
            more = True in [one.look() for one in growing]
            yield growing
            if more:
                time.sleep(INTERVAL_SECONDS)
    finally:
        click.cancel()
