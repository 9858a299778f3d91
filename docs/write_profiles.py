"""Writes docs/profiles.md out of the structs' own docstrings: `python docs/write_profiles.py`.

A test keeps the page current.
"""

import ast
import inspect as python_inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
from msgspec import inspect  # noqa: E402

from engine.config import methods, profile, sources, texts, worker_place  # noqa: E402
from engine.config.serving import serve  # noqa: E402

PAGE = Path(__file__).parent / "profiles.md"
INTRODUCTION = """# Profiles

<!-- Written by docs/write_profiles.py out of the code. Change the docstrings there and run it again. -->

A profile is one side of a duel: a model, a quantization method, a prompt format and sampling settings in one
YAML file. The file's name is the profile's name. Only `model.source` is needed, the rest has defaults.

```yaml
description: SmolLM2 135M Instruct, 4-bit NormalFloat
model:
  source: demo
  dtype: bfloat16
quantization:
  method: bitsandbytes
  bits: 4
  quant_type: nf4
prompt:
  system: You are a helpful assistant.
generation:
  max_new_tokens: 256
  temperature: 0.7
  seed: 1
```

A name is looked up in `./profiles`, then in your configuration folder (`~/.config/quantduel/profiles`), then
among the shipped profiles. A path ending in `.yaml` is that file. A hub id (`org/name`), a folder, a `.gguf`
file, `demo`, `random:SHAPE` and a server's address (`http://host:8000/v1`) can be used straight, without a
profile.

`./profiles` may be a stranger's, in a folder that you cloned. So a profile of it that hides another of its
name says so, and one that has `trust_remote_code: true`, `worker.python`, `worker.launch`, `remote.key_env`
or `serve` is refused by its name alone: read it, then give its path, or
`--set model.trust_remote_code=true`, or move it into your configuration folder. Workers run outside the
folder you are in.

- `quantduel profiles list` shows them all, `quantduel profiles show NAME` one with its defaults.
- `quantduel profiles check FILE` tells what is wrong with a file: line, key, expectation, nearest spelling.
- `--set model.device=cpu --set temperature=0.7` changes a profile for one command; a key without a dot is one
  of `generation`.

YAML is read strictly: unknown keys, duplicate keys, aliases and tags are refused; `no` and `12:30` are text,
`1e-5` is a number. Relative paths are relative to the profile's file; with
`worker.launch` paths are those of the other machine, and written in full.
"""
SECTIONS = (
    ("model", profile.Model),
    ("cache", profile.Cache),
    ("worker", worker_place.Worker),
    ("remote", sources.Remote),
    ("serve", serve.Serve),
    ("prompt", profile.Prompt),
    ("generation", profile.Generation),
)


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for name, struct in SECTIONS:
        parts.append(f"## `{name}`\n\n{python_inspect.getdoc(struct)}\n\n{_table(struct)}")
    parts.append(
        "## `quantization`\n\nLeft out, a checkpoint is loaded as it is stored. See [methods](methods.md).\n"
    )
    for method in methods.METHODS:
        parts.append(_method(method))
    about = python_inspect.getdoc(texts.Calibration)
    parts.append(f"### `calibration` of `gptq` and `awq`\n\n{about}\n\n{_table(texts.Calibration)}")
    shapes = ", ".join(f"`random:{shape}`" for shape in sources.shapes())
    parts.append(f"## Random models\n\n{python_inspect.getdoc(sources.Random)} Known are {shapes}.\n")
    return "\n".join(parts)


def _method(method: type[msgspec.Struct]) -> str:
    text = f"### `method: {method.__struct_config__.tag}`\n\n{python_inspect.getdoc(method)}\n"
    return f"{text}\n{_table(method)}" if method.__struct_fields__ else text


def _table(struct: type[msgspec.Struct]) -> str:
    rows = "\n".join("| " + " | ".join(row) + " |" for row in _rows(struct))
    return f"| key | value | default | |\n|---|---|---|---|\n{rows}\n"


def _rows(struct: type[msgspec.Struct]) -> Iterator[tuple[str, str, str, str]]:
    described = _docstrings(struct)
    declared = inspect.type_info(struct)
    for field in declared.fields:
        required = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        default = (
            "required" if required else _plain(None if field.default is msgspec.NODEFAULT else field.default)
        )
        yield f"`{field.name}`", _type(field.type), default, described.get(field.name, "")


def _docstrings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The string below each field, inherited ones too; msgspec does not keep it, the source does."""
    base = struct.__base__
    found = _docstrings(base) if base is not None and base.__module__.startswith("engine.") else {}
    body = ast.parse(python_inspect.getsource(struct)).body[0].body
    for statement, following in pairwise(body):
        is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and is_text:
            found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


def _type(declared: inspect.Type) -> str:
    match declared:
        case inspect.UnionType(types=types):
            return " or ".join(_type(t) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case inspect.IntType() | inspect.FloatType():
            return _number(declared)
        case inspect.StructType(fields=fields):
            return "mapping of " + ", ".join(f"`{field.name}`" for field in fields)
    return {
        inspect.BoolType: "`true` or `false`",
        inspect.VarTupleType: "a list of texts",
        inspect.DictType: "a mapping",
    }.get(type(declared), "text")


def _number(declared: inspect.IntType | inspect.FloatType) -> str:
    text = "whole number" if isinstance(declared, inspect.IntType) else "number"
    bounds = (("≥", declared.ge), (">", declared.gt), ("≤", declared.le), ("<", declared.lt))
    shown = ", ".join(f"{sign} {bound:,}".replace(",", " ") for sign, bound in bounds if bound is not None)
    return f"{text} {shown}" if shown else text


def _plain(value: object) -> str:
    match value:
        case None | ():
            return "–"
        case bool():
            return f"`{str(value).lower()}`"
        case msgspec.Struct():
            return "see below"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
