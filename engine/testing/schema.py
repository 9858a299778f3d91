"""JSON Schemas of strangers, of draft 2020-12: which keywords there are, and whether a value keeps to one.

Owns the bounds: no keyword is read over, so that a misspelled one lets nothing through; none refers to
another place, so that a schema ends and fetches nothing; patterns are `patterns`'.
"""

from collections.abc import Iterator
from typing import Any

from engine.config.faults import nearest
from engine.testing import answer_json, patterns

DEEPEST = 32
_ONE = ("additionalProperties", "items", "contains", "propertyNames", "not", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_VALUES = (
    *("type", "enum", "const", "required", "dependentRequired", "minProperties", "maxProperties"),
    *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains"),
    *("minLength", "maxLength", "pattern"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("$schema", "$comment", "title", "description", "default", "examples"),
)
KEYWORDS = ("properties", *_ONE, *_SEVERAL, *_VALUES)


def require(schema: Any) -> None:
    """ValueError where it is no schema, or has a keyword that is not known here."""
    from jsonschema import Draft202012Validator, SchemaError

    for part in _parts(schema, DEEPEST):
        for name in part:
            if name not in KEYWORDS:
                hint = (
                    nearest(name, KEYWORDS) or "a pattern can be `pattern`, all else is written in its place"
                )
                raise ValueError(f"unknown keyword {name!r} ({hint})")
        if isinstance(part.get("pattern"), str):
            patterns.require(part["pattern"])
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        raise ValueError(f"{place}: {error.message}" if place else error.message) from None


def is_valid(value: Any, schema: Any) -> bool:
    """Whether a value of `answer_json.value` keeps to a schema that `require` has passed."""
    try:
        return bool(_validator(schema).is_valid(value))
    except ArithmeticError:  # multipleOf of numbers beyond a float
        return False


def _parts(schema: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The schema and all within; what is no object is left to the check of its form."""
    if not depth:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if not isinstance(schema, dict):
        return
    yield schema
    lists = (schema[name] for name in _SEVERAL if isinstance(schema.get(name), list))
    named = schema.get("properties")
    within = [
        *(schema[name] for name in _ONE if name in schema),
        *(part for parts in lists for part in parts),
        *(named.values() if isinstance(named, dict) else ()),
    ]
    for part in within:
        yield from _parts(part, depth - 1)


def _validator(schema: Any) -> Any:
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Any, wanted: str, value: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(value, str) and not patterns.found(wanted, value):
            yield ValidationError("it does not match")

    def unique(_: Any, wanted: bool, value: Any, __: Any) -> Iterator[ValidationError]:
        if wanted and isinstance(value, list) and len(set(map(answer_json.key, value))) < len(value):
            yield ValidationError("not unique")

    own = {"pattern": pattern, "uniqueItems": unique}
    return validators.extend(Draft202012Validator, own)(schema)  # type: ignore[no-untyped-call]
