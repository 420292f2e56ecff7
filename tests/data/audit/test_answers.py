"""Answers that a machine can decide: right, wrong with the right value, or not checkable. All worked by hand."""

from __future__ import annotations

import pytest

from alpaca_lora.data.audit.answers.check import check_answer
from alpaca_lora.data.audit.answers.rule import WRONG_ANSWER
from alpaca_lora.data.audit.rows import TurnView

# question, input, a right answer, a wrong answer, the wrong one corrected
DECIDED = [
    # arithmetic, in signs and in words
    ("What is 12 plus 7?", "", "12 plus 7 is 19.", "12 plus 7 is 18.", "12 plus 7 is 19."),
    ("Calculate 5 x (3 + 2)", "", "25", "17", "25"),
    ("Evaluate the following expression.", "2 + 3 * 4^2 - 1", "It is 49.", "It is 79.", "It is 49."),
    ("What is 6 × 7?", "", "It is forty-two.", "It is forty.", "It is forty-two."),
    ("Compute 1/2 + 1/3", "", "5/6", "2/5", "5/6"),
    ("Subtract 15 from 40.", "", "25", "-25", "25"),
    ("Divide 90 by 8.", "", "11.25", "11.5", "11.25"),
    ("Find the difference between 8 and 21.", "", "13", "14", "13"),
    ("Multiply 1,200 by 3.", "", "$3,600", "$3,900", "$3,600"),
    ("What is 2 to the power of 10?", "", "It equals 1024.", "It equals 1000.", "It equals 1024."),
    ("Compute the factorial of 6.", "", "720", "620", "720"),
    ("What is the square root of 64?", "", "The root is 8.", "The root is 6.", "The root is 8."),
    ("What is the remainder when 47 is divided by 6?", "", "5", "7", "5"),
    ("Calculate 5 plus 10 times 4.", "", "45", "44", "45"),
    ("Calculate 9 - 12.", "", "-3", "3", "-3"),
    # percentages and short sums of daily life
    ("What is 5% of 80?", "", "4", "5", "4"),
    ("Find the percentage increase from 40 to 50.", "", "25%", "20%", "25%"),
    ("What percentage of 80 is 20?", "", "25%", "40%", "25%"),
    ("Calculate the price after a discount of 15%.", "Original price: $200", "$170", "$185", "$170"),
    ("Calculate the total cost of 6 pens at $1.50 each.", "", "It is $9.00.", "It is $7.50.", "It is $9.00."),
    ("Calculate the simple interest.", "Principal: $800, Rate: 5%, Time: 3 years", "$120", "$126", "$120"),
    ("Calculate the average speed of a car that travels 150 km in 2 hours.", "", "75 km/h", "70 km/h", "75 km/h"),
    # lists of numbers
    ("Find the mean of 3, 4, 8 and 9.", "", "The mean is 6.", "The mean is 6.5.", "The mean is 6."),
    ("Find the median.", "[9, 1, 4, 6]", "5", "4", "5"),
    ("Find the mode of the following numbers.", "2, 7, 7, 3", "7", "3", "7"),
    ("Find the range of the numbers 4, 11, 6.", "", "7", "11", "7"),
    ("Calculate the sum of the numbers.", "{1.5, 2, 4}", "7.5", "8.5", "7.5"),
    ("Find the product of 2, 3 and 7.", "", "42", "12", "42"),
    ("Calculate the average age.", "Ann: 20\nBob: 30\nCid: 25", "25", "27", "25"),
    ("Compute the standard deviation of 2, 4, 4, 4, 5, 5, 7, 9.", "", "2", "1.5", "2"),
    ("Find the largest number in the list.", "8, 31, 12", "31", "12", "31"),
    ("What is the smallest number in 8, -3, 12?", "", "-3", "8", "-3"),
    ("Find the mean of 3, 2 and 8.", "", "The mean is.4.33", "The mean is.4.5", "The mean is.4.33"),
    # units
    ("Convert 3 kilometers to meters.", "", "3 km is 3000 meters.", "3 km is 300 meters.", "3 km is 3000 meters."),
    ("Convert the temperature to Fahrenheit.", "25°C", "77°F", "75°F", "77°F"),
    ("How many inches are in 3 feet?", "", "36 inches", "30 inches", "36 inches"),
    ("Convert 10 pounds to kilograms.", "", "4.54 kg", "5.54 kg", "4.54 kg"),
    ("Convert 50 mph to m/s.", "", "22.35 m/s", "25.35 m/s", "22.352 m/s"),
    ("How many minutes are there in 4 hours?", "", "It is 240 minutes.", "It is 260 minutes.", "It is 240 minutes."),
    ("Convert 2 liters to milliliters.", "", "2,000 ml", "200 ml", "2000 ml"),
    # orders
    ("Sort the numbers in ascending order.", "9, 2, 5", "2, 5, 9", "2, 9, 5", "2, 5, 9"),
    ("Arrange in descending order: 3, 8, 1", "", "8, 3, 1", "1, 3, 8", "8, 3, 1"),
    ("Sort the words alphabetically.", "plum, fig, pear", "fig, pear, plum", "Fig, plum, pear.", "Fig, pear, plum."),
    ("Sort by length, ascending.", "onion, fig, plum", "fig, plum, onion", "plum, onion, fig", "fig, plum, onion"),
    ("Sort in ascending order.", "4, 8, 1, 6", "[1, 4, 6, 8]", "[1, 4, 8]", "[1, 4, 6, 8]"),
    # notations
    ("Convert 13 to binary.", "", "1101", "1011", "1101"),
    ("Convert the binary number 1010 to decimal.", "", "10", "12", "10"),
    ("Convert the decimal number 255 to hexadecimal.", "", "0xFF", "0xEF", "0xFF"),
    ("Convert the number to Roman numerals.", "49", "XLIX", "IL", "XLIX"),
    ("Convert 214 to words.", "", "Two hundred and fourteen", "two hundred forty", "two hundred fourteen"),
    ("Convert 3/8 to a decimal.", "", "0.375", "0.36", "0.375"),
    ("Convert 0.35 to a percentage.", "", "35%", "3.5%", "35%"),
    ("Convert 0.6 to a fraction.", "", "3/5", "2/5", "3/5"),
    ("Round 3.14159 to two decimal places.", "", "3.14", "3.15", "3.14"),
    # whole numbers and series
    ("Find the greatest common divisor of 12 and 18.", "", "6", "3", "6"),
    ("Find the LCM of 4 and 6.", "", "12", "24", "12"),
    ("Is 21 a prime number?", "", "21 is not prime.", "21 is a prime number.", "21 is not a prime number."),
    ("Is 8 odd or even?", "", "8 is even.", "8 is odd.", "8 is even."),
    ("Find the sum of the numbers from 1 to 10.", "", "55", "45", "55"),
    ("What is the next number in the sequence 3, 7, 11, 15?", "", "19", "18", "19"),
    # algebra
    ("Solve for x: 2x + 3 = 11", "", "x = 4", "x = 7", "x = 4"),
    ("Give the answer or solution to the equation.", "2x – 6 = 8", "x = 7", "x = 6", "x = 7"),
    ("Solve 3(x - 2) = 2x + 5", "", "x = 11", "x = 7", "x = 11"),
    ("Solve the quadratic equation x^2 - 5x + 6 = 0.", "", "x = 2 and x = 3", "x = 1 and x = 6", "x = 2 and x = 3"),
    ("Evaluate 3x - 2y when x = 4 and y = 1.", "", "10", "14", "10"),
    # shapes and points
    ("Find the area of a rectangle with length 6 cm and width 4 cm.", "", "24 cm^2", "20 cm^2", "24 cm^2"),
    ("Find the perimeter of a square with side 5.", "", "20", "25", "20"),
    ("Calculate the area of a circle with radius 3.", "", "28.27", "18.85", "28.27"),
    ("Find the hypotenuse of a right triangle with legs 6 and 8.", "", "10", "14", "10"),
    ("Find the volume of a cylinder with radius 2 m and height 5 m.", "", "62.83 m3", "31.42 m3", "62.83 m3"),
    ("Find the slope of the line through (1, 2) and (3, 8).", "", "3", "2", "3"),
    ("Find the area of the triangle with vertices (0, 0), (4, 0) and (0, 3).", "", "6", "12", "6"),
    ("Find the area of triangle ABC.", "A(1, 1), B(1, 5), C(-2, 1)", "6 units²", "8 units²", "6 units²"),
    ("Find the volume of a pyramid with base side 6 cm and height 4 cm.", "", "48 cm^3", "144 cm^3", "48 cm^3"),
    ("Find the surface area of a pyramid with base edges of 6 cm and height 4 cm.", "", "96 cm²", "84 cm²", "96 cm²"),
    ("Find the distance between (0, 0) and (3, 4).", "", "5", "7", "5"),
    # counts
    ("Count the words in the sentence.", "We like green tea.", "4", "5", "4"),
    ('How many times does the letter "e" appear in "never here"?', "", "4", "3", "4"),
    ('How many vowels are in the word "banana"?', "", "It has 3 vowels.", "It has 4 vowels: a, n.", "It has 3 vowels."),
    # dates
    ("What day of the week was July 4, 2020?", "", "Saturday", "Friday", "Saturday"),
    ("How many days are between March 1, 2021 and March 31, 2021?", "", "30 days", "40 days", "30 days"),
    ("Is 1900 a leap year?", "", "No", "Yes", "1900 is not a leap year."),
    # letters and sets
    ('Reverse the word "planet".', "", "tenalp", "tenlap", "tenalp"),
    ("Convert the text to uppercase.", "Good day", "GOOD DAY", "GOOD Day", "GOOD DAY"),
    ('Is "level" a palindrome?', "", "Yes, it is a palindrome.", "No", '"level" is a palindrome.'),
    ("Find the union of the sets {1, 2, 3} and {3, 4, 5}.", "", "{1, 2, 3, 4, 5}", "{1, 2, 4, 5}", "{1, 2, 3, 4, 5}"),
    (
        "Solve the equation: 3(x-2) = x + 8", "", "x = 7", "The solution to the equation 3(x-2) = x + 8 is x = 5.",
        "The solution to the equation 3(x-2) = x + 8 is x = 7.",
    ),
]  # fmt: skip

# What must be left alone: two questions, unknown words, unclear roles or claims, roundings, cut or missing answers.
UNDECIDED = [
    ("What is half of 3 squared?", "", "4.5"),
    ("What is the square of 3 plus 4?", "", "13"),
    ("What is 20% of 50 plus 10?", "", "60"),
    ("Evaluate 8/2(2+2)", "", "1"),
    ("Evaluate -3^2", "", "9"),
    ("Calculate 2^3^2", "", "64"),
    ("Calculate 3 + 4 + x", "", "8"),
    ("What is the sum of 3 and 4 in binary?", "", "100"),
    ("What is 5% of 80 rounded up?", "", "5"),
    ("Multiply 3 by 4 and add 5", "", "12"),
    ("Divide 10 by the sum of 2 and 3", "", "3"),
    ("Estimate 312 + 489 to the nearest hundred", "", "900"),
    ("Divide 10 by 4.", "", "2"),
    ("Find the second largest number in 3, 9, 4", "", "4"),
    ("Find the weighted average of 3, 9, 4", "", "7"),
    ("Find the mean and the median of 1, 2, 9", "", "4 and 3"),
    ("Find the median of 3, 9, 4 and 5 without the 9", "", "5"),
    ("Find the mode of the numbers 1, 2, 3.", "", "2"),
    ("Find the average of 1,000,3,000", "", "2,000"),
    ("Find the average of these three numbers.", "3, 5", "5"),
    ("Calculate the average price.", "tea: $3\nmilk: 2 liters", "3"),
    ("Calculate the average of 4, 8 and 9.", "", "def mean(values): return 8"),
    ("Calculate the average of 4, 8 and 9.", "", "Between 6 and 8"),
    ("Calculate the average of 4, 8 and 9.", "", "The average of 4, 8 and 9 is"),
    ("Calculate the average of 4, 8 and 9.", "", "I cannot do that."),
    ("Convert 5 dollars to euros.", "", "4"),
    ("Convert 5 feet 3 inches to cm.", "", "150"),
    ("Convert 5 to meters.", "", "7 meters"),
    ("Convert 3 hours to minutes.", "", "10800 seconds"),
    ("Convert 64 km to miles.", "", "40.1 miles"),
    ("Convert 3 ounces to meters.", "", "7"),
    ("Sort the animals by size.", "mouse, cat, cow", "cow, cat, mouse"),
    ("Sort the words alphabetically.", "pear, tomatos, fig", "fig, tomatoes, pear"),
    ("Sort the numbers in ascending order.", "9, 2, 5", "The list is not sorted yet."),
    ("Find the volume of a box 2 m by 30 cm by 4 m.", "", "240"),
    ("Find the area of a triangle with sides 5 and 8.", "", "20"),
    ("Find the area of the shape with vertices (0, 0), (4, 0) and (0, 3).", "", "12"),
    ("Find the volume of a hexagonal pyramid with base side 6 cm and height 4 cm.", "", "144 cm^3"),
    ("Find the area of a rectangle with length 6 cm.", "", "36"),
    ("Find the area of a rectangle with length 6 cm and width 4 cm.", "", "24 and 20"),
    ("Calculate the surface area of a table.", "", "12"),
    ("Solve 2x + 3y = 12", "", "x = 1"),
    ("Solve x^2 = 2", "", "x = 1"),
    ("Solve 2x+3=7 and give x^2", "", "5"),
    ("How many words are in the book?", "", "160,000"),
    ('How many syllables are in the word "banana"?', "", "4"),
    ("How many vowels are there in English?", "", "6"),
    ("Calculate the total cost of 3 pens at $2 each with 10% tax.", "", "$6"),
    ("Calculate the total cost of 10 boxes at $2 each.", "", "The total cost for 10 boxes is $"),
    ("How many days are between March 1 and March 31?", "", "29"),
    ("What day was it?", "", "Monday"),
    ("Write a program that adds 3 and 4.", "", "8"),
    ("Write a story about 3 + 4.", "", "8"),
    ("Name a prime number.", "", "9"),
    ("What is 2 + 2?", "", ""),
    ("计算 3 和 4 的和", "", "8"),
    ("Calcule la somme de 3 et 4.", "", "8"),
    ("Berechne den Durchschnitt von 3 und 4.", "", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "given", "right", "wrong", "corrected"), DECIDED)
def test_decided(question: str, given: str, right: str, wrong: str, corrected: str) -> None:
    fine = check_answer(question, given, right)
    assert fine is not None
    assert fine.right
    assert fine.corrected == right
    flawed = check_answer(question, given, wrong)
    assert flawed is not None
    assert not flawed.right
    assert flawed.corrected == corrected
    again = check_answer(question, given, corrected)
    assert again is not None
    assert again.right


@pytest.mark.parametrize(("question", "given", "output"), UNDECIDED)
def test_undecided(question: str, given: str, output: str) -> None:
    assert check_answer(question, given, output) is None


@pytest.mark.parametrize(
    ("question", "given", "output"),
    [
        ("Calculate 5 plus 10 times 4.", "", "60"),
        ("Round 2.5 to the nearest integer.", "", "2"),
        ("Find the difference between 3 and 8.", "", "-5"),
        ("Calculate the standard deviation of 1, 2, 3.", "", "1"),
        ("Convert 1 gallon to liters.", "", "4.55 liters"),
        ("Convert 2 GB to MB.", "", "2048 MB"),
        ("Convert 4 km to miles.", "", "2.5 miles"),
        ("Calculate the area of a circle with radius 10.", "", "314"),
        ("Sort the names alphabetically.", "Ann Young, Bob Adams, Cid Moore", "Bob Adams, Cid Moore, Ann Young"),
        ("How many days are between March 1, 2021 and March 31, 2021?", "", "31 days"),
    ],
)
def test_a_second_reading_is_right_too(question: str, given: str, output: str) -> None:
    verdict = check_answer(question, given, output)
    assert verdict is not None
    assert verdict.right


@pytest.mark.parametrize(
    ("output", "found", "right"),
    [
        ("33.33", "33.33", True),
        ("33.3", "33.3", True),
        ("The result is 33.333...", "33.333", True),
        ("33 1/3", "33 1/3", True),
        ("100/3", "100/3", True),
        ("about 33.4", "33.4", False),
        ("$33.33", "33.33", True),
        ("100 / 3 = 33.35", "33.35", False),
        ("**33.33**", "33.33", True),
        ("34", "34", False),
    ],
)
def test_compares_at_the_digits_shown(output: str, found: str, right: bool) -> None:
    verdict = check_answer("Divide 100 by 3.", "", output)
    assert verdict is not None
    assert (verdict.found, verdict.right) == (found, right)


def test_a_wrong_working_does_not_stay() -> None:
    working = "The average of 2 and 6 is 5. It is (2 + 6 + 7) / 3 = 5."
    verdict = check_answer("Find the average of 2 and 6.", "", working)
    assert verdict is not None
    assert verdict.corrected == "The average of 2 and 6 is 4."


@pytest.mark.parametrize(("output", "fixed"), [("4", "5"), ("The median is 4.", "The median is 5."), ("1.5.4", None)])
def test_a_fix_is_given_only_where_it_is_read_as_right(output: str, fixed: str | None) -> None:
    assert WRONG_ANSWER.find
    (hit,) = WRONG_ANSWER.find(TurnView("Find the median.", "[9, 1, 4, 6]", output, {}))
    assert "“5” is right" in hit.reason
    assert (hit.fix.value if hit.fix else None) == fixed
