"""A tiny GGUF file, as llama.cpp's converter would write it."""

from pathlib import Path

import gguf
import numpy as np


def write_gguf(
    file: Path, *, drop: str = "", add: str = "", said_layers: int = 1, rounded: bool = False, **metadata: int
) -> Path:
    """One layer of a llama, of ones in float32; `rounded`: of random numbers, the matrices in Q8_0."""
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(said_layers)
    for key, value in {"split.no": 0, "split.count": 0, **metadata}.items():
        writer.add_uint16(key, value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(61))])
    writer.add_token_scores([0.0] * 64)
    writer.add_token_types([2, 3, 3, *([6] * 61)])
    writer.add_eos_token_id(2)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_vocab_size(64)
    square = ["attn_q", "attn_k", "attn_v", "attn_output"]
    shapes: dict[str, tuple[int, ...]] = {f"blk.0.{name}.weight": (64, 64) for name in square}
    shapes |= {"blk.0.ffn_gate.weight": (128, 64), "blk.0.ffn_up.weight": (128, 64)}
    shapes |= {"blk.0.ffn_down.weight": (64, 128), "blk.0.attn_norm.weight": (64,)}
    shapes |= {"blk.0.ffn_norm.weight": (64,), "output_norm.weight": (64,), "token_embd.weight": (64, 64)}
    shapes |= {add: (64,)} if add else {}
    for name, shape in shapes.items():
        if name != drop:
            _add(writer, name, shape, rounded=rounded)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], *, rounded: bool) -> None:
    if not rounded or len(shape) == 1:
        writer.add_tensor(name, np.ones(shape, np.float32))
        return
    values = np.random.default_rng(len(name)).normal(0, 0.1, shape).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
