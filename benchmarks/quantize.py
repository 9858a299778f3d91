"""Quantizing with QuantDuel against GPTQModel called directly: same model, settings, samples and threads.

    python benchmarks/quantize.py [--model demo] [--method gptq] [--samples 16] [--length 256] [--rounds 3]

Each run is a process of its own; the two take turns, and who begins alternates. `quantize` is that stage
alone, `cpu` its processor time, which tells more where others use the machine; `whole` is reading, quantizing
and writing, and for QuantDuel also the two perplexities and the check that the result loads. AWQ searches its
clipping bounds with another implementation here, hence the ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDES = ("direct", "quantduel")


def main() -> None:
    """Take turns and print the figures."""
    options = _options()
    if options.side:
        print(json.dumps(_SIDES[options.side](options)))
        return
    folder = _model_folder(options.model)
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            runs[side].append(_run(side, folder))
            print(f"round {number + 1}, {side:<9}  {runs[side][-1]}", flush=True)
    for stage in ("quantize", "cpu", "whole"):
        medians = {side: statistics.median(run[stage] for run in runs[side]) for side in SIDES}
        direct_s, ours_s = medians["direct"], medians["quantduel"]
        print(f"{stage}: direct {direct_s:.2f} s, quantduel {ours_s:.2f} s: × {ours_s / direct_s:.3f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="demo", help="demo, random:tiny or a checkpoint's folder")
    parser.add_argument("--method", default="gptq", choices=["rtn", "gptq", "awq"])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _model_folder(model: str) -> Path:
    """The model as a folder in full precision; random weights are written into a temporary one."""
    from engine.config.profiles import of_model
    from engine.worker.checkpoints.fetch import fetch
    from engine.worker.quantize import folders

    source = fetch(of_model(model), lambda _: None)
    if source.kind != "random":
        return source.path
    with folders.source_folder(source, Path(tempfile.mkdtemp())) as made:
        return made.rename(made.with_name("model"))


def _run(side: str, folder: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, *sys.argv, "--model", str(folder), "--side", side]
        done = subprocess.run(
            command, env=os.environ | {"QUANTDUEL_HOME": home}, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _direct(options: argparse.Namespace) -> dict[str, float]:
    """As GPTQModel's own examples do it."""
    import torch

    from engine.worker.checkpoints.fetch import fetch
    from engine.worker.methods import gptqmodel_api
    from engine.worker.quantize import calibrate, gptqmodel_run
    from engine.worker.texts import sets

    profile = _profile(options)
    method, source = profile.quantization, fetch(profile, lambda _: None)
    asked = getattr(method, "calibration", None)
    samples = None
    if asked:
        texts = sets.texts(asked)
        samples = calibrate.samples(asked, texts, source.tokenizer(), options.length).token_ids
    gptqmodel = gptqmodel_api.package()
    settings = gptqmodel_run.config(method, torch.device("cpu"))
    backend = gptqmodel.BACKEND.AWQ_TORCH if options.method == "awq" else gptqmodel.BACKEND.AUTO
    out = Path(os.environ["QUANTDUEL_HOME"])
    os.chdir(out)  # it writes log files into the current folder
    read_s = time.monotonic()
    model = gptqmodel.GPTQModel.load(str(source.path), settings, dtype=source.dtype)
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    model.quantize(samples, batch_size=1, backend=backend)
    quantized_s, cpu_s = time.monotonic(), time.process_time() - started_cpu_s
    model.save(str(out / "result"))
    return _figures(quantized_s - started_s, cpu_s, time.monotonic() - read_s)


def _quantduel(options: argparse.Namespace) -> dict[str, float]:
    from engine.protocol.loading import Staged
    from engine.worker.quantize import ensure

    layers_at: list[float] = []  # processor time at each report of the stage
    rest_at: list[float] = []

    def told(staged: Staged) -> None:
        (layers_at if staged.unit == "layers" else rest_at).append(time.process_time())

    record = ensure.ensure(_profile(options), told).record
    cpu_s = min(at for at in rest_at if at > layers_at[-1]) - layers_at[0]
    return _figures(record.seconds, cpu_s, record.total_seconds)


_SIDES = {"direct": _direct, "quantduel": _quantduel}


def _profile(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    import torch

    from engine.config import profiles
    from engine.session.schedule import physical_cores

    torch.set_num_threads(physical_cores())
    settings = {"quantization.method": options.method, "quantization.group_size": 64, "model.device": "cpu"}
    if options.method != "rtn":
        wish = {"samples": options.samples, "length": options.length}
        settings |= {f"quantization.calibration.{name}": value for name, value in wish.items()}
    return profiles.changed(profiles.of_model(options.model), settings)


def _figures(quantize_s: float, cpu_s: float, whole_s: float) -> dict[str, float]:
    return {"quantize": round(quantize_s, 2), "cpu": round(cpu_s, 2), "whole": round(whole_s, 2)}


if __name__ == "__main__":
    main()
