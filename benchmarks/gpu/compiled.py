"""Compiles the engine's GPU kernels for several architectures, without a device, and prints what came out.

    python -m benchmarks.gpu.compiled > docs/gpu_kernels.md

Registers and stack (spilled registers) a thread, shared memory a program, and how many loads from memory are
16 bytes wide; instructions a weight. Shapes of Llama 3.1 8B at batch 1, and for int4 tiles of more rows.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from engine.worker.step.cuda import many
from engine.worker.step.cuda.kernels import COMPILED
from engine.worker.step.cuda.kernels.attention import attend
from engine.worker.step.cuda.kernels.linear import linear, swiglu
from engine.worker.step.cuda.kernels.matrix import INT4, INT8_DYNAMIC, PLAIN, Matrix
from engine.worker.step.cuda.kernels.tiles import dequantize, tiled

TARGETS = (80, 89, 90)
ALIGNED = [["tt.divisibility", 16]]
HIDDEN, INNER = 4096, 14336
BF16, I8, U8, F32, I32 = "*bf16", "*i8", "*u8", "*fp32", "*i32"

HEADING = f"""\
# The GPU kernels, compiled

By `python -m benchmarks.gpu.compiled` with Triton {triton.__version__}, without a device: registers and stack
(spilled registers) a thread, shared memory a program, loads of 16 bytes among all loads from memory in
the PTX. One sequence, the shapes of Llama 3.1 8B; bf16 weights, LLM.int8, int4 in groups of 128, NF4. At the
end more rows of int4: tiles for tensor cores, whose weights and rows come as asynchronous copies, which are
not among the loads, and the matrix as numbers.

Instructions a weight are counted in the loops that read weights. The last column is arithmetic, not a
measurement: the time in which an H100 can issue them (132 processors, 4 warps a cycle, 1.7 GHz) over the time
in which the weights can be read at 3.35 TB/s. From 1 on a kernel cannot keep up with that.
"""
ISSUED_S = 132 * 4 * 32 * 1.7e9  # instructions of a thread
READ_BYTES_S = 3.35e12
HELD_BITS = {"bf16": 16, "int8": 8, "int4": 4, "nf4": 4}
SCALE_BITS = {"int4": 16 / 128, "nf4": 32 / 64}


class Compiled(NamedTuple):
    """What a kernel needs."""

    registers: int
    stack_bytes: int
    shared_bytes: int
    wide_loads: int
    loads: int
    looped: int
    """Instructions in the innermost loops that read weights."""
    weight_bytes: int
    """That a thread reads in these."""


def matrix(weights: str, **fields: Any) -> Matrix:
    """The types of a matrix's fields."""
    return Matrix(weights, "i32", **{"offset": "fp32", "threshold": "fp32", **fields})


KINDS = {
    "bf16": (matrix(BF16), {"GROUP": 8, "KIND": PLAIN.value}),
    "int8": (matrix(I8, scales=F32), {"GROUP": 8, "KIND": INT8_DYNAMIC.value}),
    "int4": (matrix(U8, scales=BF16), {"GROUP": 128, "KIND": INT4.value}),
    "nf4": (matrix(U8, scales=F32, code=F32), {"GROUP": 64, "KIND": INT4.value}),
}
BLOCKS = {"B": 1, "ROWS": 8, "BLOCK": 2048, "WHOLE": True, "num_warps": 8}


Source = tuple[str, Any, dict[str, Any], dict[str, int]]
"""Name, kernel, types of its arguments, constants."""
COMMON = {"x": BF16, "norm": BF16, "epsilon": "fp32"}
ENDS = {"out": BF16, "batch": "i32"}


def sources() -> Iterator[Source]:
    """Of one token: products by each kind of weights, attention, and what only some families have."""
    for name, (held, sizes) in KINDS.items():
        yield from of_products(name, held, {"K": HIDDEN, **sizes, **BLOCKS})
    yield from of_attention()
    held, wide = KINDS["bf16"]
    fused = {**COMMON, **ENDS, "inner": "i32", "gate": held, "up": None}
    yield "norm, gate up in one, bf16", swiglu, fused, {"COUNT": 1, "K": HIDDEN, **wide, **BLOCKS}


def of_products(name: str, held: Matrix, constants: dict[str, int]) -> Iterator[Source]:
    """Those of a layer; the one behind attention is as `down`."""
    plain = {"residual": None, "scale": None}
    three = {**COMMON, **plain, **ENDS, "first": held, "second": held, "third": held}
    yield f"norm, q k v, {name}", linear, three, {"COUNT": 3, **constants}
    one = {**COMMON, "norm": None, **plain, "residual": BF16, **ENDS, "first": held}
    down = {"COUNT": 1, **constants, "K": INNER}
    yield f"down, residual, {name}", linear, {**one, "second": None, "third": None}, down
    two = {**COMMON, **ENDS, "inner": "i32", "gate": held, "up": held}
    yield f"norm, gate up, {name}", swiglu, two, {"COUNT": 2, **constants}


def of_attention() -> Iterator[Source]:
    """Of 32 heads of 128 numbers, four to a key."""
    names = ("keys", "values", "partial", "extremes", "arrived", "out")
    given = {
        **{"qkv": BF16, "query_norm": None, "key_norm": None, "epsilon": "fp32"},
        **{"cosine": BF16, "sine": BF16, "position": "*i64"},
        **dict(zip(names, (BF16, BF16, F32, F32, I32, BF16), strict=True)),
        **{"scale": "fp32", "capacity": "i32", "span": "i32", "splits": "i32"},
    }
    heads = {"HEADS": 32, "KV_HEADS": 8, "SIZE": 128, "HALF": 64, "ROTARY": 128}
    sizes = {**heads, "GROUP": 16, "BLOCK": 32, "MOST": 64}
    yield "attention", attend, given, sizes
    yield "attention, head norms", attend, {**given, "query_norm": BF16, "key_norm": BF16}, sizes
    yield "attention, RoPE on 3/4", attend, given, sizes | {"ROTARY": 96}


def of_many_rows() -> Iterator[Source]:
    """The same of the kernels for prompts and batches; constants have warps and stages, too."""
    held = {
        "int4": matrix(U8, scales=BF16),
        "int4, zeros, bias": matrix(U8, bias=BF16, scales=BF16, zeros=BF16),
        "nf4": matrix(U8, scales=F32, code=F32),
    }
    counts = dict.fromkeys(("batch", "splits", "columns", "group"), "i32")
    for tile in many.TILES:
        for name, each in held.items():
            sizes = {"ROWS": tile.rows, "B": tile.batch, "BLOCK": 64 if name == "nf4" else tile.columns}
            buffers = {"x": BF16, "out": BF16, "partial": F32, "arrived": I32, **counts, "matrix": each}
            how = {"num_warps": many.HOW["num_warps"], "num_stages": tile.stages}
            yield f"tile of {tile.batch} rows, {name}", tiled, buffers, {**sizes, **how}
    given = {"out": BF16, "columns": "i32", "group": "i32", "matrix": matrix(U8, scales=BF16, zeros=BF16)}
    how = {"num_warps": many.HOW["num_warps"]}
    yield "dequantized int4, zeros", dequantize, given, {"SUB": 64, "PARTS": many.WRITTEN // 64, **how}


def compiled(kernel: Any, types: dict[str, Any], constants: dict[str, int], target: int) -> Compiled:
    """For a GPU of this compute capability."""
    options = {name: value for name, value in constants.items() if name.startswith("num_")}
    constants = {name: value for name, value in constants.items() if name not in options}
    signature, fixed, attributes = {}, {}, {}
    for index, (name, given) in enumerate({**types, **constants}.items()):
        is_constant = name in constants or given is None
        signature[name] = "constexpr" if is_constant else _types(given)
        if is_constant:
            fixed[index,] = constants.get(name)
        elif isinstance(given, Matrix):
            fixed |= {(index, place): None for place, field in enumerate(given) if field is None}
            attributes |= {(index, place): ALIGNED for place, field in enumerate(given) if _aligned(field)}
        elif _aligned(given) and not kernel.params[index].do_not_specialize:
            attributes[index,] = ALIGNED
    source = ASTSource(kernel, signature, fixed, attributes)
    found = triton.compile(source, target=GPUTarget("cuda", target, 32), options={**options, **COMPILED})
    ptx, (usage, sass) = found.asm["ptx"], _usage(found.asm["cubin"])
    loads = re.findall(r"ld\.global\S*", ptx)
    wide = [load for load in loads if ".v4.b32" in load or ".v2.b64" in load]
    return Compiled(*usage, found.metadata.shared, len(wide), len(loads), *_looped(sass))


def _types(given: Any) -> Any:
    """`constexpr` for what is not there."""
    return (
        Matrix(*("constexpr" if each is None else each for each in given))
        if isinstance(given, Matrix)
        else given
    )


def _aligned(given: Any) -> bool:
    return isinstance(given, str) and (given.startswith("*") or given == "i32")


def _usage(cubin: bytes) -> tuple[tuple[int, int], str]:
    """Registers, and bytes of stack, a thread; the instructions. By a tool that comes with Triton."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        said, sass = (
            subprocess.run([tool, option, file], capture_output=True, text=True, check=True).stdout
            for option in ("-res-usage", "-sass")
        )
    registers, stack = (int(re.findall(rf"{name}:(\d+)", said)[-1]) for name in ("REG", "STACK"))
    return (registers, stack), sass


def _looped(sass: str) -> tuple[int, int]:
    """Instructions in the innermost loops with loads of weights, and the bytes of these loads."""
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,5})\*/\s+(.*?);", sass, re.MULTILINE)
    code = [(int(at, 16), said) for at, said in lines]
    jumps = [(re.search(r"\bBRA\b.*?0x([0-9a-f]+)", said), at) for at, said in code]
    loops = [(int(to[1], 16), at) for to, at in jumps if to and int(to[1], 16) < at]
    innermost = [
        (begin, end)
        for begin, end in loops
        if not any((a, b) != (begin, end) and begin <= a and b <= end for a, b in loops)
    ]
    bodies = [[said for at, said in code if begin <= at <= end] for begin, end in innermost]
    found = [(len(body), read) for body in bodies if (read := sum(map(_weight_bytes, body)))]
    return sum(count for count, _ in found), sum(read for _, read in found)


def _weight_bytes(said: str) -> int:
    """Of a load that says that nobody reads this again."""
    load = re.search(r"\bLDG\.E\.EF(?:\.(\d+))?\s", said)
    return int(load[1] or 32) // 8 if load else 0


def _on_paper(name: str, found: Compiled) -> tuple[str, str]:
    """Instructions a weight, and what issuing them takes of the time that reading takes."""
    kind = name.rpartition(", ")[2]
    if kind not in HELD_BITS or not found.weight_bytes:
        return "", ""
    a_weight = found.looped * HELD_BITS[kind] / 8 / found.weight_bytes
    read_s = (HELD_BITS[kind] + SCALE_BITS.get(kind, 0)) / 8 / READ_BYTES_S
    return f"{a_weight:.1f}", f"{a_weight / ISSUED_S / read_s:.2f}"


def main() -> None:
    """A page: a row a kernel and target."""
    print(HEADING)
    columns = (
        "sm",
        "registers",
        "stack bytes",
        "shared bytes",
        "16-byte loads",
        "instructions a weight",
        "H100",
    )
    print("| kernel |", " | ".join(columns), "|")
    print("|---" + len(columns) * "|--:" + "|")
    for name, kernel, types, constants in (*sources(), *of_many_rows()):
        for target in TARGETS:
            found = compiled(kernel, types, constants, target)
            figures = (found.registers, found.stack_bytes, found.shared_bytes)
            wide = f"{found.wide_loads} of {found.loads}"
            a_weight, share = _on_paper(name, found)
            row = name, target, *figures, wide, a_weight, share if target == TARGETS[-1] else ""
            print("|", " | ".join(map(str, row)), "|")


if __name__ == "__main__":
    main()
