"""What this machine can and cannot do with QuantDuel: one check a fact, each with the command that fixes it.

Asks package metadata, the driver, the kernel, the caches and the model hub. Never imports torch, so that it
answers in a moment and also where torch is broken.
"""

import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from engine import paths
from engine.config import environments
from engine.config.environments import Environment
from engine.machine import hardware, torch_build
from engine.machine.hardware import Hardware
from engine.machine.packages import install_command
from engine.units import bytes_text

State = Literal["ok", "note", "missing"]
WITHOUT = {"gptq": "no rtn, gptq and awq, nor texts from the hub", "autoround": "no autoround"}
"""What a machine lacks without an extra that it can do without."""
OLDEST_PYTHON = (3, 11)
HUB_TIMEOUT_S = 2.0
DEMO_DISK_BYTES = 1 << 30
DEMO_PRECISION = "its bf16 is unpacked from 4 bits (Q4_1), so losses are counted from there"


@dataclass(frozen=True, slots=True)
class Check:
    """One fact. `missing`: models cannot be run without it; `note`: something to know."""

    area: str
    name: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, and the machine they are about."""

    can_run_models: bool
    checks: tuple[Check, ...]
    hardware: Hardware


def diagnose() -> Diagnosis:
    """Look at everything; about two seconds where the model hub does not answer, else less than one."""
    machine = hardware.detect()
    checks = (
        _python(),
        *_packages(),
        *_devices(machine),
        *_space(machine),
        *_models(),
        *_environments(),
        *_terminal(),
    )
    can_run = all(check.state != "missing" for check in checks)
    return Diagnosis(can_run_models=can_run, checks=checks, hardware=machine)


def _python() -> Check:
    shown = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("packages", "python", "ok", shown)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check("packages", "python", "missing", shown, f"install Python {oldest} or newer")


def _packages() -> Iterator[Check]:
    try:
        wanted = requires("quantduel") or []
    except PackageNotFoundError:
        yield Check("packages", "quantduel", "missing", "not installed", install_command())
        return
    kinds = ("", "local", *WITHOUT)
    asked = [one for text in wanted if (one := parse_requirement(text))[2] in kinds and one[0] != "quantduel"]
    asked.sort(key=lambda one: kinds.index(one[2]))
    told = set[str]()
    for name, oldest, extra in asked:
        if name not in told:  # an extra that has another in it lists that one's packages again
            yield _package(name, oldest, extra)
        told.add(name)


def parse_requirement(text: str) -> tuple[str, str, str]:
    """Name, lowest version and extra of a requirement such as `torch>=2.8; extra == 'local'`."""
    spec, _, marker = text.partition(";")
    name = re.match(r"[\w.-]+", spec)
    oldest = re.search(r">=\s*([\d.]+)", spec)
    extra = re.search(r"extra == ['\"]([\w.-]+)['\"]", marker)
    return name[0] if name else spec, oldest[1] if oldest else "", extra[1] if extra else ""


def _package(name: str, oldest: str, extra: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        if extra in WITHOUT:
            return Check("packages", name, "note", f"not installed: {WITHOUT[extra]}", install_command(extra))
        return Check("packages", name, "missing", "not installed", install_command())
    if _numbers(found) < _numbers(oldest):
        return Check("packages", name, "missing", f"{found}, needs {oldest} or newer", install_command())
    return Check("packages", name, "ok", found)


def _numbers(text: str) -> tuple[int, ...]:
    leading = re.match(r"[\d.]*", text)
    return tuple(int(part) for part in (leading[0] if leading else "").split(".") if part)


def _devices(machine: Hardware) -> Iterator[Check]:
    host = machine.host
    flags = ", ".join(host.flags) or "no instruction set that helps models"
    yield Check("devices", "cpu", "ok", f"{host.name}, {host.cores} cores, {flags}")
    if machine.gpu_problem:
        fix = "see whether `nvidia-smi` works; in a container, start it with --gpus all"
        yield Check("devices", "gpu", "note", f"there is a GPU, but no driver: {machine.gpu_problem}", fix)
    elif machine.driver and not machine.gpus and (hidden := paths.visible_devices()) is not None:
        why = f"CUDA_VISIBLE_DEVICES={','.join(hidden)[:80]} leaves none: models run on the CPU"
        yield Check("devices", "gpu", "note", why, "unset it, or name GPUs as `nvidia-smi -L` does")
    elif not machine.gpus:
        yield Check("devices", "gpu", "note", "no NVIDIA GPU: models run on the CPU")
    for gpu in machine.gpus:
        can = [name for name, able in (("bf16", gpu.has_bf16), ("int8", gpu.has_int8)) if able]
        sizes = f"{bytes_text(gpu.free_bytes)} of {bytes_text(gpu.total_bytes)} free"
        capability = ".".join(map(str, gpu.capability))
        detail = f"{gpu.name}, {sizes}, compute {capability} ({', '.join(can) or 'fp16 only'})"
        yield Check("devices", f"gpu {gpu.index}", "ok", detail)
    if machine.driver:
        yield Check("devices", "driver", "ok", machine.driver)
    if machine.unused:
        yield Check("devices", "torch", "note", f"no GPU is used: {machine.unused.why}", machine.unused.fix)
    elif build := torch_build.built_for():
        yield Check("devices", "torch", "ok", f"built for {build}")


def _space(machine: Hardware) -> Iterator[Check]:
    host = machine.host
    limited = " (the container's limit)" if host.limited else ""
    free = f"{bytes_text(host.available_bytes)} of {bytes_text(host.total_bytes)} available{limited}"
    yield Check("memory and disk", "memory", "ok", free)
    for name, folder in (("cache", paths.cache()), ("hub cache", paths.hub_cache())):
        left = shutil.disk_usage(_existing(folder)).free
        state: State = "ok" if left > DEMO_DISK_BYTES else "note"
        fix = (
            ""
            if state == "ok"
            else "free some disk space, or set QUANTDUEL_HOME (HF_HOME for the hub's) to another disk"
        )
        yield Check("memory and disk", name, state, f"{bytes_text(left)} free in {folder}", fix)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _models() -> Iterator[Check]:
    if any((paths.cache() / "demo").glob("*/config.json")):
        yield Check("models", "demo", "ok", f"fetched and converted; {DEMO_PRECISION}")
    else:
        yield Check("models", "demo", "note", f"not fetched yet, 89 MiB through pip; {DEMO_PRECISION}")
    yield _hub()
    if paths.hub_token_is_set():
        yield Check("models", "hub token", "ok", "found")
    else:
        yield Check("models", "hub token", "note", "none: gated models cannot be fetched", "hf auth login")


def _environments() -> Iterator[Check]:
    """Of every shipped list whose environment is there, and of those that are not in one line."""
    there = [found for found in environments.here() if found.name in environments.SHIPPED]
    for found in there:
        yield _environment(found)
    absent = sorted(environments.SHIPPED.keys() - {found.name for found in there})
    if absent:
        detail = f"not made: {', '.join(absent)}, for the original code of AWQ and GPTQ"
        yield Check("environments", "original code", "note", detail, f"quantduel env create {absent[0]}")


def _environment(found: Environment) -> Check:
    versions = ", ".join(f"{package} {found.version(package)}" for package in ("torch", "transformers"))
    again = f"quantduel env create --force {found.name}"
    if not found.is_usable:
        return Check("environments", found.name, "note", "not whole", again)
    if differences := environments.wrong(found):
        return Check("environments", found.name, "note", differences[0], again)
    return Check("environments", found.name, "ok", versions)


def _hub() -> Check:
    address = paths.hub_endpoint()
    if paths.hub_is_offline():
        return Check("models", "hub", "note", "offline by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE")
    if problem := _unreachable(address):
        fix = "models in the cache and in folders work without it; behind a proxy set HTTPS_PROXY"
        return Check("models", "hub", "note", f"{address} does not answer: {problem}", fix)
    return Check("models", "hub", "ok", f"{address} answers")


def _unreachable(address: str) -> str:
    """Why an address gives no answer; empty where it does. Asked in a thread: DNS knows no timeout."""
    problems: list[str] = []

    def ask() -> None:
        import httpx2

        try:
            httpx2.head(address, timeout=HUB_TIMEOUT_S, follow_redirects=False)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            problems.append(str(error) or type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    if thread.is_alive():
        return f"no answer within {HUB_TIMEOUT_S:g} s"
    return problems[0] if problems else ""


def _terminal() -> Iterator[Check]:
    terminal = paths.terminal()
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding == "utf8":
        yield Check("terminal", "encoding", "ok", "UTF-8")
    else:
        yield Check("terminal", "encoding", "note", f"{encoding}, not UTF-8", "export LC_ALL=C.UTF-8")
    if terminal.is_plain:
        yield Check("terminal", "TERM", "note", terminal.name or "not set", "export TERM=xterm-256color")
    else:
        colours = "true colour" if terminal.true_colour else "256 colours or fewer"
        yield Check("terminal", "TERM", "ok", f"{terminal.name}, {colours}")
    if terminal.inside_tmux:
        fix = "tmux set -s set-clipboard on"
        yield Check("terminal", "tmux", "note", "copying needs tmux to pass on the clipboard", fix)
    if terminal.over_ssh:
        yield Check(
            "terminal", "ssh", "note", "copying needs a terminal that knows OSC 52, such as kitty or WezTerm"
        )
