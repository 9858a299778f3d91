"""`quantduel eval`: bad input."""

from pathlib import Path

import pytest

from engine import cli
from engine.config.profiles import find
from engine.errors import InputError
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.jobs.profiles import distinct

TINY = "random-tiny-bf16"


WINDOW = 64


def settings(*names: str) -> Settings:
    profiles = distinct([find(name) for name in names])
    return Settings(profiles=profiles, window=WINDOW, tokens=256, decode_steps=0)


def test_a_reference_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["eval", TINY]) == 2
    assert "at least one candidate" in capsys.readouterr().err
    with pytest.raises(InputError):
        Evaluation(settings(TINY))
    assert cli.run(["eval", "", TINY]) == 2
    assert "not an empty text" in capsys.readouterr().err
    assert cli.run(["eval", TINY, TINY, "--stride", "600"]) == 2
    assert "expected at most 512" in capsys.readouterr().err
    assert cli.run(["eval", TINY, TINY, "--by-layer", "--alone"]) == 2
    assert "--by-layer loads two models at once" in capsys.readouterr().err


def test_a_text_that_cannot_be_read_is_reported_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "TEXT.TXT").write_bytes(b"caf\xe9")
    assert cli.run(["eval", "no/model", "no/model", "--text", str(file)]) == 2
    assert capsys.readouterr().err == f"quantduel: the text file {file}:1: is not UTF-8 text\n"


def test_no_file_of_the_command_is_written_over_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (text := tmp_path / "text.txt").write_text("A text. " * 99)
    (sets := tmp_path / "mine.jsonl").write_text('{"prompt": "2 + 2 =", "exact": "4"}')
    out, calibration = str(tmp_path / "out.json"), f"quantization.calibration.dataset={text}"
    for command in (
        ["eval", TINY, TINY, "--text", str(text), "--out", str(text)],
        ["eval", TINY, TINY, "--text", str(text), "--junit", str(text)],
        ["eval", TINY, TINY, "--out", out, "--junit", out],
        ["pick", TINY, "--text", str(text), "--out", str(text)],
        ["test", TINY, TINY, "--set", str(sets), "--out", str(sets)],
        ["test", TINY, TINY, "--set", str(sets), "--junit", str(sets)],
        ["quantize", "smollm2-gptq4", "--set", calibration, "--report", str(text)],
    ):
        assert cli.run([*command, "--force"]) == 2
        assert "reads or writes it already" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [["--max-kld", "nan"], ["--max-kld", "-1"], ["--min-same-top", "101"]])
def test_a_limit_that_is_none_is_refused(limit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["eval", TINY, TINY, *limit]) == 2
    assert limit[0] in capsys.readouterr().err
