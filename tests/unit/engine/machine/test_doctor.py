"""The doctor's checks: facts and what fixes them, without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.machine import doctor


def test_a_hub_that_does_not_answer_is_reported_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    hub = next(check for check in doctor.diagnose().checks if check.name == "hub")
    assert hub.state == "note" and "127.0.0.1:1 does not answer" in hub.detail and hub.fix


@pytest.mark.parametrize("token_set", [True, False])
def test_the_hub_s_token_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token_set: bool
) -> None:
    for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    if token_set:
        (tmp_path / "token").write_text("x")
    token = next(check for check in doctor.diagnose().checks if check.name == "hub token")
    assert token.state == ("ok" if token_set else "note")


def test_the_doctor_imports_no_torch() -> None:
    code = "import sys; from engine.machine.doctor import diagnose; diagnose(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_a_missing_package_comes_with_the_command_that_fixes_it() -> None:
    check = doctor._package("no-such-package-at-all", "1.0", "local")
    assert check.state == "missing" and "pip install" in check.fix and "[local]" in check.fix
    assert doctor._package("msgspec", "9999", "local").detail.endswith("needs 9999 or newer")


def test_requirements_are_taken_apart() -> None:
    assert doctor.parse_requirement('torch>=2.8; extra == "local"') == ("torch", "2.8", "local")
    assert doctor.parse_requirement("textual<9,>=8.2") == ("textual", "8.2", "")
    assert doctor.parse_requirement("nvidia-ml-py") == ("nvidia-ml-py", "", "")
    assert doctor.parse_requirement('lm-eval[ifeval]>=0.4; extra == "lm-eval"')[2] == "lm-eval"


def test_a_package_of_two_extras_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["click>=8", *(f"no-such-package; extra == '{extra}'" for extra in ("autoround", "gptq"))]
    monkeypatch.setattr(doctor, "requires", lambda _: wanted)
    found = [check for check in doctor.diagnose().checks if check.area == "packages"]
    assert [check.name for check in found] == ["python", "click", "no-such-package"]
    assert "[gptq]" in found[-1].fix  # the smaller extra
