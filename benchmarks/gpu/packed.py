"""Checkpoints of random 4-bit weights in GPTQ's and AWQ's layouts, made in seconds.

    python -m benchmarks.gpu.packed SHAPE INTO [GROUP]

Kernels, sizes and speeds are those of real ones; quantizing 8 billion parameters would take too long. The
layouts are AutoGPTQ's (zero points one too small) and AutoAWQ's (columns interleaved within a word).
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from engine.config.sources import SHAPES
from engine.worker.checkpoints.random_tokenizer import random_tokenizer

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # the column of each nibble, from the lowest
SMALL = 1 << 22  # weights of a matrix whose dequantized values are kept

LayoutName = Literal["gptq", "awq"]
SAID = {
    "gptq": {"checkpoint_format": "gptq", "sym": True, "desc_act": False},
    "awq": {"checkpoint_format": "gemm", "sym": False, "zero_point": True, "version": "gemm"},
}


@dataclass(frozen=True, slots=True)
class Layer:
    """Random 4-bit weights of a matrix [rows, columns] with a scale and a zero point a group."""

    values: Tensor  # [columns, rows], 0…15
    zeros: Tensor  # [groups, rows], 0…15
    scales: Tensor  # [groups, rows], float16
    group: int

    def packed(self, layout: LayoutName) -> dict[str, Tensor]:
        """Its tensors by name, in 32-bit words."""
        if layout == "awq":
            words = {
                "qweight": in_words(self.values, 1, AWQ_ORDER),
                "qzeros": in_words(self.zeros, 1, AWQ_ORDER),
            }
        else:
            order = torch.arange(len(self.values), device=self.values.device) // self.group
            words = {
                "qweight": in_words(self.values, 0),
                "qzeros": in_words(self.zeros - 1, 1),
                "g_idx": order.to(torch.int32),
            }
        return {name: tensor.cpu() for name, tensor in {**words, "scales": self.scales}.items()}

    def dequantized(self) -> Tensor:
        """The weights [rows, columns] in float32."""
        zeros, scales = (part.repeat_interleave(self.group, 0).float() for part in (self.zeros, self.scales))
        return ((self.values.float() - zeros) * scales).T.contiguous().cpu()


def in_words(values: Tensor, dim: int, order: tuple[int, ...] = tuple(range(8))) -> Tensor:
    """Eight values 0…15 along `dim` in a 32-bit word each."""
    eights = values.movedim(dim, -1).unflatten(-1, (-1, 8)).to(torch.int64)
    word = sum(eights[..., column] << (4 * nibble) for nibble, column in enumerate(order))
    return torch.where(word >= 1 << 31, word - (1 << 32), word).to(torch.int32).movedim(-1, dim).contiguous()


def random_layer(rows: int, columns: int, group: int, layout: LayoutName, device: str) -> Layer:
    """A matrix's; GPTQ's is symmetric: its zero point is 8."""
    lowest, highest = (8, 9) if layout == "gptq" else (6, 11)
    groups = (columns // group, rows)
    return Layer(
        values=torch.randint(0, 16, (columns, rows), device=device, dtype=torch.uint8),
        zeros=torch.randint(lowest, highest, groups, device=device, dtype=torch.uint8),
        scales=(torch.rand(groups, device=device) * 0.004 + 0.002).to(torch.float16),
        group=group,
    )


def make(shape: str, into: Path, layout: LayoutName, group: int = 128, seed: int = 0) -> dict[str, Tensor]:
    """Write the folder; the dequantized weights in float32, whole where the shape is small."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = AutoConfig.from_pretrained(SHAPES / f"{shape}.json")
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    state, plain = dict[str, Tensor](), dict[str, Tensor]()
    for name, tensor in skeleton.state_dict().items():
        if ".layers." in name and tensor.dim() == 2:
            layer = random_layer(*tensor.shape, group, layout, device)
            base = name.removesuffix("weight")
            state |= {base + part: value for part, value in layer.packed(layout).items()}
            plain |= {name: layer.dequantized()} if tensor.numel() < SMALL else {}
        elif name != "lm_head.weight" or not config.tie_word_embeddings:
            state[name] = _unpacked(tensor, device)
            plain[name] = state[name].float()
    into.mkdir(parents=True, exist_ok=True)
    save_file(state, into / "model.safetensors", metadata={"format": "pt"})
    _describe(into, config, type(skeleton).__name__, layout, group)
    return plain


def _unpacked(like: Tensor, device: str) -> Tensor:
    """Norms are ones; embeddings and heads are random."""
    if like.dim() < 2:
        return torch.ones(like.shape, dtype=torch.bfloat16)
    return torch.randn(like.shape, device=device).mul_(0.02).to(torch.bfloat16).cpu()


def _describe(
    folder: Path, config: PreTrainedConfig, architecture: str, layout: LayoutName, group: int
) -> None:
    quantization = {
        "quant_method": layout,
        "bits": 4,
        "group_size": group,
        "pack_dtype": "int32",
        "lm_head": False,
        "meta": {"quantizer": ["gptqmodel:7.6.0"]},
        **SAID[layout],
    }
    said = {"architectures": [architecture], "dtype": "bfloat16", "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config.to_dict() | said))
    (folder / "generation_config.json").write_text("{}")  # no token ends an answer
    random_tokenizer(config.vocab_size, config.max_position_embeddings).save_pretrained(folder)


def main(shape: str, into: str, group: str = "") -> None:
    """Both layouts of a shape: `INTO/SHAPE-gptq4`, `INTO/SHAPE-awq4`."""
    size = int(group or (64 if shape == "tiny" else 128))
    layouts: tuple[LayoutName, ...] = ("gptq", "awq")
    for layout in layouts:
        began, folder = time.monotonic(), Path(into) / f"{shape}-{layout}4"
        make(shape, folder, layout, size)
        gib = (folder / "model.safetensors").stat().st_size / 2**30
        print(f"{folder.name} g{size}: {gib:.2f} GiB in {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
