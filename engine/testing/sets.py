"""Which sets of questions there are by name, and what a user means by one: a name, or a file."""

from pathlib import Path

from engine import paths
from engine.config.faults import nearest
from engine.errors import InputError
from engine.testing import items, lm_eval
from engine.testing.questions import Questions, of_items

FOLDER = Path(__file__).parent / "shipped"
SHIPPED = {
    "arithmetic": "sums, differences, products and little stories; some as choices",
    "instructions": "answers whose form was asked for: a word, a list, JSON, capitals",
    "tool-calls": "one call of the right function with the right arguments, as JSON",
}
FILE_TYPE = ".jsonl"


def find(name: str, limit: int | None = None) -> Questions:
    """The first `limit` questions of the set a user means; InputError where it has faults."""
    if lm_eval.means(name):
        return lm_eval.find(name, limit)
    file = paths.expanded(name)
    if name in SHIPPED:
        return of_items(name, items.read(FOLDER / f"{name}{FILE_TYPE}"), limit)
    if file.suffix.lower() == FILE_TYPE or "/" in name:
        return of_items(file.stem, items.read(file), limit)
    known = (*SHIPPED, *lm_eval.NAMED)
    hint = nearest(name, known) or f"choose from {', '.join(SHIPPED)}, a file ({FILE_TYPE}), {lm_eval.HELP}"
    raise InputError(f"no set of questions named {name!r}", hint)
