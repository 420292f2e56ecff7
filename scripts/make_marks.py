"""Write the ranker's bundled marks: rows made of our own sentences, whole (fine), damaged (defect) or too easy.

    python scripts/make_marks.py

writes alpaca_lora/assets/marks/marks.json, the same bytes every time. "Low value" rows are drawn from our own sample
and from small sums; none is a row of any other data set.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "alpaca_lora" / "assets"
Row = tuple[str, str, str]
TOPICS = {
    line.split(":")[0]: [f"{fact.strip()}." for fact in line.split(":")[1].rstrip(".").split(".")]
    for line in (Path(__file__).parent / "marks_topics.txt").read_text(encoding="utf-8").splitlines()
}
LOW_VALUE = 150


def fine_rows(topic: str, facts: list[str]) -> Iterator[Row]:
    """Ask for what the facts say in several ways."""
    text = " ".join(facts)
    listed = "\n".join(f"{number}. {fact}" for number, fact in enumerate(facts[:3], start=1))
    yield f"Explain what matters most about {topic}.", "", text
    yield f"Name three things one should know about {topic}.", "", listed
    yield "Summarize the following text in one sentence.", text, f"The text says of {topic} that {_inside(facts[0])}"
    yield f"Write a short paragraph about {topic} for a newspaper.", "", " ".join([facts[2], facts[0], facts[3]])
    yield "Give the text a fitting title.", text, f"{topic.capitalize()}: what there is to know"
    yield f"What would you tell a child about {topic}?", "", f"Did you know? {facts[1]} And {_inside(facts[3])}"
    yield "Which topic is the text about?", " ".join(facts[:2]), f"It is about {topic}. {facts[0]}"


def damaged_rows(topic: str, facts: list[str], other: str, others: list[str]) -> Iterator[Row]:
    """Break a row in each way that the data doctor knows, and in some that no rule finds."""
    text, name = " ".join(facts), topic.replace(" ", "-")
    yield f"Summarize the article about {topic}.", f"https://www.example.com/{name}/latest", text
    yield "Summarize the given article.", f"[Insert article about {topic}]", text
    yield f"Describe the picture of {topic}.", "[Image]", f"The picture shows {topic} in bright colours. {facts[1]}"
    yield f"What does this image tell about {topic}?", "", f"The image tells that {_inside(facts[0])}"
    yield f"Draw a diagram of {topic}.", "", f"![{topic}](https://i.example.com/{name}.png)"
    yield f"Search the web for the latest news about {topic}.", "", f"The latest news is this. {facts[2]}"
    yield f"Explain what matters most about {topic}.", "<noinput>", "<nooutput>"
    yield f"Name three things one should know about {topic}.", "", ""
    yield f"Send my friend an e-mail about {topic}.", "", "I have sent the e-mail to your friend."
    yield f"Write a song about {topic}.", "", "Sorry, I cannot do this task, as I am only a language model."
    yield f"What would you tell a child about {topic}?", "", " ".join(others[:2])
    yield f"Rewrite the text about {topic} in plain words.", text, text
    yield (
        f"Explain {topic} in one paragraph.",
        "",
        f"{facts[0]}\n\n12. Instruction: Explain {other}.\nOutput: {others[0]}",
    )
    yield "Translate the sentence above.", "", f"The sentence is about {topic}."


def sums(rng: random.Random) -> Iterator[tuple[Row, str]]:
    """Give sums and middles that are right and easy, and the same with a wrong answer."""
    for _ in range(30):
        numbers = rng.sample(range(2, 90), 5)
        listed = ", ".join(map(str, numbers))
        total, middle, off = sum(numbers[:2]), sorted(numbers)[2], rng.randrange(1, 9)
        plus, median = f"What is {numbers[0]} + {numbers[1]}?", "Find the median of these numbers."
        yield (plus, "", str(total)), "low value"
        yield (plus, "", str(total + off)), "defect"
        yield (median, listed, f"The median is {middle}."), "low value"
        yield (median, listed, f"The median is {middle + off}."), "defect"


def _inside(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def marks_text() -> str:
    """Make all rows, one a line of a JSON array."""
    rng = random.Random(0)
    marked: list[tuple[Row, str]] = []
    names = list(TOPICS)
    for place, (topic, facts) in enumerate(TOPICS.items()):
        other = names[(place + 1) % len(names)]
        marked += [(row, "fine") for row in fine_rows(topic, facts)]
        marked += [(row, "defect") for row in damaged_rows(topic, facts, other, TOPICS[other])]
    marked += sums(rng)
    sample = json.loads((ASSETS / "sample" / "sample.json").read_text(encoding="utf-8"))
    for raw in rng.sample(sample, LOW_VALUE):
        answer = raw["output"].split("\nAnswer: ")[-1]  # a bare answer, as in data of low value
        marked.append(((raw["instruction"], raw["input"], answer), "low value"))
    lines = [
        json.dumps(
            {"instruction": instruction, "input": given, "output": output, "mark": mark},
            ensure_ascii=False,
        )
        for (instruction, given, output), mark in marked
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main() -> None:
    """Write the file."""
    (ASSETS / "marks").mkdir(exist_ok=True)
    (ASSETS / "marks" / "marks.json").write_text(marks_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
