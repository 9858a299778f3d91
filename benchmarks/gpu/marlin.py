"""Has GPTQModel's Marlin kernels for bfloat16 compiled, by the engine's own way, and says how that went.

The kernels that 4-bit GPTQ and AWQ weights get should be `gptq_marlin` and `awq_marlin`, without notes.
"""

import time

import torch

from engine.config.layouts import Layout
from engine.protocol.loading import Staged
from engine.session.progress import stage_text
from engine.worker.methods import gptqmodel_api, kernels


def main() -> None:
    """Compile, or find compiled."""
    began = time.monotonic()
    gptqmodel_api.package()
    for method in ("gptq", "awq"):
        layout = Layout(method=method, bits=4, group_size=128, sym=method == "gptq")
        print(next(iter(kernels.candidates(layout, torch.device("cuda", 0), torch.bfloat16, told))))
    print(f"Marlin for bfloat16: {time.monotonic() - began:.0f} s")


def told(staged: Staged) -> None:
    """What the load would show."""
    print(stage_text(staged), flush=True)


if __name__ == "__main__":
    main()
