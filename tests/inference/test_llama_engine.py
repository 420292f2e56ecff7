"""llama.cpp answers what this package's generator answers: text, ends, stops, draws, and each adapter its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from llama_models import TINY, ask, open_chain, question, write_files, write_tiny
from trained_shapes import write_trained
from waiting import WAIT_SECONDS, until

from alpaca_lora.config import ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Event, Finished, Request
from alpaca_lora.inference.llama_engine import LlamaEngine
from alpaca_lora.inference.models import Models, Prompts
from alpaca_lora.inference.sampling import allowed_scores
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, SamplingConfig
from alpaca_lora.inference.torch_engine import TorchEngine

QUESTIONS = [
    "What is the capital of Australia?",
    "Name a colour.",
    "翻译 hello 😀",
    "Is ice cold? </s> ### Response:\n",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def models(tiny: Path) -> Models:
    return Models(TINY, AdaptersConfig(adapter=(str(tiny / "one"), str(tiny / "two"))))


@pytest.fixture(scope="module")
def ours(models: Models) -> Iterator[TorchEngine]:
    engine = TorchEngine(models, QueueConfig())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def theirs(tiny: Path, models: Models) -> Iterator[LlamaEngine]:
    loras = [str(tiny / "one-lora.gguf"), str(tiny / "two-lora.gguf")]
    engine = LlamaEngine(models, QueueConfig(slots=4, queue=100), str(tiny / "base.gguf"), loras)
    yield engine
    engine.close()


@pytest.mark.parametrize("name", ["base", "one", "two"])
def test_adapters_chosen_per_request_answer_as_in_torch(
    name: str, models: Models, ours: TorchEngine, theirs: LlamaEngine
) -> None:
    for text in QUESTIONS:
        request = question(models, name, text)
        (expected, end), (found, their_end) = ask(ours, request), ask(theirs, request)
        assert (found, their_end.reason, their_end.tokens) == (expected, end.reason, end.tokens)
        assert their_end.prompt_tokens == len(request.ids)


def test_the_adapters_and_the_base_differ(models: Models, theirs: LlamaEngine) -> None:
    assert theirs.names == ["base", "one", "two"]
    answers = {ask(theirs, question(models, name, QUESTIONS[0]))[0] for name in theirs.names}
    assert len(answers) == 3


def test_a_merged_file_answers_as_its_adapter(
    tiny: Path, models: Models, ours: TorchEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = Prompts(TINY, AdaptersConfig(adapter=(str(tiny / "one"),)))
    merged = LlamaEngine(prompts, QueueConfig(slots=2), str(tiny / "merged" / "one-F32.gguf"))
    assert capsys.readouterr().err == ""  # verified, and of this very adapter: nothing to say
    assert merged.names == ["one"]
    for text in QUESTIONS:
        request = question(models, "one", text)
        assert ask(merged, request)[0] == ask(ours, request)[0]
    with pytest.raises(UserError, match="no adapter base"):
        merged.ask(question(models, "base", "x"), lambda event: None)
    merged.close()


def test_byte_level_tokenizers_keep_their_first_space(tmp_path: Path) -> None:
    trained = write_trained(tmp_path, "Qwen 2")
    write_files(tmp_path, str(trained.base), trained.adapter)
    model = ModelConfig(base_model=str(trained.base), device="cpu", dtype="float32")
    models = Models(model, AdaptersConfig(adapter=(str(trained.adapter),)))
    theirs = LlamaEngine(
        models, QueueConfig(slots=1), str(tmp_path / "base.gguf"), [str(tmp_path / "adapter-lora.gguf")]
    )
    ours = TorchEngine(models, QueueConfig())
    requests = [question(models, "adapter", text, tokens=6) for text in (*QUESTIONS, "sat", "on a mat")]
    answers = [ask(ours, request)[0] for request in requests]
    assert any(answer.startswith(" ") for answer in answers)
    assert [ask(theirs, request)[0] for request in requests] == answers
    for engine in (ours, theirs):
        engine.close()


def test_many_at_once_get_what_they_get_alone(models: Models, theirs: LlamaEngine) -> None:
    requests = [question(models, name, text) for text in QUESTIONS for name in ("one", "base", "two")]
    alone = [ask(theirs, request)[0] for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: ask(theirs, request)[0], requests))
    assert together == alone
    assert (theirs.active, theirs.waiting) == (0, 0)


def test_prompt_heads_are_reused_by_the_same_adapter_only(tiny: Path, models: Models) -> None:
    loras = [str(tiny / "one-lora.gguf"), str(tiny / "two-lora.gguf")]
    engine = LlamaEngine(models, QueueConfig(slots=2), str(tiny / "base.gguf"), loras)
    reused = {
        name: [ask(engine, question(models, name, text, tokens=1))[1].reused_tokens for text in ("cat", "dog")]
        for name in ("one", "two")
    }
    head = question(models, "one", "cat").heads[0]
    again = ask(engine, question(models, "one", "sun", tokens=1))[1].reused_tokens
    engine.close()
    assert [reused["one"][0], reused["two"][0]] == [0, 0]
    assert min(reused["one"][1], reused["two"][1], again) >= head


def test_turns_go_to_the_adapter_of_who_has_waited_longest(tiny: Path, models: Models) -> None:
    """llama.cpp would finish `one` after `one` first. Two slots; asked while the first two of `one` grow."""
    loras = [str(tiny / "one-lora.gguf"), str(tiny / "two-lora.gguf")]
    engine = LlamaEngine(models, QueueConfig(slots=2), str(tiny / "base.gguf"), loras)
    order: list[str] = []
    both = threading.Event()

    def put(name: str, number: int, *, hold: bool = False) -> None:
        def deliver(event: Event) -> None:
            if hold:
                both.wait(WAIT_SECONDS)
            if isinstance(event, Finished):
                order.append(f"{name}{number}")

        engine.ask(question(models, name, "cat", tokens=3), deliver)

    put("one", 0, hold=True)
    until(lambda: engine.active == 1)
    for name, number in (("two", 1), ("one", 2), ("two", 3)):
        put(name, number)
    both.set()
    until(lambda: len(order) == 4)
    engine.close()
    assert order[0] == "one0"
    assert sorted(order[1:3]) == ["two1", "two3"]
    assert order[3] == "one2"


def test_draws_come_from_our_distribution(models: Models, theirs: LlamaEngine) -> None:
    """Shares of 400 draws against softmax by hand; a token that may not be drawn never is, one that may be is."""
    sampling = {"temperature": 2.5, "top_k": 6, "top_p": 0.9}
    ids = question(models, "base", "x").ids
    models.select("base")
    with torch.inference_mode():
        logits = models.model(torch.tensor([list(ids)])).logits[:, -1]
    scores, tokens = allowed_scores(logits, SamplingConfig(**sampling))
    shares = {
        models.tokenizer.decode([token]): share
        for token, share in zip(tokens[0].tolist(), scores.softmax(-1)[0].tolist(), strict=True) if share
    }  # fmt: skip
    assert 2 < len(shares) < 6
    draws = Counter(
        ask(theirs, Request("base", ids, SamplingConfig(max_new_tokens=1, seed=seed, **sampling)))[0].lstrip()
        for seed in range(400)
    )
    assert set(draws) == {text.lstrip() for text in shares}
    for text, share in shares.items():
        assert draws[text.lstrip()] / 400 == pytest.approx(share, abs=0.08)  # three standard deviations of 400 draws


def test_seeds_are_honoured(models: Models, theirs: LlamaEngine) -> None:
    def drawn(seed: int) -> str:
        return ask(theirs, question(models, "one", "cat", temperature=2.0, seed=seed))[0]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(2**32 - 1) == drawn(2**32 - 1)  # llama.cpp's own number for a random seed
    assert drawn(2**63 - 1)


def _bytes(text: str) -> list[str]:
    return [f"<0x{byte:02X}>" for byte in text.encode()]


@pytest.mark.parametrize(
    ("words", "end", "stop", "expected", "reason", "tokens"),
    [
        (["▁cat", "▁mat", "</s>"], "", (), "cat mat", "stop", 2),
        (["▁cat", "<s>", "▁mat", "</s>"], "", (), "cat mat", "stop", 3),
        (["▁cat", "<s>", "▁mat", "</s>"], "<s>", (), "cat", "stop", 1),
        ([*_bytes("中😀"), "▁cat", "</s>"], "", (), "中😀 cat", "stop", 8),
        (["▁cat", "▁mat", "▁on", "</s>"], "", ("t o",), "cat ma", "stop", 3),
        (["▁cat", "▁mat", "▁on", "</s>"], "", ("t on the",), "cat mat on", "stop", 3),
        (["▁cat", "▁mat", "▁on", "▁and"], "", (), "cat mat on and", "length", 4),
    ],
)  # fmt: skip
def test_ends_and_characters(
    words: list[str], end: str, stop: tuple[str, ...], expected: str, reason: str, tokens: int, tmp_path: Path
) -> None:
    theirs, ours = open_chain(tmp_path, words, QueueConfig(slots=1))
    request = Request("base", [1, 300], SamplingConfig(max_new_tokens=len(words)), end=end, stop=stop)
    for engine in (ours, theirs):
        text, finished = ask(engine, request)
        assert (text, finished.reason, finished.tokens) == (expected, reason, tokens)
        engine.close()


@pytest.mark.parametrize(("last", "reason"), [("</s>", "stop"), ("▁mat", "length")])
def test_half_a_character_at_the_end_is_left_out(last: str, reason: str, tmp_path: Path) -> None:
    theirs, ours = open_chain(tmp_path, ["▁cat", *_bytes("中")[:2], last], QueueConfig(slots=1))
    ours.close()
    text, finished = ask(theirs, Request("base", [1, 300], SamplingConfig(max_new_tokens=3 + (reason == "stop"))))
    theirs.close()
    assert (text, finished.reason, finished.tokens) == ("cat", reason, 3)
