"""The page in a browser: asking, growing answers, stops, several people."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from page_driver import Person, Served, answered_alone

from alpaca_lora.inference.page.examples import ORIGINAL
from alpaca_lora.inference.settings import SamplingConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
"""Gradio's own."""

Visit = Callable[..., Person]
PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:\n"
)
QUESTION = "What is the capital of Australia?"
FOREVER = 2000


def test_an_answer_is_the_models_and_its_prompt_the_templates(toy: Served, visit: Visit) -> None:
    person = visit(toy)
    person.choose("instruct-adapter", "base, without adapter")
    person.ask("instruct", QUESTION)
    person.sees("#instruct-status", "prompt")
    sampling = SamplingConfig(temperature=0.1, top_p=0.75, top_k=40, num_beams=4, max_new_tokens=128)
    assert toy.engine.asked[-1].sampling == sampling
    expected = answered_alone(toy, "base", QUESTION, sampling)
    assert expected.strip()
    assert person.answer.split() == expected.split()
    count = len(toy.models.tokenizer(expected, add_special_tokens=False)["input_ids"])
    shown = re.search(r"(\d+) tokens · prompt (\d+) \((\d+) reused\)", person.text("#instruct-status"))
    assert shown
    assert (int(shown[1]), int(shown[2])) == (count, len(toy.engine.asked[-1].ids))
    person.find("button", "The exact prompt sent").click()
    assert person.find("#sent textarea").input_value() == "<s> " + PROMPT.format(QUESTION)


def test_every_control_reaches_the_model(toy: Served, visit: Visit) -> None:
    person = visit(toy)
    person.set("instruct", temperature=0.5, top_p=0, top_k=7, beams=1, max_tokens=5, seed=9)
    person.find("#instruct-input textarea").fill("Austria")
    person.choose("instruct-adapter", "two")
    person.ask("instruct", "Name the capital.")
    person.sees("#instruct-status", "prompt")
    asked = toy.engine.asked[-1]
    chosen = SamplingConfig(temperature=0.5, top_p=1e-6, top_k=7, num_beams=1, max_new_tokens=5, seed=9)
    assert (asked.model, asked.sampling) == ("two", chosen)
    assert "### Input:\nAustria" in toy.models.show(asked)
    person.find("#instruct-settings").get_by_label("Seed").fill("-1")
    person.ask("instruct", "Name the capital.")
    person.sees("#instruct-status [role=alert]", "The seed must be")


def test_an_example_fills_the_form(toy: Served, visit: Visit) -> None:
    person = visit(toy)
    instruction, context = person.find("#instruct-instruction textarea"), person.find("#instruct-input textarea")
    context.fill("from before")
    person.find(".examples button:visible", ORIGINAL[0]).click()
    person.wait(lambda: instruction.input_value() == ORIGINAL[0])
    assert context.input_value() == ""
    assert person.find(".examples button:visible").count() == len(ORIGINAL) + 2


def test_text_grows_and_the_stop_button_stops_it(endless: Served, visit: Visit) -> None:
    person = visit(endless)
    person.set("instruct", beams=1, max_tokens=FOREVER)
    person.ask("instruct", "now")
    seen = [""]
    while len(seen) < 5:
        person.page.wait_for_timeout(50)
        if (text := person.answer) != seen[-1]:
            seen.append(text)
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    assert seen[-1].startswith("cat mat cat")
    person.find("#instruct-stop").click()
    person.sees("#instruct-status", "stopped")
    assert endless.engine.active == 0
    assert int(person.text("#instruct-status").split("·")[1].split()[0]) < FOREVER


def test_without_stream_and_with_beams_the_text_comes_at_the_end(endless: Served, visit: Visit) -> None:
    for beams, sign in ((4, "beam search"), (1, "tokens/s")):
        person = visit(endless)
        person.set("instruct", max_tokens=60, beams=beams)
        if beams == 1:
            person.find("#instruct-settings").get_by_label("Stream the answer").uncheck()
        person.ask("instruct", "now")
        person.sees("#instruct-status", sign)
        assert person.answer == ""
        person.sees("#instruct-status", "cut at the limit")
        assert person.answer.split() == ["cat", "mat"] * 30


def test_enter_sends_shift_enter_does_not_and_escape_stops(endless: Served, visit: Visit) -> None:
    person = visit(endless)
    person.set("instruct", beams=1, max_tokens=FOREVER)
    before = len(endless.engine.asked)
    box = person.find("#instruct-instruction textarea")
    box.fill("what")
    person.page.keyboard.press("Shift+Enter")
    person.page.keyboard.type("now")
    assert box.input_value() == "what\nnow"
    assert len(endless.engine.asked) == before
    person.page.keyboard.press("Enter")
    person.wait(lambda: endless.engine.active == 1)
    person.page.keyboard.press("Escape")
    person.sees("#instruct-status", "stopped")
    assert endless.engine.active == 0


def test_one_persons_stop_leaves_anothers_answer_whole_and_the_queue_is_shown(endless: Served, visit: Visit) -> None:
    first, second, third, fourth = (visit(endless), visit(endless, locale="en-GB"), visit(endless), visit(endless))
    for person, tokens in ((first, FOREVER), (second, 100), (third, 20), (fourth, 20)):
        person.set("instruct", beams=1, max_tokens=tokens)
    for person, active in ((first, 1), (second, 2)):
        person.ask("instruct", "now")
        person.wait(lambda active=active: endless.engine.active == active)
    endless.gate.clear()
    try:
        third.ask("instruct", "now")
        third.sees("#instruct-status", "1 before you")
        second.sees("#instruct-status", "1 waiting")
        fourth.ask("instruct", "kept")
        fourth.sees("#instruct-status [role=alert]", "Too many people")
        assert fourth.find("#instruct-instruction textarea").input_value() == "kept"
        first.find("#instruct-stop").click()
    finally:
        endless.gate.set()
    first.sees("#instruct-status", "stopped")
    for person, tokens in ((third, 20), (second, 100)):
        person.sees("#instruct-status", "cut at the limit")
        assert person.answer.split() == ["cat", "mat"] * (tokens // 2)


def test_a_closed_page_frees_its_slot(endless: Served, visit: Visit) -> None:
    staying, leaving = visit(endless), visit(endless)
    leaving.set("instruct", beams=1, max_tokens=FOREVER)
    leaving.ask("instruct", "now")
    leaving.wait(lambda: endless.engine.active == 1)
    leaving.page.close()
    staying.wait(lambda: endless.engine.active == 0)
    assert endless.engine.tickets[-1].tokens < FOREVER


def test_an_error_is_shown_and_logged_and_the_next_answer_comes(
    toy: Served, visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("<b>out of luck</b>")

    person = visit(toy)
    hook = toy.models.model.register_forward_pre_hook(fail)
    try:
        with caplog.at_level(logging.ERROR):
            person.ask("instruct", QUESTION)
            person.sees("#instruct-status [role=alert]", "RuntimeError: <b>out of luck</b>")
    finally:
        hook.remove()
    assert "an answer ended with an error" in caplog.text
    assert "out of luck" in caplog.text
    person.ask("instruct", QUESTION)
    person.sees("#instruct-status", "prompt")


@pytest.mark.parametrize("already", [False, True])
def test_a_new_conversation_is_empty_whatever_was_growing(already: bool, endless: Served, visit: Visit) -> None:
    person = visit(endless)
    person.open_tab("Chat")
    person.open_settings("chat")
    person.set("chat", max_tokens=FOREVER)
    person.say("the first question")
    if already:
        person.wait(lambda: "cat mat" in person.find("#conversation").inner_text())
    person.find("#clear").click()
    person.wait(lambda: endless.engine.active == 0 and endless.engine.waiting == 0)
    person.find("body").evaluate("() => new Promise(done => setTimeout(done, 1000))")  # for what might still come
    person.wait(lambda: "first question" not in person.find("#conversation").inner_text())
    person.wait(lambda: endless.engine.active == 0)
    person.say("the second question")
    person.wait(lambda: "cat mat" in person.find("#conversation").inner_text())
    assert "first question" not in person.find("#conversation").inner_text()
    person.find("#chat-stop").click()
    person.sees("#chat-status", "stopped")
