"""The section `serve`: what contradicts itself in it, and what of a profile it does not go with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import profiles
from engine.config.profile import Profile
from engine.errors import ProfileError

Maker = Callable[..., Profile]
START = "model: {source: org/name}\nserve: {environment: vllm, %s}"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("python: /usr/bin/python", "either environment or python"),
        ("nodes: 2, tensor_parallel: 2", "master: goes with nodes"),
        ("master: gpu1", "master: goes with nodes"),
        (
            "nodes: 2, master: gpu1, tensor_parallel: 3",
            "nodes: tensor_parallel × pipeline_parallel is 3, which 2",
        ),
        ("nodes: 2, master: 'gpu1 -x', tensor_parallel: 2", "master: expected this machine's name"),
        ("nodes: 2, master: gpu1, tensor_parallel: 2, ray: auto", "ray: stands next to nodes"),
        ("ray: gpu1", "ray: expected auto, or the address"),
        ("ray: 'gpu1:0'", "ray: expected auto, or the address"),
        ("tensor_parallel: 0", "tensor_parallel"),
        ("engine: vlm", "engine"),
        ("tensor_paralel: 2", "tensor_parallel"),
        ("args: [--port, '80']", "serve.args: --port is not among the arguments"),
        ("args: [--tensor_parallel_size=2]", "--tensor_parallel_size is not among the arguments"),
        ("args: ['-n2']", "-n2 is not among the arguments"),
        ("args: [--api-key, secret]", "--api-key is not among the arguments"),
    ],
)
def test_what_contradicts_itself_is_refused(keys: str, said: str, make_profile: Maker) -> None:
    with pytest.raises(ProfileError) as raised:
        make_profile("x", START % keys)
    assert said in f"{raised.value} {raised.value.hint}" and "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantization: {method: bitsandbytes}", "vLLM does not read bitsandbytes"),
        ("quantization: {method: llama_cpp}", "vLLM does not read llama_cpp"),
        ("model: {source: /x/y.gguf}", "vLLM does not read gguf"),
        ("model: {source: 'random:tiny'}", "random weights are no files"),
        ("model: {source: 'http://gpu2:8000/v1'}", "model.source is the address of one that runs"),
        ("model: {source: org/name, device: split}", "by serve.tensor_parallel"),
        ("worker: {environment: other}", "in serve's own Python"),
        ("prompt: {template: x.jinja}", "a server fills its own template"),
        ("remote: {model: x}", "is for a server, and model.source is no address"),
    ],
)
def test_what_does_not_go_together_is_refused(text: str, said: str, make_profile: Maker) -> None:
    model = "" if text.startswith("model") else "model: {source: org/name}\n"
    with pytest.raises(ProfileError) as raised:
        make_profile("x", f"{model}{text}\nserve: {{environment: vllm}}")
    assert said in str(raised.value)


def test_one_gpu_by_number_is_not_several(make_profile: Maker) -> None:
    text = "model: {source: org/name, device: 'cuda:1'}\nserve: {environment: vllm, pipeline_parallel: 2}"
    with pytest.raises(ProfileError, match="names one GPU, and serve takes 2"):
        make_profile("x", text)


def test_the_python_is_seen_from_the_profile(make_profile: Maker, tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    found = make_profile("x", "model: {source: org/name}\nserve: {python: ./python}")
    assert found.serve is not None and found.serve.python == str(tmp_path / "python")
    assert not found.needs_torch and found.runs_in.is_own and found.label == "as stored vLLM"
    with pytest.raises(ProfileError, match=r"serve\.python: there is no such file"):
        make_profile("y", "model: {source: org/name}\nserve: {python: ./nowhere}")


def test_a_server_is_not_started_for_a_name_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "strange.yaml").write_text(START % "tensor_parallel: 1")
    with pytest.raises(ProfileError, match="does not start a server by its name alone"):
        profiles.find("strange")
    assert profiles.find("strange", allowed=["serve.engine"]).serve
