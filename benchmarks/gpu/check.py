"""Every check of a machine with a GPU: a process each, with a time limit, a line each, and a table last.

    bash benchmarks/gpu/check.sh [--list | STEP ...]

Owns what is run, in which order and for how long. A step that fails stops nothing; exit 1 where any step
failed, took too long or found no time left. `$OUT` has summary.txt, results.json and steps.log (all that was
said). Knows what a step says last, not what it means.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import IO, Any

from benchmarks.gpu.settings import DEVICE, HAS_GPU, MADE, OUT, SECONDS, SHAPE, STARTED

SLACK = 1 if HAS_GPU else 4  # a CPU may be anybody's
LEAST_S = 8  # no step is begun with less time left
END_S = 5
LOGGED = 200_000  # characters of a step
PROMPT = "Tell a long story about a lighthouse keeper and the sea."
NF4 = OUT / "nf4.yaml"
NF4_PROFILE = f"""\
model: {{source: 'random:{SHAPE}', dtype: bfloat16}}
quantization: {{method: bitsandbytes, bits: 4}}
"""
PAIR = (f"random:{SHAPE}", str(NF4))
ON_DEVICE = ("--set", f"model.device={DEVICE}")
INTERPRETED = {} if HAS_GPU else {"TRITON_INTERPRET": "1"}
SPEEDS = ("bf16", "nf4", "gptq4", "awq4", "int8")


@dataclass(frozen=True, slots=True)
class Step:
    """A command of Python's, the most seconds it may take, and what to tell of its output."""

    name: str
    command: tuple[str, ...]
    limit_s: float
    tell: Callable[[str], str]
    needs_marlin: bool = False
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a step."""

    step: str
    state: str
    seconds: float
    said: str


def last(said: str) -> str:
    """Its last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1][:400] if lines else ""


def all_of(said: str) -> str:
    """Its last forty lines."""
    return "\n" + "\n".join(said.strip().splitlines()[-40:])


def doctor(said: str) -> str:
    """What is not well."""
    found = json.loads(said)
    bad = [f"{each['name']}: {each['detail']}" for each in found["checks"] if each["state"] != "ok"]
    return f"can run: {found.get('can_run_models')}; not ok: {bad}"


def duel(said: str) -> str:
    """Both sides' figures, a line each."""
    found = json.loads(said)
    parting = f"identical {found['input']}; divergence {found['first_divergence']}"
    return "\n".join([parting, *map(_side, found["sides"])])


def _side(side: dict[str, Any]) -> str:
    kept = ("label", "decode", "load_s", "metrics", "bandwidth", "error", "notes")
    model = side.get("model") or {}
    return json.dumps(
        {key: side.get(key) for key in kept} | {key: model.get(key) for key in ("kernel", "step")}
    )


def returns(said: str) -> str:
    """Whether the first side's memory was back before the second was loaded."""
    return json.dumps(json.loads(said)["memory_returns"])


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.gpu.{name}", *arguments)


def _quantduel(*arguments: str) -> tuple[str, ...]:
    return ("-m", "tui", *arguments)


def _tests(name: str, limit_s: float, *paths: str, needs_marlin: bool = False) -> Step:
    """A line a test: one that hangs is seen."""
    command = ("-m", "pytest", "-v", "-rP", "-p", "no:cacheprovider", "--timeout", "120", *paths)
    return Step(name, command, limit_s, last, needs_marlin, {"QUANTDUEL_TEST_GPU": "1"})


def _own_kernels() -> list[Step]:
    """The engine's kernels on the device, against float64; many at a time are compiled where that can be."""
    files = (f"tests/worker/step/cuda/{name}.py" for name in ("kernels", "many_rows"))
    at_once = ("-n", "8") if find_spec("xdist") else ()
    return [_tests("kernels", 120, *at_once, *files)] if HAS_GPU else []


def _own_models() -> list[Step]:
    """Whole models with them."""
    return [_tests("tests own", 120, "tests/gpu/test_own_kernels.py")] if HAS_GPU else []


def _speeds(*names: str) -> list[Step]:
    """By default, and with the engine's own kernels: a process each, so that figures of memory are its."""
    steps = []
    for name in names if HAS_GPU else ():
        command, is_packed = _module("speed", name), name in {"gptq4", "awq4"}
        own = {"QUANTDUEL_STEP": "compiled"}
        steps += [
            Step(f"speed {name}", command, 75, last, is_packed),
            Step(f"speed {name}, own", command, 150, last, env=own),
        ]
    return steps


def _duel(name: str, tokens: int, tell: Callable[[str], str], *options: str) -> Step:
    asked = ("-p", PROMPT, "--max-new-tokens", str(tokens), "--json", *options, *ON_DEVICE)
    return Step(name, _quantduel("duel", *PAIR, *asked), 90, tell)


def _with_cudnn() -> list[Step]:
    """bf16 with the attention that torch prefers on Hopper, and that a load switches off."""
    asked = {"KIT_CUDNN": "1"}
    return [Step("speed bf16, cuDNN", _module("speed", "bf16"), 75, last, env=asked)] if HAS_GPU else []


def _by_one_process() -> list[Step]:
    """On a CPU all methods' speeds."""
    return [] if HAS_GPU else [Step("speed", _module("speed", *SPEEDS), 75, all_of)]


STEPS = (
    Step("env", _module("env"), 60, last),
    *_own_kernels(),
    _tests("tests graphs", 90, "tests/gpu/test_graphs.py"),
    *_speeds("bf16", "nf4"),
    Step("made", _module("packed", SHAPE, str(MADE)), 60, last),
    *_speeds("gptq4"),
    *_own_models(),
    _duel("duel", 96, duel),
    _tests("tests packed", 120, "tests/gpu/test_packed.py", needs_marlin=True),
    *_speeds("int8"),
    *_with_cudnn(),
    _tests("tests devices", 150, "tests/gpu/test_devices.py", "tests/gpu/test_fidelity.py"),
    Step("products", _module("products"), 100, all_of, needs_marlin=True, env=INTERPRETED),
    Step("rows", _module("rows"), 60, all_of, env=INTERPRETED),
    *_speeds("awq4"),
    *_by_one_process(),
    _duel("swap", 8, returns, "--schedule", "swap"),
    Step("plan check", _quantduel("plan", "--check", *PAIR, "--context", "1024", *ON_DEVICE), 80, all_of),
    Step(
        "bench",
        _quantduel("bench", *PAIR, "--contexts", "128,1024", "--steps", "48", "--repeat", "2", *ON_DEVICE),
        90,
        all_of,
    ),
    Step("doctor", _quantduel("doctor", "--json"), 40, doctor),
)


def main(wanted: Sequence[str]) -> int:
    """Run the steps whose names begin with one of these, or all."""
    if "--list" in wanted:
        print(*(step.name for step in STEPS), sep="\n")
        return 0
    if unknown := [name for name in wanted if not any(step.name.startswith(name) for step in STEPS)]:
        print(f"no step begins with {', '.join(map(repr, unknown))}: --list names them", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then, too
    OUT.mkdir(parents=True, exist_ok=True)
    NF4.write_text(NF4_PROFILE)
    steps = [step for step in STEPS if not wanted or step.name.startswith(tuple(wanted))]
    marlin = compiling() if HAS_GPU and any(step.needs_marlin for step in steps) else None
    try:
        rows = all_done(steps, marlin)
    finally:
        if marlin is not None and marlin.poll() is None:
            os.killpg(marlin.pid, signal.SIGKILL)
    print(table(rows))
    return int(any(row.state != "ok" for row in rows))


def all_done(steps: Sequence[Step], marlin: subprocess.Popen[bytes] | None) -> list[Row]:
    """One after the other; those that need Marlin's kernels wait for them, within limits."""
    rows: list[Row] = []
    with (OUT / "steps.log").open("a") as log:
        for step in steps:
            if step.needs_marlin and marlin is not None:
                wait(marlin, min(60, left_s() - 60))  # kernels, and the processors for timings
            rows.append(done(step, log))
            keep(rows)
    return rows


def compiling() -> subprocess.Popen[bytes]:
    """Marlin, meanwhile: that takes minutes."""
    with (OUT / "marlin.log").open("wb") as log:
        return _started(_module("marlin"), log, log, {"MAX_JOBS": "12"})


def _started(
    command: tuple[str, ...], out: int | IO[bytes], err: int | IO[bytes], env: dict[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=out,
        stderr=err,
        env={**os.environ, **env},
        start_new_session=True,
    )


def wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """For its end, or so long."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(0.1, seconds))


def left_s() -> float:
    """Until the whole has to end."""
    return SECONDS - (time.time() - STARTED)


def done(step: Step, log: IO[str]) -> Row:
    """The step's row, whatever becomes of it."""
    limit_s, began = min(SLACK * step.limit_s, left_s()), time.monotonic()
    if limit_s < LEAST_S:
        return Row(step.name, "skipped", 0, "no time left")
    print(f"== {step.name}, up to {limit_s:.0f} s", flush=True)
    said, talk, state = ran(step, limit_s)
    took_s = round(time.monotonic() - began, 1)
    log.write(f"\n##### {step.name}: {state}, {took_s} s\n$ python {' '.join(step.command)}\n")
    log.write(f"{talk[-LOGGED:]}\n{said[-LOGGED:]}\n")
    log.flush()
    told = told_of(step, said) if state == "ok" else f"{last(said)} {last(talk)}"
    print(f"   {state}, {took_s} s: {told}", flush=True)
    return Row(step.name, state, took_s, told)


def told_of(step: Step, said: str) -> str:
    """What it says; its last line where it says something else than was expected."""
    try:
        return step.tell(said)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return f"not understood ({error!r}): {last(said)}"


def ran(step: Step, limit_s: float) -> tuple[str, str, str]:
    """What it said on stdout and on stderr, and how it ended. What it started ends with it."""
    process = _started(step.command, subprocess.PIPE, subprocess.PIPE, step.env)
    try:
        said, talk = process.communicate(timeout=limit_s)
        state = "ok" if process.returncode == 0 else f"exit {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, talk, state = *_rest(process), "too slow"
    except BaseException:  # this run is ended: by Ctrl-C, which a step does not hear, or a signal
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return said.decode(errors="replace"), talk.decode(errors="replace"), state


def _rest(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a process that was ended had said; not waited for where another that it started holds the line."""
    try:
        return process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired as error:
        return error.stdout or b"", error.stderr or b""


def keep(rows: Sequence[Row]) -> None:
    """So far, where they are found if this ends early."""
    (OUT / "summary.txt").write_text(table(rows))
    (OUT / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


def table(rows: Sequence[Row]) -> str:
    """A line a step."""
    lines = [
        f"{row.step:18} {row.state:9} {row.seconds:6} s  {' '.join(row.said.split())[:230]}" for row in rows
    ]
    return "\n".join(["", "=== summary", *lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
