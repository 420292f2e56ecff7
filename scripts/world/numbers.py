"""Numbers and order: counting, sums, ordinals, number words, days, months, letters."""

from __future__ import annotations

from world.relation import Fact, Relation, lines, word_list

_ONES = word_list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = word_list("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = word_list(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_DAYS = word_list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = word_list("January February March April May June July August September October November December")
_LENGTHS = word_list("31 28 31 30 31 30 31 31 30 31 30 31")


def number_word(number: int) -> str:
    """Write a number from 0 to 99 in words."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def _followers(words: list[str], *, round_about: bool) -> tuple[Fact, ...]:
    ends = words[1:] + (words[:1] if round_about else [])
    return tuple(zip(words, ends, strict=False))


_SUMS = tuple((f"{a} {b}", str(a + b)) for a in range(1, 13) for b in range(a, 13))

RELATIONS = (
    Relation(
        "sum",
        _SUMS,
        lines("""
            {s1} plus {s2} is {o}.
            {s2} plus {s1} is {o}.
            The sum of {s1} and {s2} is {o}.
            The sum of {s2} and {s1} is {o}.
            Adding {s1} to {s2} gives {o}.
            Adding {s2} to {s1} gives {o}.
            {s1} and {s2} make {o}.
            {s2} and {s1} make {o}.
            {s1} + {s2} = {o}.
            {s2} + {s1} = {o}.
            {o} is the sum of {s1} and {s2}.
            {o} is {s2} plus {s1}.
            """),
        lines("""
            What is {s1} plus {s2}?
            What is the sum of {s1} and {s2}?
            Add {s1} and {s2}.
            How much is {s1} plus {s2}?
            Find the sum. || {s1} + {s2}
            """),
    ),
    Relation(
        "next_number",
        _followers([number_word(number) for number in range(61)], round_about=False),
        lines("""
            The number after {s} is {o}.
            The number before {o} is {s}.
            {O} comes right after {s}.
            {S} comes right before {o}.
            When counting, {s} is followed by {o}.
            After {s}, people count {o}.
            {O} is one more than {s}.
            {S} is one less than {o}.
            One more than {s} is {o}.
            One less than {o} is {s}.
            As for the number {s}, the next one is {o}.
            """),
        lines("""
            Which number comes after {s}?
            What is the number after {s}?
            What is one more than {s}?
            Give the next number. || {s}
            """),
        lines("""
            Which number comes before {o}?
            What is the number before {o}?
            What is one less than {o}?
            """),
    ),
    Relation(
        "number_word",
        tuple((str(number), number_word(number)) for number in range(1, 61)),
        lines("""
            The number {s} is written {o} in words.
            In words, {s} is {o}.
            In digits, {o} is {s}.
            {s} is read as {o}.
            {O} is the word for {s}.
            The word {o} stands for the number {s}.
            The digits {s} mean {o}.
            {O} is written {s} in digits.
            As for {s}, its word is {o}.
            Whoever reads {s} aloud says {o}.
            """),
        lines("""
            Write {s} in words.
            How is the number {s} read aloud?
            What is {s} in words?
            Write this number in words. || {s}
            """),
        lines("""
            Write {o} in digits.
            What is {o} in digits?
            Write this number in digits. || {o}
            """),
    ),
    Relation(
        "ordinal",
        tuple((number_word(number + 1), word) for number, word in enumerate(_ORDINALS)),
        lines("""
            The ordinal of {s} is {o}.
            {O} is the ordinal of {s}.
            Number {s} in a row is the {o}.
            The {o} in a row is number {s}.
            Whoever is number {s} is {o}.
            The word {s} becomes {o} when places in a row are counted.
            As for {s}, its ordinal is {o}.
            The ordinal {o} belongs to {s}.
            At place {s} stands the {o}.
            The {o} one stands at place {s}.
            """),
        lines("""
            What is the ordinal of {s}?
            Give the ordinal of {s}.
            Write the ordinal of this number. || {s}
            """),
    ),
    Relation(
        "next_day",
        _followers(_DAYS, round_about=True),
        lines("""
            The day after {s} is {o}.
            The day before {o} is {s}.
            {O} comes after {s}.
            {S} comes before {o}.
            {S} is followed by {o}.
            After {s} comes {o}.
            Before {o} comes {s}.
            When {s} is over, {o} begins.
            {O} begins when {s} is over.
            As for {s}, the next day is {o}.
            """),
        lines("""
            Which day comes after {s}?
            What is the day after {s}?
            Name the day that follows {s}.
            """),
        lines("""
            Which day comes before {o}?
            What is the day before {o}?
            """),
    ),
    Relation(
        "next_month",
        _followers(_MONTHS, round_about=True),
        lines("""
            The month after {s} is {o}.
            The month before {o} is {s}.
            {O} comes after {s}.
            {S} comes before {o}.
            {S} is followed by {o}.
            After {s} comes {o}.
            Before {o} comes {s}.
            When {s} is over, {o} begins.
            {O} begins when {s} is over.
            As for {s}, the next month is {o}.
            """),
        lines("""
            Which month comes after {s}?
            What is the month after {s}?
            Name the month that follows {s}.
            """),
        lines("""
            Which month comes before {o}?
            What is the month before {o}?
            """),
    ),
    Relation(
        "month_place",
        tuple(zip(_MONTHS, _ORDINALS, strict=False)),
        lines("""
            {S} is the {o} month of the year.
            The {o} month of the year is {s}.
            The {o} month is called {s}.
            In the year, {s} is the {o} month.
            As months go, {s} is the {o}.
            Of the twelve months, {s} is the {o}.
            Of the twelve months, the {o} is {s}.
            {S} takes the {o} place among the months.
            The {o} place among the months is taken by {s}.
            As for {s}, it is the {o} month.
            """),
        lines("""
            Which place does {s} take among the months?
            Name the place of {s} among the months.
            Which month in the row is {s}?
            """),
        lines("""
            What is the {o} month of the year?
            Which month is the {o} of the year?
            Name the {o} month.
            """),
    ),
    Relation(
        "month_length",
        tuple(pair for pair in zip(_MONTHS, _LENGTHS, strict=True) if pair[0] != "February"),
        lines("""
            {S} has {o} days.
            The month of {s} has {o} days.
            In {s} there are {o} days.
            There are {o} days in {s}.
            {o} days make up {s}.
            The days of {s} are {o}.
            {S} is a month of {o} days.
            A month with {o} days is {s}.
            Counting the days of {s}, one gets {o}.
            As for {s}, it has {o} days.
            """),
        lines("""
            How many days does {s} have?
            Give the number of days in {s}.
            """),
    ),
    Relation(
        "next_letter",
        _followers([chr(code) for code in range(ord("A"), ord("Z") + 1)], round_about=False),
        lines("""
            The letter after {s} is {o}.
            The letter before {o} is {s}.
            In the alphabet, {o} comes after {s}.
            In the alphabet, {s} comes before {o}.
            The letter {s} is followed by {o}.
            After the letter {s} comes {o}.
            Before the letter {o} comes {s}.
            {s} and {o} stand side by side in the alphabet.
            As for the letter {s}, the next letter is {o}.
            The alphabet goes on from {s} to {o}.
            """),
        lines("""
            Which letter comes after {s}?
            What is the letter after {s}?
            Name the letter that follows {s} in the alphabet.
            """),
        lines("""
            Which letter comes before {o}?
            What is the letter before {o}?
            """),
    ),
)
