"""What Triton needs on a machine beside itself."""

import pytest
from torch import nn

from engine.worker.step.cuda import choice


def test_a_compiler_that_is_missing_is_named_and_the_model_keeps_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Linear(2, 2)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(choice.shutil, "which", lambda name: None)
    monkeypatch.setattr(choice.sysconfig, "get_path", lambda name: "/nowhere")
    assert not choice.prepare(model, lambda staged: None)  # type: ignore[arg-type]
    said = choice.failures[model]  # type: ignore[index]
    assert "(gcc) and Python's headers" in said and "-dev" in said
    monkeypatch.setenv("CC", "tcc")
    assert choice.cannot_launch().startswith("Python's headers")
