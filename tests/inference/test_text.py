"""Stop strings in a stream: against cutting the whole text, however it is divided."""

from __future__ import annotations

import random

import pytest

from alpaca_lora.inference.text import StopStrings


def _through(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    strings = StopStrings(stops)
    given = [strings.add(piece) for piece in pieces]
    return [*given, strings.end()], strings.found


@pytest.mark.parametrize(
    ("pieces", "stops", "expected"),
    [
        (["one ", "two"], [], "one two"),
        (["one END two"], ["END"], "one "),
        (["one E", "N", "D two"], ["END"], "one "),
        (["one E", "N", "x two"], ["END"], "one ENx two"),
        (["aab"], ["ab"], "a"),
        (["a", "a", "b"], ["aab"], ""),
        (["a", "a", "a", "b"], ["aab"], "a"),
        (["x\n", "\n", "y"], ["\n\n"], "x"),
        (["one two three"], ["three", "two"], "one "),
        (["one E"], ["END"], "one E"),
        (["no"], [""], "no"),
    ],
)
def test_nothing_from_the_first_stop_string_on(pieces: list[str], stops: list[str], expected: str) -> None:
    given, found = _through(pieces, stops)
    assert "".join(given) == expected
    assert found == any(stop and stop in "".join(pieces) for stop in stops)


@pytest.mark.parametrize("seed", range(200))
def test_any_division_gives_the_same_text(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choices("abc", k=30))
    stops = ["".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in range(draw.randint(1, 3))]
    cuts = sorted(draw.sample(range(31), 6))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, 30], strict=True)]
    given, found = _through(pieces, stops)
    places = [text.find(stop) for stop in stops if stop in text]
    # divided, the stop that is complete first ends it, though another may begin before it
    complete = {text.find(stop) for stop in stops if stop in text}
    assert found == bool(places)
    assert "".join(given) == text or len("".join(given)) in complete
    if len(stops) == 1 or not places:
        assert "".join(given) == (text[: min(places)] if places else text)


def test_text_is_given_out_as_soon_as_it_is_certain() -> None:
    strings = StopStrings(["END", "no"])
    assert [strings.add(piece) for piece in ("a", "n", "i", "E", "N", "n", "o", "more")] == [
        "a", "", "ni", "", "", "EN", "", "",
    ]  # fmt: skip
    assert strings.found
