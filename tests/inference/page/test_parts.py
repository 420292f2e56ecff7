"""What the page is made of, without a browser: marks, votes, labels, training rows, who stops what."""

from __future__ import annotations

import json
import math
import re
import string
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from alpaca_lora.data.examples import Turn, read_examples
from alpaca_lora.inference.engine import Event, Finished, Request, Ticket
from alpaca_lora.inference.page import growing, labels
from alpaca_lora.inference.page.chat import exported
from alpaca_lora.inference.page.compare import marked_answers
from alpaca_lora.inference.page.controls import answer_markdown
from alpaca_lora.inference.page.growing import Asked, Click, Growing, grow
from alpaca_lora.inference.page.labels import WORDS, say
from alpaca_lora.inference.page.votes import Comparison, save_vote
from alpaca_lora.inference.settings import SamplingConfig

PACKAGE = Path(labels.__file__).parent


@pytest.mark.parametrize(
    ("answers", "marked"),
    [
        ([], []),
        (["the <b>cat</b>"], ["the &lt;b&gt;cat&lt;/b&gt;"]),
        (["the cat", "the dog"], ["the <mark>cat</mark>", "the <mark>dog</mark>"]),
        (["the cat", "the cat", "a cat"], ["the cat", "the cat", "<mark>a</mark> cat"]),
        (["so", "so <mark>"], ["so", "so <mark>&lt;mark&gt;</mark>"]),
    ],
)
def test_differences_are_marked_and_nothing_of_an_answer_is_markup(answers: list[str], marked: list[str]) -> None:
    assert marked_answers(answers) == marked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a < b and <b>c</b>", "a < b and &lt;b>c&lt;/b>"),
        ("```html\n<b>\n```\n<i>", "```html\n<b>\n```\n&lt;i>"),
        ("use `<br>` or <br>", "use `<br>` or &lt;br>"),
        ("```\n<b>", "```\n<b>"),
        ("<!-- no -->", "&lt;!-- no -->"),
    ],
)
def test_tags_outside_code_are_shown(text: str, shown: str) -> None:
    assert answer_markdown(text) == shown


def test_a_vote_is_one_more_line_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "votes.jsonl"
    answers = {"base": "a\nb", "one": "猫"}
    for vote in ("one", "="):
        save_vote(path, Comparison("Say 猫.", "now", SamplingConfig(seed=7, top_k=3), answers), vote)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row.pop("vote") for row in rows] == ["one", "="]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row.pop("time")) for row in rows)
    sampling = {"temperature": 0.0, "top_p": 1.0, "top_k": 3, "num_beams": 1, "max_new_tokens": 256}
    expected = {"prompt": "Say 猫.", "input": "now", "seed": 7, "sampling": sampling, "answers": answers}
    assert rows == [expected, expected]


def test_a_conversation_is_read_back_as_the_same_turns(tmp_path: Path) -> None:
    turns = [("  Say 猫.\n", " 猫 "), ("Again?", "No.\n\n```\ncode\n```")]
    path = tmp_path / "conversation.json"
    for system in ("", "Be brief."):
        path.write_text(exported([*turns, ("unanswered", "")], system), encoding="utf-8")
        found = read_examples(str(path))
        assert found.shape == "messages"
        assert [(one.system, one.turns) for one in found.examples] == [
            (system, tuple(Turn(question, "", answer) for question, answer in turns))
        ]
    assert exported([("unanswered", "")], "Be brief.") == ""


def _fields(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_every_label_is_there_in_both_languages_and_used() -> None:
    for key, (english, chinese) in WORDS.items():
        assert english.isascii(), key
        assert re.search(r"[\u4e00-\u9fff]", chinese) or key in ("top_p", "top_k"), key
        assert _fields(english) == _fields(chinese), key
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.glob("*.py") if path.stem != "labels")
    used = set(re.findall(r"""["'](\w+)["']""", source)) | {"stop", "length", "cancelled"}
    assert [key for key in WORDS if key.removesuffix("_info") not in used] == []
    assert say("zh", "before", count=3) == WORDS["before"][1].replace("{count}", "3")


class Script:
    """An engine that answers each request with the next of some events, until it is cancelled."""

    waiting = active = 0
    names = ("base",)

    def __init__(self, *answers: list[Event]) -> None:
        self.answers = list(answers)
        self.tickets: list[Ticket] = []

    def ask(self, request: Request, deliver: Any) -> Ticket:
        if not self.answers:
            raise RuntimeError("no more")
        for event in self.answers.pop(0):
            deliver(event)
        self.tickets.append(Ticket(request, deliver))
        return self.tickets[-1]

    def close(self) -> None: ...


DONE = Finished("stop", 3, 0, 2, 0.0, 0.1, 0.2)
REQUEST = Request("base", [1, 2, 3], SamplingConfig())


def test_answers_are_shown_until_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "INTERVAL_SECONDS", 0)
    engine = Script(["a", "b", DONE], ["c"])
    views = grow(engine, [REQUEST, REQUEST], Asked(), Click("me", "compare"))  # pyright: ignore[reportArgumentType]
    assert [one.text for one in next(views)] == ["ab", "c"]
    engine.tickets[1].deliver("d")
    assert [one.text for one in next(views)] == ["ab", "cd"]
    engine.tickets[1].deliver(ValueError("worn out"))
    last = next(views)
    assert [one.error for one in last] == ["", "ValueError: worn out"]
    assert [one.finished for one in last] == [DONE, None]
    assert list(views) == []


def test_answers_that_nobody_looks_at_any_more_are_cancelled() -> None:
    engine = Script(["a"], ["b"])
    views = grow(engine, [REQUEST, REQUEST], Asked(), Click("me", "compare"))  # pyright: ignore[reportArgumentType]
    next(views)
    assert [ticket.cancelled for ticket in engine.tickets] == [False, False]
    views.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert [ticket.cancelled for ticket in engine.tickets] == [True, True]
    engine = Script(["a"])
    with pytest.raises(RuntimeError):
        next(grow(engine, [REQUEST, REQUEST], Asked(), Click("me", "compare")))  # pyright: ignore[reportArgumentType]
    assert engine.tickets[0].cancelled


def _asked(asked: Asked, session: str, tab: str, at: float = math.inf) -> Click:
    click = Click(session, tab, at, [Growing(Script(["a"]), REQUEST).ticket])  # pyright: ignore[reportArgumentType]
    asked.put(click)
    return click


def _cancelled(*clicks: Click) -> list[bool]:
    return [ticket.cancelled for click in clicks for ticket in click.tickets]


def test_a_stop_reaches_one_tab_of_one_page_and_a_departure_all_tabs() -> None:
    asked = Asked()
    mine, yours = _asked(asked, "me", "chat"), _asked(asked, "you", "chat")
    other = _asked(asked, "me", "compare")
    asked.stop("me", "chat")
    assert _cancelled(mine, yours, other) == [True, False, False]
    newer = _asked(asked, "you", "chat")
    assert _cancelled(yours, newer) == [True, False]
    asked.leave("me")
    assert _cancelled(other, newer) == [True, False]


def test_what_arrives_after_its_page_was_closed_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    asked.leave("me")
    assert _cancelled(_asked(asked, "me", "chat"), _asked(asked, "you", "chat")) == [True, False]
    monkeypatch.setattr(growing, "LATE_SECONDS", 0.0)  # a page that only lost its connection for a while
    back = _asked(asked, "me", "chat", at=1)
    assert _cancelled(back) == [False]
    assert asked.withdraw("me", "chat", 2, "nothing") == asked.instead(back) == "nothing"


def test_what_was_withdrawn_stays_away_whatever_arrives_first() -> None:
    asked = Asked()
    first, second = _asked(asked, "me", "chat", at=1), _asked(asked, "me", "chat", at=2)
    assert [asked.instead(one) for one in (first, second)] == [None, None]
    assert asked.withdraw("me", "chat", 4, "nothing") == "nothing"
    assert _cancelled(first, second) == [True, True]
    late = _asked(asked, "me", "chat", at=3)
    assert _cancelled(late) == [True]
    assert [asked.instead(one) for one in (first, second, late)] == ["nothing"] * 3
    after = [
        _asked(asked, "me", "chat", at=5),
        _asked(asked, "me", "compare", at=3),
        _asked(asked, "you", "chat", at=3),
    ]
    assert asked.withdraw("me", "chat", 3, "something") == "nothing"
    assert [asked.instead(one) for one in (late, *after)] == ["nothing", None, None, None]
    assert _cancelled(*after) == [False] * 3


def test_a_page_that_was_closed_is_forgotten() -> None:
    asked = Asked()
    _asked(asked, "me", "chat", at=1)
    asked.withdraw("me", "chat", 2, "nothing")
    asked.leave("me")
    for happens in (
        lambda: None,
        lambda: asked.withdraw("me", "chat", 3, ""),
        lambda: _asked(asked, "me", "chat", at=1),
    ):
        happens()
        assert [list(kept) for kept in vars(asked).values() if isinstance(kept, dict)] == [[], [], ["me"]]


def test_nothing_is_shown_of_what_was_withdrawn() -> None:
    engine, asked, click = Script(["a"], ["b"]), Asked(), Click("me", "chat", 1)
    views = grow(engine, [REQUEST], asked, click)  # pyright: ignore[reportArgumentType]
    assert [one.text for one in next(views)] == ["a"]
    asked.withdraw("me", "chat", 2, "nothing")
    assert next(views, None) is None
    late = Click("me", "chat", 1)
    assert next(grow(engine, [REQUEST], asked, late), None) is None  # pyright: ignore[reportArgumentType]
    assert _cancelled(click, late) == [True, True]
