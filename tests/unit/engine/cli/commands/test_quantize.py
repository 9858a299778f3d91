"""`quantduel quantize`: bad input."""

import pytest

from engine import cli

NF4 = ["--set", "quantization.method=bitsandbytes", "--set", "model.device=cpu"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["quantize", "random-tiny-bf16"], "random-tiny-bf16: method full makes no checkpoint"),
        (["quantize", "random:tiny"], "method stored makes no checkpoint"),
        (["quantize", "random:tiny", *NF4, "--out", "."], "exists already"),
        (
            ["quantize", "random:tiny", *NF4, "--out", ".", "--force"],
            "is not a checkpoint that QuantDuel wrote",
        ),
        (["store", "show", "abc"], "no checkpoint in the store named 'abc'"),
        (["store", "path", ""], "no checkpoint in the store named ''"),
        (["store", "prune", "abc", "--all"], "expected KEYS or --all"),
    ],
)
def test_bad_input_is_reported_before_anything_starts(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(args) == 2
    assert said in capsys.readouterr().err
