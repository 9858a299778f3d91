"""Writes the sets of questions that come along: `python docs/write_sets.py`.

Everything is made up here with a seed, so nothing is copied. A test keeps the files current.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from engine.testing import sets  # noqa: E402

SEED = 2026
Row = dict[str, Any]

NAMES = ("Anna", "Ben", "Chloe", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Kim", "Lena")
THINGS = ("apples", "books", "coins", "marbles", "pencils", "stamps", "shells", "stickers")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "purple", "orange")
ANIMALS = ("cat", "dog", "horse", "rabbit", "tiger", "eagle", "whale", "snake")
CITIES = ("Paris", "Berlin", "Madrid", "Rome", "Oslo", "Vienna", "Lisbon", "Dublin", "Warsaw", "Athens")
WORDS = ("river", "window", "garden", "silver", "planet", "bridge", "candle", "forest", "harbour", "letter")


# arithmetic


def arithmetic(rng: random.Random) -> Iterator[Row]:
    """Sums of one digit to products and little stories; the last number of an answer counts."""
    for a, b in _pairs(rng, 14, 1, 9):
        yield _number(f"What is {a} + {b}?", a + b)
    for a, b in _pairs(rng, 8, 1, 9):
        yield _number(f"What is {max(a, b)} - {min(a, b)}?", abs(a - b))
    for a, b in _pairs(rng, 10, 11, 89):
        yield _number(f"What is {a} + {b}?", a + b)
    for a, b in _pairs(rng, 8, 2, 9):
        yield _number(f"What is {a} * {b}?", a * b)
    for a, b in _pairs(rng, 6, 21, 99):
        yield _number(f"What is {max(a, b)} - {min(a, b)}?", abs(a - b))
    for a, b in _pairs(rng, 4, 12, 39):
        yield _number(f"What is {a} * {b % 8 + 2}?", a * (b % 8 + 2))
    for a, b in _pairs(rng, 10, 2, 9):
        yield _number(_story(rng, a + b, b), a)
    for a, b in _pairs(rng, 20, 2, 12):
        yield _sum_in_choices(rng, a, b)


def _number(question: str, answer: int) -> Row:
    prompt = f"{question} Answer with the number only."
    last = rf"(?s)(?:^|[^\d.]){answer}(?:\.0*)?\D*$"
    return {"prompt": prompt, "regex": last, "expected": str(answer), "max_new_tokens": 32}


def _story(rng: random.Random, has: int, gives: int) -> str:
    name, other = rng.sample(NAMES, 2)
    thing = rng.choice(THINGS)
    return f"{name} has {has} {thing} and gives {gives} of them to {other}. How many {thing} are left?"


def _sum_in_choices(rng: random.Random, a: int, b: int) -> Row:
    wrong = rng.sample([n for n in range(a + b - 5, a + b + 6) if n not in {a + b} and n > 0], 3)
    choices = [*map(str, wrong), str(a + b)]
    rng.shuffle(choices)
    return {
        "prompt": f"{a} + {b} =",
        "template": "raw",
        "choices": choices,
        "answer": choices.index(str(a + b)),
    }


def _pairs(rng: random.Random, count: int, low: int, high: int) -> list[tuple[int, int]]:
    """Distinct pairs, whatever their order."""
    everything = [(a, b) for a in range(low, high + 1) for b in range(low, a + 1)]
    return [pair if rng.random() < 0.5 else pair[::-1] for pair in rng.sample(everything, count)]


# instructions


def instructions(rng: random.Random) -> Iterator[Row]:
    """Answers whose form was asked for."""
    for make in INSTRUCTIONS:
        yield from make(rng)


def _one_word(rng: random.Random) -> Iterator[Row]:
    for animal in rng.sample(ANIMALS, 6):
        prompt = (
            f"Which sound does a {animal} make, or which word fits it best? Answer with exactly one word."
        )
        yield _form(prompt, r"^\W*[\w'-]+\W*$", "one word")


def _repeated(rng: random.Random) -> Iterator[Row]:
    for word in rng.sample(WORDS, 8):
        prompt = f"Repeat this word and write nothing else: {word}"
        yield {"prompt": prompt, "exact": [word, f"{word}.", word.title(), f"{word.title()}."], **_short()}


def _yes_or_no(rng: random.Random) -> Iterator[Row]:
    for animal, colour in zip(rng.sample(ANIMALS, 8), rng.sample(COLOURS, 8), strict=True):
        prompt = f"Can a {animal} be {colour}? Answer with yes or no, and nothing else."
        yield _form(prompt, r"(?i)^\W*(yes|no)\W*$", "yes, or no")


def _listed(rng: random.Random) -> Iterator[Row]:
    for thing in rng.sample(("fruits", "animals", "colours", "cities", "tools", "sports"), 6):
        count = rng.randint(2, 5)
        lines = r"\s*".join(rf"{number}\. [^\n]+(?:\n|$)" for number in range(1, count + 1))
        prompt = f"Write a numbered list of exactly {count} {thing}, a line each, beginning with 1."
        yield _form(prompt, rf"^\s*(?:[^\n]*:\s*\n\s*)?{lines}\s*$", f"a list from 1 to {count}", 96)


def _commas(rng: random.Random) -> Iterator[Row]:
    for thing in rng.sample(("fruits", "animals", "colours", "countries", "trees", "metals"), 6):
        prompt = f"Name three {thing}, separated by commas, on one line, and nothing else."
        yield _form(prompt, r"^\s*[^,\n:]+,[^,\n]+,[^,\n]+$", "three, separated by commas", 48)


def _capitals(rng: random.Random) -> Iterator[Row]:
    for word in rng.sample(WORDS, 6):
        prompt = f"Write one sentence about a {word}, IN CAPITAL LETTERS ONLY."
        yield _form(prompt, r"^[^a-z]*[A-Z][^a-z]*$", "capitals alone", 64)


def _begins(rng: random.Random) -> Iterator[Row]:
    for name, city in zip(rng.sample(NAMES, 8), rng.sample(CITIES, 8), strict=True):
        prompt = f'Write one sentence about {city}. Begin it with "Dear {name},".'
        yield _form(prompt, rf"^\W*(?i:dear {name},)", f"Dear {name}, …", 64)


def _ends(rng: random.Random) -> Iterator[Row]:
    for word in rng.sample(WORDS, 6):
        prompt = f"Describe a {word} in one sentence. End your answer with the word DONE."
        yield _form(prompt, r"DONE\W*$", "… DONE", 96)


def _contains(rng: random.Random) -> Iterator[Row]:
    for word, colour in zip(rng.sample(WORDS, 8), rng.sample(COLOURS, 8), strict=True):
        prompt = f'Write one sentence that has the words "{word}" and "{colour}" in it.'
        words = rf"(?is)\b{word}.*\b{colour}|\b{colour}.*\b{word}"
        yield _form(prompt, words, f"{word} and {colour} in it", 64)


def _object(rng: random.Random) -> Iterator[Row]:
    for name, city in zip(rng.sample(NAMES, 8), rng.sample(CITIES, 8), strict=True):
        age = rng.randint(18, 80)
        prompt = (
            f"{name} is {age} years old and lives in {city}. "
            "Write this as a JSON object with the keys name, age and city. Answer with the JSON only."
        )
        values = {"name": {"const": name}, "age": {"enum": [age, str(age)]}, "city": {"const": city}}
        schema = {
            "type": "object",
            "properties": values,
            "required": list(values),
            "additionalProperties": False,
        }
        yield {"prompt": prompt, "json_schema": schema, "max_new_tokens": 96}


def _array(rng: random.Random) -> Iterator[Row]:
    for low in rng.sample(range(1, 30), 6):
        numbers = list(range(low, low + 4))
        prompt = (
            f"Write the whole numbers from {low} to {low + 3} as a JSON array. Answer with the JSON only."
        )
        yield {"prompt": prompt, "json_schema": {"const": numbers}, "max_new_tokens": 64}


def _copied(rng: random.Random) -> Iterator[Row]:
    for name in rng.sample(NAMES, 4):
        text = f"{name} has the {rng.choice(COLOURS)} {rng.choice(WORDS)}."
        yield {"prompt": f"Copy this sentence, and write nothing else: {text}", "exact": text, **_short()}


def _short() -> Row:
    return {"max_new_tokens": 32}


def _form(prompt: str, pattern: str, expected: str, tokens: int = 32) -> Row:
    return {"prompt": prompt, "regex": pattern, "expected": expected, "max_new_tokens": tokens}


INSTRUCTIONS: tuple[Callable[[random.Random], Iterator[Row]], ...] = (
    *(_one_word, _repeated, _yes_or_no, _listed, _commas, _capitals),
    *(_begins, _ends, _contains, _object, _array, _copied),
)


# tool calls

FUNCTIONS: dict[str, str] = {
    "get_weather": '{"city": text}: the weather of a city',
    "set_timer": '{"minutes": number}: start a timer',
    "add": '{"a": number, "b": number}: add two numbers',
    "send_message": '{"to": text, "text": text}: send somebody a message',
    "turn_light": '{"room": text, "state": "on" or "off"}: switch the light of a room',
}
ROOMS = ("kitchen", "bathroom", "bedroom", "office", "hall")


EXAMPLES = (
    ("What is the weather in London?", "get_weather", {"city": "London"}),
    ("Set a timer for 90 minutes.", "set_timer", {"minutes": 90}),
    ("Add 70 and 1.", "add", {"a": 70, "b": 1}),
    ('Tell Zoe: "Good night"', "send_message", {"to": "Zoe", "text": "Good night"}),
    ("Turn the light in the cellar on.", "turn_light", {"room": "cellar", "state": "on"}),
)


def tool_calls(rng: random.Random) -> Iterator[Row]:
    """One call of the right one of five functions: every second one after examples, as plain text."""
    for number, (question, name, arguments) in enumerate(_requests(rng)):
        prompt = _in_chat(question) if number % 2 else _after_examples(question)
        plain = {} if number % 2 else {"template": "raw", "stop": ["\n"]}
        call = {"name": name, "arguments": arguments}
        yield {"prompt": prompt, **plain, "tool_call": call, "max_new_tokens": 64}


def _requests(rng: random.Random) -> Iterator[tuple[str, str, Row]]:
    for city in rng.sample(CITIES, 10):
        yield f"What is the weather in {city}?", "get_weather", {"city": city}
        yield f"I am in {city}. Will I need an umbrella today?", "get_weather", {"city": city}
    for minutes in rng.sample(range(2, 60), 14):
        yield f"Set a timer for {minutes} minutes.", "set_timer", {"minutes": minutes}
    for a, b in _pairs(rng, 14, 2, 60):
        yield f"Add {a} and {b}.", "add", {"a": a, "b": b}
    for name in rng.sample(NAMES, 12):
        text = rng.choice(("I am late", "Happy birthday", "See you soon", "Call me"))
        yield f'Tell {name}: "{text}"', "send_message", {"to": name, "text": text}
    for room in ROOMS:
        for state in ("on", "off"):
            yield f"Turn the light in the {room} {state}.", "turn_light", {"room": room, "state": state}


def _in_chat(question: str) -> str:
    functions = "\n".join(f"{each} {text}" for each, text in FUNCTIONS.items())
    example = _written("add", {"a": 1, "b": 2})
    return (
        f"You can call one of these functions:\n{functions}\n\n"
        f"Answer with one call as JSON, like this, and with nothing else:\n{example}\n\n{question}"
    )


def _after_examples(question: str) -> str:
    before = (f"Request: {asked}\nCall: {_written(name, arguments)}\n" for asked, name, arguments in EXAMPLES)
    return f"{''.join(before)}Request: {question}\nCall:"


def _written(name: str, arguments: Row) -> str:
    return json.dumps({"name": name, "arguments": arguments})


# files

MAKERS = {"arithmetic": arithmetic, "instructions": instructions, "tool-calls": tool_calls}


def text(name: str) -> str:
    """A set as JSON lines, each with a name of its own."""
    rows = MAKERS[name](random.Random(f"{SEED} {name}"))
    lines = [{"id": f"{name}-{number:02}", **row} for number, row in enumerate(rows, 1)]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


if __name__ == "__main__":
    for each in MAKERS:
        (sets.FOLDER / f"{each}{sets.FILE_TYPE}").write_text(text(each), encoding="utf-8")
