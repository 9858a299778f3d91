"""A server's address as a source, and the section that says how it is asked."""

from pathlib import Path

import pytest

from engine.config import profile, profiles
from engine.config.sources import Served, parse_source
from engine.errors import InputError, ProfileError

URL = "http://127.0.0.1:8000/v1"


def read(tmp_path: Path, text: str) -> profile.Profile:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    return profiles.read(file)


@pytest.mark.parametrize(
    ("url", "root", "address", "is_here"),
    [
        (URL, "http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000", True),
        ("https://host/llm/v1", "https://host/llm", "host", False),
        ("http://localhost:1/v1", "http://localhost:1", "localhost:1", True),
        ("HTTP://10.0.0.7:8000/v1", "HTTP://10.0.0.7:8000", "10.0.0.7:8000", False),
    ],
)
def test_an_address_is_a_source(url: str, root: str, address: str, is_here: bool) -> None:
    found = parse_source(url)
    assert isinstance(found, Served)
    assert (found.root, found.address, found.is_here) == (root, address, is_here)
    assert profiles.find(url).name == address and profiles.find(url).is_served


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://user:secret@host/v1",
        "http://secret@host/v1",
        "http://host:secret/v1",
        "http://host/v1?key=secret",
        "http://host/v1#secret",
        "http://ho st/secret",
    ],
)
def test_an_address_that_is_none_is_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as error:
        parse_source(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("quantization: {method: bitsandbytes}", "quantization.method"),
        ("prompt: {template: own.jinja}", "prompt.template"),
        ("remote: {key_env: sk-secret}", "remote"),
        ("remote: {key_env: hf_secret}", "remote"),
        ("remote: {engine: tgi}", "remote.engine"),
    ],
)
def test_what_a_server_cannot_do_is_refused_in_a_profile(more: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("x")
    with pytest.raises(ProfileError) as error:
        read(tmp_path, f"model: {{source: '{URL}'}}\n{more}\n")
    assert error.value.key.startswith(key) and "secret" not in str(error.value)


def test_remote_is_for_servers(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="remote"):
        read(tmp_path, "model: {source: demo}\nremote: {model: a}\n")


def test_a_profile_that_sends_a_key_is_not_found_by_its_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    text = f"model: {{source: '{URL}'}}\nremote: {{key_env: AWS_SECRET_ACCESS_KEY}}\n"
    (tmp_path / "profiles" / "theirs.yaml").write_text(text)
    with pytest.raises(ProfileError, match="does not send a key"):
        profiles.find("theirs")
    assert profiles.find("theirs", allowed=["remote.key_env"]).remote.key_env == "AWS_SECRET_ACCESS_KEY"
    assert profiles.find("profiles/theirs.yaml").is_served


def test_llama_cpp_reads_gguf_files_on_the_cpu(tmp_path: Path) -> None:
    method = "quantization: {method: llama_cpp}"
    assert not read(tmp_path, f"model: {{source: demo}}\n{method}\n").needs_torch
    with pytest.raises(ProfileError, match="llama_cpp reads"):
        read(tmp_path, f"model: {{source: org/name}}\n{method}\n")
    with pytest.raises(ProfileError, match="computes on the CPU"):
        read(tmp_path, f"model: {{source: demo, device: cuda}}\n{method}\n")
