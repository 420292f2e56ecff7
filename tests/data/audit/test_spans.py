"""Places of rows and texts in a file: edits are checked against what json reads, and can be taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_lora.data.audit.spans import Edit, apply, row_spans, take_back, text_span

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "a": _TEXTS,
            "m": st.lists(
                st.fixed_dictionaries({"c": _TEXTS, "n": st.none() | st.floats(allow_nan=False)}), min_size=1
            ),
        }
    ),
    min_size=1,
    max_size=4,
)


@given(rows=_ROWS, indent=st.sampled_from([None, 0, 3]), escape=st.booleans(), in_lines=st.booleans(), data=st.data())
def test_edits_change_one_text_and_can_be_taken_back(
    rows: list[Any], indent: int | None, escape: bool, in_lines: bool, data: st.DataObject
) -> None:
    """What json reads is the reference: the edited file read by it equals the rows edited as values."""
    text = (
        "\n".join(json.dumps(row, ensure_ascii=escape) for row in rows)
        if in_lines
        else json.dumps(rows, indent=indent, ensure_ascii=escape)
    )
    spans = row_spans(text, len(rows))
    assert [json.loads(text[span.start : span.end]) for span in spans.rows] == rows
    edits: list[Edit] = []
    for row in data.draw(st.sets(st.sampled_from(range(len(rows))))):
        path = data.draw(st.sampled_from(["a", *(f"m.{place}.c" for place in range(len(rows[row]["m"])))]))
        new = data.draw(_TEXTS)
        span = text_span(text, spans.rows[row].start, path)
        holder = rows[row] if path == "a" else rows[row]["m"][int(path.split(".")[1])]
        assert json.loads(text[span.start : span.end]) == holder[path[-1]]
        holder[path[-1]] = new
        edits.append(Edit(span, json.dumps(new, ensure_ascii=escape)))
    content, undo = apply(text, edits)
    after = content.decode()
    assert ([json.loads(line) for line in after.split("\n")] if in_lines else json.loads(after)) == rows
    assert take_back(content, undo) == text.encode()


@pytest.mark.parametrize("path", ["b", "a.0", "m.1.c", "m.0", "m.0.n"])
def test_a_path_that_leads_to_no_text_is_an_error(path: str) -> None:
    with pytest.raises(KeyError):
        text_span('{"a": "x", "m": [{"c": "y", "n": 1}]}', 0, path)
