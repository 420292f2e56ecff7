"""OpenAI's own client against the server, with each engine: what it sends is understood, what it reads is there."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

QUESTION = "What is the capital of Australia?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
TOKENS = 16


@pytest.fixture(scope="module")
def client(server: Any) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sesame", max_retries=0) as client:
        yield client


def _chat(client: openai.OpenAI, model: str = "first", **more: Any) -> Any:
    settings: dict[str, Any] = {"messages": MESSAGES, "max_tokens": TOKENS, "temperature": 0} | more
    return client.chat.completions.create(model=model, **settings)


def _text(client: openai.OpenAI, model: str = "first", **more: Any) -> str:
    return _chat(client, model, **more).choices[0].message.content


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base", "first", "second"]
    shown = client.models.retrieve("second")
    assert (shown.id, shown.object, shown.owned_by) == ("second", "model", "alpaca-lora")
    with pytest.raises(openai.NotFoundError, match="no model 'third'"):
        client.models.retrieve("third")


def test_an_answer_holds_all_that_clients_read(client: openai.OpenAI, server: Any) -> None:
    answer = _chat(client)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "first")
    assert answer.system_fingerprint.startswith("fp_")
    (choice,) = answer.choices
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "length")
    usage = answer.usage
    assert (usage.completion_tokens, usage.total_tokens) == (TOKENS, usage.prompt_tokens + TOKENS)
    text = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        f"### Instruction:\n{QUESTION}\n\n### Response:\n"
    )
    assert usage.prompt_tokens == len(server.prompts.tokenizer(text).input_ids)


def test_a_stream_is_the_plain_answer_in_pieces(client: openai.OpenAI) -> None:
    plain = _chat(client)
    chunks = list(_chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content for chunk in chunks[1:-2]]
    assert len(pieces) > 3
    assert all(pieces)
    assert "".join(pieces) == plain.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_prompts_head_is_reused(client: openai.OpenAI) -> None:
    _chat(client)
    usage = _chat(client, messages=[{"role": "user", "content": "Name three colours."}]).usage
    assert 30 <= usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens


def test_a_completion_goes_on_with_the_text_itself(client: openai.OpenAI, server: Any) -> None:
    prompt = "### Response:\nThe capital of"
    whole = client.completions.create(model="first", prompt=prompt, max_tokens=TOKENS, temperature=0)
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "length")
    assert not whole.choices[0].text.startswith("###")
    assert whole.usage.prompt_tokens == len(server.prompts.tokenizer(prompt).input_ids)
    chunks = client.completions.create(model="first", prompt=[prompt], max_tokens=TOKENS, temperature=0, stream=True)
    pieces = [chunk.choices[0] for chunk in chunks]
    assert "".join(piece.text for piece in pieces) == whole.choices[0].text
    assert pieces[-1].finish_reason == "length"


def test_the_model_chooses_the_adapter(client: openai.OpenAI) -> None:
    answers = [_text(client, name) for name in ("base", "first", "second", "base", "first", "second")]
    assert len(set(answers)) == 3
    assert answers[:3] == answers[3:]


def test_a_stop_string_ends_the_answer_before_it(client: openai.OpenAI) -> None:
    whole = _text(client)
    stop = whole[len(whole) // 2 :][:3]
    answer = _chat(client, stop=[stop, "never in there"]).choices[0]
    assert answer.message.content == whole[: whole.index(stop)]
    assert answer.finish_reason == "stop"
    assert _text(client, stop=stop) == answer.message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in _chat(client, stop=stop, stream=True)) == (
        answer.message.content
    )


def test_a_seed_is_honoured_and_drawn_where_there_is_none(client: openai.OpenAI) -> None:
    warm = {"temperature": 2, "messages": MESSAGES}
    assert _text(client, seed=7, **warm) == _text(client, seed=7, **warm)
    assert _text(client, seed=-7, **warm) != _text(client, seed=7, **warm)
    assert len({_text(client, **warm) for _ in range(3)}) == 3


def test_without_a_temperature_answers_are_drawn(client: openai.OpenAI) -> None:
    answers = {
        client.chat.completions.create(model="first", messages=MESSAGES, max_tokens=TOKENS).choices[0].message.content
        for _ in range(4)
    }
    assert len(answers) > 1
    likeliest: list[Any] = [
        {"extra_body": {"top_k": 1}},
        {"top_p": 5e-324},
        {"temperature": 5e-324},
        {"temperature": 0},
    ]
    assert len({_text(client, **({"temperature": 2} | settings)) for settings in likeliest}) == 1


def test_the_answers_end_is_no_text(client: openai.OpenAI, server: Any) -> None:
    text = _text(client, "base", max_tokens=200)
    assert "</s>" not in text
    assert "### Instruction" not in text.partition("\n")[0]


def test_a_wrong_key_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sesam").models.list()
    assert refused.value.code == "invalid_api_key"


def test_an_unknown_model_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        _chat(client, "gpt-4")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_a_prompt_longer_than_the_context_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"the prompt has \d+ tokens") as refused:
        _chat(client, messages=[{"role": "user", "content": "word " * 3000}])
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


def test_what_was_done_is_counted(client: openai.OpenAI, server: Any) -> None:
    before = _counted(client, server)
    usage = _chat(client).usage
    after = _counted(client, server)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["alpaca_lora_requests_total/v1/chat/completions200"] == 1
    assert grown["alpaca_lora_answers_totallength"] == 1
    assert grown["alpaca_lora_answer_tokens_total"] == TOKENS
    assert grown["alpaca_lora_prompt_tokens_total"] == usage.prompt_tokens
    assert grown["alpaca_lora_reused_prompt_tokens_total"] == usage.prompt_tokens_details.cached_tokens
    assert grown["alpaca_lora_first_token_seconds_count"] == grown["alpaca_lora_answer_seconds_count"] == 1
    assert 0 < grown["alpaca_lora_first_token_seconds_sum"] < grown["alpaca_lora_answer_seconds_sum"]
    end = time.monotonic() + 30  # the answer is out before its place is free
    while after["alpaca_lora_active_requests"] or after["alpaca_lora_waiting_requests"]:
        assert time.monotonic() < end
        after = _counted(client, server)


def _counted(client: openai.OpenAI, server: Any) -> dict[str, float]:
    text = client.with_options(base_url=server.url).get("/metrics", cast_to=str)
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
