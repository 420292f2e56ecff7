"""The page in a browser: comparison, conversation, adapters that come later, languages, small and dark windows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from page_driver import Person, Served, answered_alone, write_toy_adapter

from alpaca_lora.data.examples import Turn, read_examples
from alpaca_lora.inference.engine import Answering
from alpaca_lora.inference.page.labels import WORDS
from alpaca_lora.inference.settings import SamplingConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
"""Gradio's own."""

Visit = Callable[..., Person]
QUESTION = "What is the capital of Australia?"
GREEDY = SamplingConfig(temperature=0, top_p=0.75, top_k=40, max_new_tokens=24)


def _greedy(person: Person, tab: str) -> None:
    """Ask in a tab as `GREEDY` does."""
    person.open_tab(tab.capitalize())
    person.open_settings(tab)
    person.set(tab, temperature=0, max_tokens=24)


def test_answers_are_compared_marked_and_voted_on(toy: Served, visit: Visit) -> None:
    person = visit(toy)
    _greedy(person, "compare")
    person.choose("compare-models", "two")
    person.ask("compare", QUESTION)
    person.find("#vote").wait_for()
    names = ["base", "one", "two"]
    assert [(one.model, one.sampling) for one in toy.engine.asked[-3:]] == [(name, GREEDY) for name in names]
    expected = {name: answered_alone(toy, name, QUESTION, GREEDY) for name in names}
    shown = [text.split() for text in person.find("#answers .text").all_inner_texts()]
    assert shown == [expected[name].split() for name in names]
    assert person.find("#answers section").nth(1).locator("mark").count() > 0
    person.find("#save-vote").click()
    person.sees("#compare-status", "Choose an answer first")
    person.find("#vote").get_by_text("two", exact=True).click()
    person.find("#save-vote").click()
    person.sees("#compare-status", "Saved in")
    (row,) = [json.loads(line) for line in toy.votes.read_text(encoding="utf-8").splitlines()]
    assert (row["vote"], row["prompt"], row["seed"], row["answers"]) == ("two", QUESTION, 42, expected)


def test_new_adapters_are_found_and_the_base_is_not_loaded_again(toy: Served, visit: Visit) -> None:
    person, base = visit(toy), toy.models.model.get_base_model()
    write_toy_adapter(toy.folder / "run" / "checkpoint-3", 3)
    person.find("#refresh").click()
    person.wait(lambda: "run/checkpoint-3" in toy.models.names)
    person.choose("instruct-adapter", "run/checkpoint-3")
    person.ask("instruct", QUESTION)
    person.sees("#instruct-status", "prompt")
    assert toy.engine.asked[-1].model == "run/checkpoint-3"
    assert toy.models.model.get_base_model() is base


def _reply(toy: Served, *turns: tuple[str, str], system: str = "") -> str:
    """Give the next answer of a conversation, asked without the page."""
    request = toy.models.request("one", [Turn(asked, "", answer) for asked, answer in turns], GREEDY, system=system)
    return "".join(Answering(toy.engine, request))


def _asked(toy: Served) -> str:
    return toy.models.show(toy.engine.asked[-1])


@contextmanager
def _answered(toy: Served, person: Person) -> Iterator[None]:
    """Hold the model until the page shows that an answer grows, so that the last one's end is not taken for its."""
    asked = len(toy.engine.asked)
    toy.gate.clear()
    try:
        yield
        person.wait(lambda: len(toy.engine.asked) > asked and "prompt" not in person.text("#chat-status"))
    finally:
        toy.gate.set()
    person.sees("#chat-status", "prompt")


def test_a_conversation_is_edited_tried_again_and_kept(toy: Served, visit: Visit, tmp_path: Path) -> None:
    person = visit(toy)
    _greedy(person, "chat")
    person.find("#system textarea").fill("Be brief.")
    first = _reply(toy, (QUESTION, ""), system="Be brief.")
    second = _reply(toy, (QUESTION, first), ("And of Austria?", ""), system="Be brief.")
    for message in (QUESTION, "And of Austria?"):
        with _answered(toy, person):
            person.say(message)
        assert person.find("#message textarea").input_value() == ""
    with person.page.expect_download() as download:
        person.find("#export").click()
    file = tmp_path / "row.json"
    download.value.save_as(file)
    (example,) = read_examples(str(file)).examples
    assert example.system == "Be brief."
    assert example.turns == (Turn(QUESTION, "", first), Turn("And of Austria?", "", second))

    before = len(toy.engine.asked)
    with _answered(toy, person):
        person.page.get_by_label("Retry").last.click()
    assert len(toy.engine.asked) == before + 1
    assert QUESTION in _asked(toy)
    assert _asked(toy).count("And of Austria?") == 1

    person.page.get_by_label("Edit").first.click()
    person.find("#conversation textarea").fill("And of Italy?")
    with _answered(toy, person):
        person.page.get_by_label("Submit").click()
    assert len(toy.engine.asked) == before + 2
    person.wait(lambda: person.find("#conversation .user").count() == 1)
    assert "And of Italy?" in _asked(toy)
    assert "Austria" not in _asked(toy)

    person.page.get_by_label("Undo").last.click()
    person.wait(lambda: person.find("#message textarea").input_value() == "And of Italy?")
    person.find("#export").click()
    person.sees("#chat-status [role=alert]", "There is no answer to save yet")


def test_every_label_changes_its_language(toy: Served, visit: Visit) -> None:
    person = visit(toy)
    for language, other in ((1, 0), (0, 1)):
        person.find("#language").get_by_text(("English", "中文")[language]).click()
        for tab in ("compare", "chat", "instruct"):
            person.page.get_by_role("tab", name=WORDS[tab][language], exact=True).wait_for()
            person.open_tab(WORDS[tab][language])
            person.sees("button:visible", WORDS["stop_button"][language])
            seen = {line.strip() for line in person.find("body").inner_text().splitlines()}
            assert seen & {texts[other] for texts in WORDS.values() if texts[0] != texts[1]} == set()


@pytest.mark.parametrize(("locale", "language"), [("zh-CN", 1), ("zh-TW", 1), ("de-DE", 0)])
def test_the_browsers_own_language_counts(locale: str, language: int, toy: Served, visit: Visit) -> None:
    visit(toy, locale=locale).page.get_by_role("tab", name=WORDS["compare"][language], exact=True).first.wait_for()


def test_a_phone_in_the_dark(toy: Served, visit: Visit) -> None:
    person = visit(toy, "?__theme=dark", viewport={"width": 390, "height": 844})
    for tab in ("Chat", "Compare", "Instruct"):
        person.open_tab(tab)
        assert person.page.evaluate("document.documentElement.scrollWidth") <= 390
    colour = person.page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 64


def test_the_browser_loads_nothing_that_an_answer_names(toy: Served, browser: Any) -> None:
    context = browser.new_context()
    page, failed = context.new_page(), list[str]()
    page.on("requestfailed", lambda request: failed.append(f"{request.url} {request.failure}"))
    page.goto(toy.address)
    page.locator("#instruct-instruction textarea").wait_for()
    blocked = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.blockedURI));
          const picture = new Image();
          picture.onerror = () => setTimeout(done, 500, "asked for");
          picture.src = "http://192.0.2.1/x.png";
          document.body.append(picture);
        })"""
    )
    context.close()
    assert blocked == "http://192.0.2.1/x.png"
    assert failed == ["http://192.0.2.1/x.png csp"]
