"""Calibration text: where it comes from, and how it is cut and packed into samples."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from transformers import PreTrainedTokenizerBase

from engine.config import text_files
from engine.config.texts import PYTHON_DOCS, Calibration
from engine.errors import InputError, LoadError
from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.quantize import calibrate
from engine.worker.texts import sets
from engine.worker.texts.sets import Texts

WINDOW = 256


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """One token a byte, and a window of 256."""
    return random_tokenizer(512, WINDOW)


def samples(tokenizer: PreTrainedTokenizerBase, text: str, **options: int) -> calibrate.Samples:
    asked = Calibration(dataset=(text,), **options)
    return calibrate.samples(asked, sets.texts(asked), tokenizer, WINDOW)


def test_samples_are_packed_full_and_nothing_is_skipped(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "The quick brown fox. " * 30
    found = samples(tokenizer, text, samples=100, length=64)
    begin = calibrate.beginning(tokenizer)
    body = [token for sample in found.token_ids for token in sample[len(begin) :]]
    assert all(len(sample) == 64 for sample in found.token_ids[:-1])
    assert all(sample[: len(begin)] == begin for sample in found.token_ids)
    assert tokenizer.decode(body).rstrip() == text.rstrip()
    assert found.tokens == sum(map(len, found.token_ids)) < found.requested == 6400


def test_where_all_are_to_be_of_one_length_a_shorter_last_one_is_left_out(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    found = samples(tokenizer, "The quick brown fox. " * 30, samples=100, length=64)
    equal = calibrate.of_equal_length(found)
    assert equal.token_ids == found.token_ids[:-1] and equal.requested == found.requested
    only = samples(tokenizer, "fox", samples=1, length=64)
    assert calibrate.of_equal_length(only) == only


def test_no_more_than_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    found = samples(tokenizer, "word " * 1000, samples=3, length=32)
    assert [len(sample) for sample in found.token_ids] == [32, 32, 32] and found.tokens == found.requested


def test_the_tokenizer_never_sees_more_than_the_window(
    tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def watched(text: str, **options: bool) -> object:
        encoded = tokenizer(text, **options)
        seen.append(len(encoded["input_ids"]))
        return encoded

    caplog.set_level(logging.DEBUG)
    texts = ["wide " * 5000, "x" * 5000, "é" * 500]
    ids = list(calibrate.token_stream(texts, "\n\n", watched, WINDOW))  # type: ignore[arg-type]
    assert max(seen) <= WINDOW < len(ids)
    assert "longer than the specified maximum" not in caplog.text
    assert tokenizer.decode(ids) == "\n\n".join(texts) + "\n\n"


def test_the_seed_orders_the_texts(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = Texts([f"text number {number}. " for number in range(50)])
    asked = [Calibration(dataset=("x",), samples=4, length=64, seed=seed) for seed in (1, 1, 2)]
    found = [calibrate.samples(one, texts, tokenizer, WINDOW).sha256 for one in asked]
    assert found[0] == found[1] != found[2]


def test_a_length_beyond_the_window_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(
        LoadError, match=r"calibration.length is 512, but the model's context window has 256 tokens"
    ):
        samples(tokenizer, "Hello.", length=512)


def test_text_without_tokens_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(LoadError, match="has no tokens"):
        calibrate.samples(Calibration(dataset=("x",), length=64), Texts([]), tokenizer, WINDOW)


def test_the_note_tells_the_tokens_and_warns_of_too_few(tokenizer: PreTrainedTokenizerBase) -> None:
    few = samples(tokenizer, "One sentence.", samples=1, length=64)
    asked = Calibration(dataset=("One sentence.",), samples=1, length=64)
    warned = calibrate.note(few, asked, widest=1536)
    assert warned == (
        f"calibrated with {few.tokens} tokens of 1 text, fewer than the widest layer has inputs (1536): "
        "the result may fit this text and do worse on others"
    )
    assert calibrate.note(few, asked, widest=8).endswith(f"of 1 text; {few.requested} were requested")


def test_python_docs_are_there_and_the_held_out_part_is_kept_apart() -> None:
    used = sets.texts(Calibration(dataset=PYTHON_DOCS)).texts
    held_out = sets.python_docs(held_out=True)
    assert sum(map(len, used)) > 300_000 and sum(map(len, held_out)) > 20_000
    assert not set(used) & set(held_out)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"texts.{kind}"
    if kind == "txt":
        file.write_text("One.\nTwo.", encoding="utf-8")
    elif kind == "jsonl":
        chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
        file.write_text("\n".join(map(json.dumps, ({"text": "One."}, "Two.", {"text": " "}, chat))) + "\n")
    else:
        parquet.write_table(pyarrow.table({"text": ["One.", None, "Two."]}), file)
    asked = Calibration(dataset=str(file))
    expected = {"txt": ["One.\nTwo."], "jsonl": ["One.", "Two.", "Hi\nHello"], "parquet": ["One.", "Two."]}
    assert list(sets.texts(asked).texts) == expected[kind]
    before = sets.sha256(asked)
    file.write_bytes(file.read_bytes() + b" ")
    assert len(before) == 64 and sets.sha256(asked) != before


def jsonl(*rows: object) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def chat(*contents: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


def test_parts_are_joined_and_what_was_not_said_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "CHATS.JSONL"
    call = {
        "messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "4"}]
    }
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    file.write_bytes(b"\xef\xbb\xbf" + jsonl(chat(parts, None, "three"), call, "a\u2028b") + b"\r\n")
    assert text_files.texts(file) == ["one two\nthree", "4", "a\u2028b"]
    assert Calibration(dataset=str(file)).file == file


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.txt", None, "none.txt: no such file"),
        ("empty.txt", b" \n", "has no text in it"),
        ("latin.txt", b"caf\xe9", "latin.txt:1: is not UTF-8 text"),
        ("utf16.jsonl", '"text"'.encode("utf-16"), "is UTF-16, not UTF-8 text"),
        ("rows.jsonl", b'{"text": "a"}\n{"txet": "b"}\n', "line 2 is neither text nor a row with `text`"),
        ("broken.jsonl", b'"a"\n{b}\n', "line 2 is not JSON: .*, column 2"),
        ("deep.jsonl", b"[" * 100_000, "cannot be read: (maximum recursion|Stack overflow)"),
        ("lone.jsonl", b'"\\ud800"', "line 1 has a lone surrogate"),
        ("image.jsonl", jsonl(chat([{"type": "image_url", "text": "x"}])), "Invalid enum value 'image_url'"),
        ("number.jsonl", jsonl("a", chat(5)), "line 2, messages: .* got `int`.*: expected text"),
        ("turns.jsonl", jsonl({"messages": ["x"]}), "line 1, messages: Expected `object`, got `str`"),
        ("broken.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        sets.texts(Calibration(dataset=str(tmp_path / name)))


@pytest.mark.parametrize("column", [[1, 2], [0.5], [["a"]], [b"bytes"]])
def test_a_parquet_column_must_hold_text(tmp_path: Path, column: list[object]) -> None:
    file = tmp_path / "numbers.parquet"
    parquet.write_table(pyarrow.table({"text": column}), file)
    with pytest.raises(InputError, match=r"column `text` holds \S+.*, not text"):
        text_files.texts(file)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet"])
def test_a_pipe_is_no_text_file(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(file := tmp_path / f"pipe.{suffix}")
    asked = Calibration(dataset=str(file))
    for read in (sets.texts, sets.sha256):
        with pytest.raises(InputError, match="is a pipe, not a file"):
            read(asked)


HUB_SET = """
import sys
from engine.config.texts import Calibration
from engine.errors import InputError, LoadError
from engine.worker.texts import sets
try:
    sets.texts(Calibration(dataset=sys.argv[1]))
except LoadError as error:
    print(error.message); print(error.hint)
"""


def test_a_hub_set_that_is_not_here_is_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    done = subprocess.run(
        [sys.executable, "-c", HUB_SET, "wikitext2"],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "the calibration set wikitext2 is not on this disk, and the model hub is switched off",
        "`python-docs` needs no network",
    ]
