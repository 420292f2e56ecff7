"""Each rule on rows written for it: what it must find, what it must leave alone, and how it mends."""

from __future__ import annotations

import pytest

from alpaca_lora.data.audit.catalogue import BUILTIN
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Fix, Hit

RULES = {rule.id: rule for rule in BUILTIN}


def hits(rule: str, instruction: str = "Name a river.", given: str = "", output: str = "The Elbe.") -> list[Hit]:
    find = RULES[rule].find
    assert find
    return list(find(TurnView(instruction, given, output, {})))


def mended(rule: str, **texts: str) -> str:
    """The new text of the one fix."""
    (hit,) = hits(rule, **texts)
    assert hit.fix
    assert hit.fix.action == "set"
    return hit.fix.value


@pytest.mark.parametrize(
    "text",
    ["No input", "<noinput>", "N/A", "none", "NoInput", '"<noinput>"', "\\<noinput\\>", "(no input)", "NA", "<noput>"],
)
def test_spellings_of_no_input_are_blanked(text: str) -> None:
    assert mended("no-input", given=text) == ""


@pytest.mark.parametrize(
    "text", ["", "Na", "no one came", "N = 12", "nonetheless", "Not all who wander are lost", "+", "noput"]
)
def test_real_inputs_are_left_alone(text: str) -> None:
    assert hits("no-input", given=text) == []
    assert hits("marker-in-input", given=text) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The cat <noinput> the wall", "The cat ___ the wall"),
        ("[1, 2, <noinput>]", "[1, 2, ___]"),
        ("Ann Miller \n<noinput>", "Ann Miller"),
        ("A long poem\n\nNoinput", "A long poem"),
        ("<noinput> 8", ""),
        ("The <noinput>", ""),
    ],
)
def test_a_marker_within_a_line_is_a_gap_and_else_is_cut(text: str, left: str) -> None:
    assert mended("marker-in-input", given=text) == left


def test_a_marker_that_is_spoken_of_stays() -> None:
    assert hits("marker-in-input", given='Where there is none, we put "<noinput>" in the field.') == []


def test_merged_tasks_are_cut_and_recovered() -> None:
    output = (
        "Rivers flow.\n##\n7. Instruction: Add the numbers.\n7. Input:\n3 and 4\n7. Output:\n7\n##\n"
        "8. Instruction:Say yes.\n8. Input: <noinput>\n8. Output:\nYes\n"
    )
    (hit,) = hits("merged-instructions", output=output)
    rows = (
        {"instruction": "Add the numbers.", "input": "3 and 4", "output": "7"},
        {"instruction": "Say yes.", "input": "", "output": "Yes"},
    )
    assert hit.fix == Fix("set", "Rivers flow.", rows)
    template = "Rivers flow.\n\n### Instruction:\nSay no.\n\n### Response:\nNo."
    (hit,) = hits("merged-instructions", output=template)
    assert hit.fix == Fix("set", "Rivers flow.", ({"instruction": "Say no.", "input": "", "output": "No."},))


def test_a_merged_task_whose_answer_has_no_number_is_recovered() -> None:
    (hit,) = hits("merged-instructions", output="Rex.\n\n12. Instruction: Name a cat.\nOutput: Tom")
    assert hit.fix == Fix("set", "Rex.", ({"instruction": "Name a cat.", "input": "", "output": "Tom"},))


def test_a_task_that_was_asked_for_is_not_merged() -> None:
    assert (
        hits("merged-instructions", "Make a task.", output="Instruction: Name a dog.\nInput: none\nOutput: Rex") == []
    )


@pytest.mark.parametrize("text", ["<nooutput>", "No output", "N/A", "<noinput>", "N/A (a model cannot draw)"])
def test_null_outputs_are_dropped(text: str) -> None:
    (hit,) = hits("null-output", output=text)
    assert hit.fix == Fix("drop")


def test_an_answer_after_a_null_marker_is_kept() -> None:
    assert mended("null-output", output='<noinput>\nOutput:\nI will "remember".') == 'I will "remember".'
    assert hits("null-output", "Which kind of input is it?", output="No input is needed here.") == []
    assert hits("null-output", "Write an input for the task.", output="<noinput>") == []


FOUND = [
    ("empty-output", "Name a river.", "", " \n"),
    ("unseen-page", "Summarize the article.", "https://example.org/2020/a-b", "It says much."),
    ("unseen-page", "Describe this page: https://example.org/x", "", "It is nice."),
    ("placeholder-input", "Read it.", "[Insert article]", "It is long."),
    ("placeholder-input", "Name the song.", "<link to a song>", "Yesterday"),
    ("described-input", "Sum up the main points.", "The article is about bees.", "Bees fly far and live in hives."),
    ("described-input", "Transcribe the recording.", "Recording about bees", "Bees live in hives, says the voice."),
    ("described-input", "Rate this essay.", "The essay", "It gets nine points of ten."),
    (
        "described-input",
        "Sum up the findings: summarize it.",
        'Article title: "Bees at Night"',
        "Bees fly by night too.",
    ),
    ("described-input", "Rate the article from 1 to 5.", "This article is about bees.", "5"),
    ("described-input", "Find the mean of the ages.", "A data set about the ages of ten dogs", "The mean is 7."),
    ("described-input", "Tell the theme of the story.", "The story is about a dog that comes home.", "Home."),
    ("missing-media", "Describe this painting.", "", "A wood in the fog."),
    ("missing-media", "What is shown in the following chart?", "[image]", "Growth."),
    ("missing-input", "Find the verb in the following sentence.", "", "run"),
    ("missing-input", "Summarize the article on bees.", "", "Bees fly far."),
    ("missing-input", "Describe the setting of the story.", "", "A wood by a lake."),
    ("fake-media", "Arrange the pieces.", "", "[Jigsaw puzzle arranged]"),
    ("fake-media", "Draw a cat.", "", "![cat](https://i.imgur.com/abc.png)"),
    ("fake-media", "Draw a cat.", "", "[Insert drawing of a cat]"),
    ("described-product", "Create a web page for a zoo.", "", "The web page should show the animals."),
    ("described-product", "Design a logo for a zoo.", "", "A round logo featuring a lion."),
    ("described-product", "Build an app that counts steps.", "", "I would build an app that is easy to use."),
    ("described-product", "Can you design a logo for a zoo?", "", "A logo with a lion."),
    ("described-product", "Given some ages, create a visual representation.", "3, 4", "A bar graph showing the ages."),
    ("described-product", "Design a webpage for a zoo.", "", "The site should first show a map."),
    ("described-product", "Design a poster about bees.", "", "Design a poster featuring bees in bright colors."),
    ("described-product", "Design a page for a zoo.", "", "A page with a map."),
    ("described-product", "Come up with a logo for a zoo.", "", "I suggest a lion."),
    ("described-product", "Design a page for a zoo.", "", "I designed a page with a map."),
    ("invented-price", "Price this item.", "A wooden boat", "The wooden boat costs $12.50."),
    ("live-web", "Gather some recent data on rents.", "", "They rise."),
    ("live-web", "What is the weather in Bonn today?", "", "Sunny."),
    ("live-web", "Search the web for cake recipes.", "", "Here they are."),
    ("live-web", "Predict the weather in Bonn tomorrow.", "", "Rain."),
    ("live-web", "Convert this to US dollars.", "30 euros", "33.60 dollars"),
    ("live-web", "Recommend the best sushi restaurants in Bonn.", "", "Go to Sakura."),
    ("pretended-action", "Sketch the layout.", "", "Sketched the layout in pencil."),
    ("pretended-action", "Please block this page.", "page.example", "The page has been blocked."),
    ("pretended-action", "Book a table.", "", "I have booked a table for two."),
    ("pretended-action", "Train a classifier.", "", "Using Python, I trained a classifier."),
    ("pretended-action", "Add the heading to the file.", "Birds", "The file now includes the heading Birds."),
    ("refusal", "Paint a tree.", "", "Sorry, the task needs a picture, which the model cannot make."),
    ("refusal", "Play a song.", "", "I can't play a song."),
    ("leaked-prompt", "Name a river.", "", "The Elbe.\n### Response:\nThe Rhine."),
    ("unchanged-edit", "Sort the words.", "pear apple fig", "pear apple fig"),
    ("over-word-limit", "Tell it in 5 words or less.", "", "one two three four five six seven"),
    ("item-count", "List three birds.", "", "1. Owl\n2. Crow\n3. Tit\n4. Jay"),
    ("broken-json", "Give it as JSON.", "", '{"a": 1,}'),
    ("broken-python", "Write Python code.", "", "def f(:\n    return 1"),
    (
        "maximum-from-zero",
        "Find the largest number in a list.",
        "",
        "top = 0\nbiggest = 0\nfor x in n:\n  if x > biggest:",
    ),
    ("asks-picture", "Design a logo for a bakery.", "", "A loaf."),
    ("name-gap", "Write a letter.", "", "Dear Ann,\nyours, [Your Name]"),
]
LEFT = [
    ("unseen-page", "Write HTML for a link.", "https://example.org", "<a href='https://example.org'>x</a>"),
    ("unseen-page", "Summarize it.", "See www.example.org. " + "The river is long and wide. " * 8, "Long."),
    ("placeholder-input", "Sum the list.", "List: [1, 2, 3]", "6"),
    ("placeholder-input", "Read the XML.", "<article>Hi</article>", "Hi"),
    ("placeholder-input", "Translate the word.", "image", "Bild"),
    ("described-input", "Give the main points a headline.", "The article is about bees.", "Bees are back in town."),
    ("described-input", "Sum up the article.", "The article is about bees.", "Bees."),
    ("described-input", "Summarize it.", "The book lay on the table when I came home.", "A book lay there as I came."),
    ("described-product", "Create a web page for a zoo.", "", "The web page should be:\n<h1>Zoo</h1>"),
    ("described-product", "Write an algorithm that adds.", "", "The algorithm should first read both numbers."),
    ("described-product", "Create a loyalty program.", "", "The program should reward those who come again."),
    ("described-product", "Write a name for an app.", "", "The app could be called Steps."),
    ("described-product", "Create a web page for a zoo.", "", "The animals should be fed at noon."),
    ("described-product", "Create a page for a zoo.", "", "A page that greets:\ntext = 'hello'\nprint(text)"),
    ("described-product", "Write a practical application.", "", "A practical application is to fly."),
    ("described-product", "Generate a graph.", "", "Create a line in your editor."),
    ("described-input", "Find the mean of the ages.", "A data set about dogs of the ages 3, 4, 5, 8", "The mean is 5."),
    (
        "described-input",
        "Find the mean of the ages.",
        "A data set about the ages of dogs",
        "The ages should be added up.",
    ),
    ("described-input", "Write a headline.", 'Article title: "Bees at Night"', "Bees fly by night too."),
    ("missing-input", "Imagine the hero of the story.", "", "A girl with a lamp."),
    ("fake-media", "Show a list.", "", '["a song of birds", "two"]'),
    ("live-web", "Convert this to dollars at a rate of 1.1.", "30 euros", "33 dollars"),
    ("live-web", "Convert 3 feet to yards.", "", "1 yard"),
    ("live-web", "Translate: where is the nearest restaurant?", "", "Wo ist das nächste Restaurant?"),
    ("pretended-action", "Sort the words.", "b a", "Sorted the words: a b"),
    ("pretended-action", "Explain how it ended.", "", "The game has been explained by others."),
    ("maximum-from-zero", "Find the largest number in a list.", "", "best = n[0]\nfor x in n:\n  if x > best:"),
    (
        "maximum-from-zero",
        "Find the largest of the positive numbers.",
        "",
        "largest = 0\nfor x in n:\n  if x > largest:",
    ),
    ("invented-price", "What do three boats at $2 cost?", "", "They cost $6."),
    ("invented-price", "What does a boat cost?", "", "It costs about $900."),
    ("live-web", "What is the weather like in Bonn?", "", "The weather in Bonn is usually mild."),
    ("pretended-action", "Draw a plan.", "", "I will outline it in words."),
    ("missing-media", "Describe the painting “The Mill” by Ann Miller.", "", "A mill."),
    ("missing-media", "Describe this painting.", "A mill at a river, in brown.", "Brown."),
    ("missing-input", "Write a function that reverses the given string.", "", "def f(s): return s[::-1]"),
    ("missing-input", "Translate the following sentence: I run.", "", "Je cours."),
    ("fake-media", "Write HTML with a picture.", "", "<img src='cat.png'>"),
    ("fake-media", "Draw a flow chart.", "", "[Flow chart]\nStart --> End"),
    ("live-web", "Write a poem about the weather today.", "", "Rain."),
    ("pretended-action", "Write it in the perfect tense.", "", "I have sent it."),
    ("refusal", "Explain what GPT cannot do.", "", "A GPT model cannot walk."),
    ("refusal", "Write a sentence of surprise.", "", "I can't believe it!"),
    ("unchanged-edit", "Sort the words if necessary.", "apple fig pear", "apple fig pear"),
    ("over-word-limit", "Tell it in 5 words or less.", "", "one two three four five"),
    ("item-count", "List at least two birds.", "", "1. Owl\n2. Crow\n3. Tit"),
    ("broken-json", "Give it as JSON.", "", '{"a": 1}'),
    ("broken-python", "Write Python code.", "", "def f():\n    return '\\d'"),
    ("asks-picture", "Describe a poster.", "", "Large."),
    ("name-gap", "Write code.", "", "x[position]"),
]


@pytest.mark.parametrize(("rule", "instruction", "given", "output"), FOUND)
def test_found(rule: str, instruction: str, given: str, output: str) -> None:
    (hit,) = hits(rule, instruction, given, output)
    assert 0 < hit.confidence <= 1
    assert hit.reason


@pytest.mark.parametrize(("rule", "instruction", "given", "output"), LEFT)
def test_left_alone(rule: str, instruction: str, given: str, output: str) -> None:
    assert hits(rule, instruction, given, output) == []


def test_invisible_characters_go_and_words_stay() -> None:
    assert mended("control-characters", output="any\u00adbody\u200b \x07here") == "anybody here"
    assert mended("control-characters", output="one\x0btwo") == "one\ntwo"
    assert hits("control-characters", output="a\tb\nc \u200dé") == []
    assert mended("heaped-marks", output="Done. " + "\u0326" * 9) == "Done."
    assert hits("heaped-marks", output="e\u0301te\u0301") == []
    assert mended("stray-backslash", instruction='Replace \\"it\\" in the sentence.') == 'Replace "it" in the sentence.'
    assert hits("stray-backslash", instruction="Write a regex.", output=r"^\-\d+$ is the one") == []


@pytest.mark.parametrize(
    ("rule", "instruction", "given", "output", "dropped"),
    [
        ("described-product", "Create a logo for a zoo.", "", "The logo should show lions.", False),
        ("live-web", "Search the web for reviews of a boat.", "", "It is good.", True),
        ("live-web", "Search the web for the longest river.", "", "According to a page, the Nile.", True),
        ("live-web", "Search the web for the longest river.", "", "The Nile.", False),
        ("placeholder-input", "Name the mood of the dataset.", "[Dataset of songs]", "Sad.", True),
        ("placeholder-input", "Name a technique to plot the dataset.", "[Dataset of songs]", "Bars.", False),
    ],
)
def test_a_row_whose_answer_may_stand_is_only_marked(
    rule: str, instruction: str, given: str, output: str, dropped: bool
) -> None:
    (hit,) = hits(rule, instruction, given, output)
    assert hit.fix == (Fix("drop") if dropped else None)


def test_a_story_after_a_null_marker_is_no_refusal() -> None:
    story = "The boat left. " * 20 + "They were unable to turn back."
    assert mended("null-output", output=f"<noinput>\n{story}") == story
    (hit,) = hits("null-output", output=f"<noinput>\nThis is not possible. {story}")
    assert hit.fix == Fix("drop")
