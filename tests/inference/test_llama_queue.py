"""The llama.cpp engine's queue and slots: places, refusals, cancelled and broken answers, the end of it all."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_models import ask, open_chain
from waiting import WAIT_SECONDS, until

from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Answering, Busy, Event, Finished, Request
from alpaca_lora.inference.llama_engine import LlamaEngine
from alpaca_lora.inference.settings import QueueConfig, SamplingConfig

ENDLESS_CONTEXT = 4100


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEngine]:
    """An engine of one slot, two that may wait, whose model never ends."""
    theirs, ours = open_chain(
        tmp_path_factory.mktemp("endless"), ["▁cat", "▁mat"], QueueConfig(slots=1, queue=2), ENDLESS_CONTEXT
    )
    ours.close()
    yield theirs
    theirs.close()


def _long(tokens: int = 4000) -> Request:
    return Request("base", [1, 300], SamplingConfig(max_new_tokens=tokens))


def test_a_cancelled_answer_stops_in_llama_cpp_too(endless: LlamaEngine) -> None:
    """Its slot keeps what was computed: were it computing on, the whole answer would be there to reuse."""
    cat, mat = (int(endless._tokenizer.convert_tokens_to_ids(word)) for word in ("▁cat", "▁mat"))
    answering = Answering(endless, _long())
    assert answering.next(WAIT_SECONDS) == "cat"
    answering.ticket.cancel()
    list(answering)
    assert answering.finished
    assert answering.finished.reason == "cancelled"
    assert answering.ticket.tokens < 1000
    after = Request("base", [1, 300, *[cat, mat] * 1900], SamplingConfig(max_new_tokens=1))
    assert 2 < ask(endless, after)[1].reused_tokens < 2000


def test_the_queue_has_places_and_an_end(endless: LlamaEngine) -> None:
    events: list[list[Event]] = [[], [], []]
    tickets = [endless.ask(_long(), events[number].append) for number in range(3)]
    with pytest.raises(Busy):
        endless.ask(_long(), lambda event: None)
    until(lambda: tickets[0].tokens > 0)
    assert [ticket.place for ticket in tickets] == [0, 1, 2]
    assert (endless.active, endless.waiting) == (1, 2)
    tickets[1].cancel()
    until(lambda: tickets[2].place == 1)
    assert isinstance(events[1][-1], Finished)
    assert events[1][-1].reason == "cancelled"
    for ticket in tickets:
        ticket.cancel()
    until(lambda: (endless.active, endless.waiting) == (0, 0))
    assert [event[-1].reason for event in events if isinstance(event[-1], Finished)] == ["cancelled"] * 3


def test_who_cannot_take_an_answer_any_more_gives_the_slot_back(endless: LlamaEngine) -> None:
    def gone(event: Event) -> None:
        raise ConnectionError

    ticket = endless.ask(_long(), gone)
    until(lambda: endless.active == 0 and endless.waiting == 0)
    assert ticket.tokens < 1000
    assert ask(endless, _long(2))[0] == "cat mat"


def test_what_llama_cpp_refuses_is_an_event(endless: LlamaEngine) -> None:
    with pytest.raises(RuntimeError, match="invalid tokens"):
        ask(endless, Request("base", [1, 10**6], SamplingConfig()))
    assert ask(endless, _long(2))[0] == "cat mat"


def test_an_answer_fills_the_context_and_no_more(endless: LlamaEngine) -> None:
    text, finished = ask(
        endless, Request("base", [1, *[300] * (ENDLESS_CONTEXT - 11)], SamplingConfig(max_new_tokens=99))
    )
    assert (finished.reason, finished.tokens) == ("length", 10)
    assert text.split() == ["cat", "mat"] * 5


def test_requests_that_cannot_be_answered_are_refused(endless: LlamaEngine) -> None:
    refused = {
        "no adapter two": Request("two", [1], SamplingConfig()),
        "no beam search": Request("base", [1], SamplingConfig(num_beams=2)),
        f"holds at most {ENDLESS_CONTEXT}": Request("base", [1] * ENDLESS_CONTEXT, SamplingConfig()),
    }
    for message, request in refused.items():
        with pytest.raises(UserError, match=message):
            endless.ask(request, lambda event: None)


def test_closing_cancels_all(tmp_path: Path) -> None:
    theirs, ours = open_chain(tmp_path, ["▁cat", "▁mat"], QueueConfig(slots=1), ENDLESS_CONTEXT)
    ours.close()
    events: list[list[Event]] = [[], []]
    for found in events:
        theirs.ask(_long(), found.append)
    until(lambda: events[0])
    theirs.close()
    assert [found[-1].reason for found in events if isinstance(found[-1], Finished)] == ["cancelled"] * 2
    with pytest.raises(UserError, match="about to end"):
        theirs.ask(_long(), lambda event: None)


def test_its_own_port_lets_nobody_in(endless: LlamaEngine) -> None:
    address = endless._server.listening_address
    assert address.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(f"{address}/completion", json.dumps({"prompt": "x"}).encode()))
