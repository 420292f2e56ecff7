"""Many askers, one model: each answer is the one given alone; queue, stops, errors, and adapters by turns."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiny_models import chain_model, tiny_model, write_adapter, write_base
from waiting import WAIT_SECONDS, until

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Answering, Busy, Closing, Event, Finished, Request
from alpaca_lora.inference.generate import stream_text
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, SamplingConfig
from alpaca_lora.inference.torch_engine import TorchEngine
from alpaca_lora.model.tokenizer import load_tokenizer

QUESTIONS = ["the cat", "a dog and a mat", "now", "what is two and three", "sat on"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `base` with the adapters `one` and `two`; `endless`, which says cat mat cat mat."""
    root = tmp_path_factory.mktemp("models")
    write_base(root / "base", max_position_embeddings=2048)
    write_base(root / "endless", max_position_embeddings=10**6)
    for seed, name in enumerate(("one", "two"), start=1):
        write_adapter(root / name, tiny_model(max_position_embeddings=2048), str(root / "base"), seed, lora_r=4)
    tokenizer, _ = load_tokenizer(root / "endless")
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("cat", "mat")]
    chain_model(ids, max_position_embeddings=10**6).save_pretrained(root / "endless")
    return root


def _models(base: Path, *adapters: Path) -> Models:
    config = ModelConfig(base_model=str(base), device="cpu", dtype="float32")
    return Models(config, AdaptersConfig(adapter=tuple(map(str, adapters))))


@pytest.fixture(scope="module")
def engine(folders: Path) -> Iterator[TorchEngine]:
    opened = TorchEngine(_models(folders / "base", folders / "one", folders / "two"), QueueConfig(slots=3, queue=100))
    yield opened
    opened.close()


@pytest.fixture
def endless(folders: Path) -> Iterator[TorchEngine]:
    opened = TorchEngine(_models(folders / "endless"), QueueConfig(slots=1, queue=2))
    yield opened
    opened.close()


def _request(engine: TorchEngine, name: str, text: str, tokens: int = 16, **sampling: Any) -> Request:
    settings = SamplingConfig(max_new_tokens=tokens, **sampling)
    return engine.models.request(name, [Turn(text, "", "")], settings)


def _ask(engine: TorchEngine, request: Request) -> tuple[str, Finished]:
    answering = Answering(engine, request)
    text = "".join(answering)
    assert answering.finished
    return text, answering.finished


# --- the same answers --------------------------------------------------------------------------------------------


def test_an_answer_is_the_generators(engine: TorchEngine, folders: Path) -> None:
    for name in ("base", "one", "two"):
        alone = _models(folders / "base", *([folders / name] if name != "base" else []))
        for text in QUESTIONS:
            request = _request(engine, name, text)
            expected = "".join(
                stream_text(alone.model, alone.tokenizer, request.ids, request.sampling, end=request.end)
            )
            assert _ask(engine, request)[0] == expected


def test_thirty_askers_get_what_each_gets_alone(engine: TorchEngine) -> None:
    names, draws = ("base", "one", "two"), ({}, {"temperature": 1.5, "seed": 7}, {"num_beams": 3})
    requests = [_request(engine, name, text, **draw) for text in QUESTIONS for name in names for draw in draws][:30]
    alone = [_ask(engine, request)[0] for request in requests]
    assert len(set(alone)) > 15
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: _ask(engine, request)[0], requests))
    assert together == alone
    assert (engine.waiting, engine.active) == (0, 0)


def test_the_second_asker_reuses_the_head(engine: TorchEngine) -> None:
    request = _request(engine, "one", "the cat sat")
    _ask(engine, request)
    _, finished = _ask(engine, _request(engine, "one", "a dog"))
    assert finished.reused_tokens == request.heads[-1] > 0


def test_the_summary_counts(engine: TorchEngine) -> None:
    request = _request(engine, "base", "the cat", 5)
    text, finished = _ask(engine, request)
    assert finished.prompt_tokens == len(request.ids)
    assert (finished.tokens, finished.reason) == (5, "length")
    assert 0 < finished.first_seconds < finished.seconds
    assert finished.tokens_per_second == 4 / (finished.seconds - finished.first_seconds)
    assert text


def test_a_stop_string_ends_an_answer(endless: TorchEngine) -> None:
    request = endless.models.request(
        "base", [Turn("now", "", "")], SamplingConfig(max_new_tokens=50), stop=["mat cat mat"]
    )
    text, finished = _ask(endless, request)
    assert text.strip() == "cat"
    assert finished.reason == "stop"


# --- the queue ---------------------------------------------------------------------------------------------------


def test_who_waits_knows_the_place_and_a_full_queue_refuses(endless: TorchEngine) -> None:
    request = _request(endless, "base", "now", 10**5)
    first, second, third = (Answering(endless, request) for _ in range(3))
    until(lambda: endless.active == 1)
    assert (first.ticket.place, second.ticket.place, third.ticket.place) == (0, 1, 2)
    with pytest.raises(Busy, match="3 requests are being answered or wait"):
        Answering(endless, request)
    second.ticket.cancel()
    until(lambda: third.ticket.place == 1)
    assert "".join(second) == ""
    assert second.finished
    assert second.finished.reason == "cancelled"
    first.ticket.cancel()
    until(lambda: third.ticket.place == 0 and third.ticket.tokens > 5)
    third.ticket.cancel()
    until(lambda: endless.active == 0)


def test_one_asker_stops_and_the_other_goes_on(folders: Path) -> None:
    engine = TorchEngine(_models(folders / "endless"), QueueConfig(slots=2))
    request = _request(engine, "base", "now", 10**5)
    mine, other = Answering(engine, request), Answering(engine, request)
    until(lambda: mine.ticket.tokens > 3 and other.ticket.tokens > 3)
    mine.ticket.cancel()
    until(lambda: engine.active == 1)
    seen = other.ticket.tokens
    until(lambda: other.ticket.tokens > seen + 3)
    text = "".join(mine)
    assert text.split()[:2] == ["cat", "mat"]
    assert mine.finished
    assert mine.finished.reason == "cancelled"
    engine.close()
    "".join(other)
    assert other.finished
    assert other.finished.reason == "cancelled"


def test_slots_grow_by_turns(folders: Path) -> None:
    """No answer waits for another to end: tokens of two come alternately."""
    engine = TorchEngine(_models(folders / "endless"), QueueConfig(slots=2))
    order: list[str] = []
    ready, ends = threading.Event(), [threading.Event(), threading.Event()]

    def deliver(name: str, end: threading.Event) -> Any:
        def take(event: Event) -> None:
            ready.wait(WAIT_SECONDS)  # until both are asked
            order.append(name)
            if isinstance(event, Finished):
                end.set()

        return take

    for name, end in zip("ab", ends, strict=True):
        engine.ask(_request(engine, "base", "now", 20), deliver(name, end))
    ready.set()
    assert all(end.wait(WAIT_SECONDS) for end in ends)
    engine.close()
    assert "".join(order[2:30]) in ("ab" * 14, "ba" * 14)


def test_an_answer_left_early_frees_its_slot(endless: TorchEngine) -> None:
    for piece in Answering(endless, _request(endless, "base", "now", 10**5)):
        assert piece.strip() == "cat"
        break
    gc.collect()
    until(lambda: endless.active == 0)


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_an_error_reaches_who_asked_and_nobody_else(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine.models.select

    def select(name: str) -> None:
        if name == "two":
            raise UserError("the adapter is broken")
        whole(name)

    monkeypatch.setattr(engine.models, "select", select)
    good, bad = _request(engine, "one", "the cat"), _request(engine, "two", "the cat")
    waiting = Answering(engine, good)
    with pytest.raises(UserError, match="the adapter is broken"):
        _ask(engine, bad)
    assert "".join(waiting)
    monkeypatch.undo()
    assert _ask(engine, bad)[0]
    assert engine.active == 0


def test_a_listener_that_fails_is_dropped(endless: TorchEngine) -> None:
    def deaf(event: Event) -> None:
        raise RuntimeError("gone")

    endless.ask(_request(endless, "base", "now", 10**5), deaf)
    until(lambda: endless.active == 0 and endless.waiting == 0)
    assert _ask(endless, _request(endless, "base", "now", 2))[1].tokens == 2


def test_what_cannot_be_answered_is_refused_at_once(engine: TorchEngine) -> None:
    with pytest.raises(UserError, match="there is no adapter three"):
        engine.ask(Request("three", [1, 300], SamplingConfig()), print)
    with pytest.raises(UserError, match="the prompt has 2048 tokens, the model reads at most 2048"):
        engine.ask(Request("one", [300] * 2048, SamplingConfig()), print)


def test_a_closed_engine_takes_nothing(folders: Path) -> None:
    engine = TorchEngine(_models(folders / "endless"), QueueConfig(slots=1))
    running, waiting = (Answering(engine, _request(engine, "base", "now", 10**5)) for _ in range(2))
    engine.close()
    for answering in (running, waiting):
        list(answering)
        assert answering.finished
        assert answering.finished.reason == "cancelled"
    with pytest.raises(Closing, match="about to end"):
        engine.ask(_request(engine, "base", "now"), print)
