"""What one row's products and attention cost: candidates on Llama 3.1 8B's shapes, in CUDA graphs.

    python -m benchmarks.gpu.products

For each product: µs a matrix with its share of the copy speed, and what all products of a step would take.
Weights take turns, so that none stays in a cache. For each attention: µs a layer. Asked is which of them a
decode step should have. Exit 1 where one cannot be run. On a CPU small shapes only show that all can be run,
Triton's too where it is installed and TRITON_INTERPRET=1.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.settings import HAS_GPU
from engine.worker.methods import gptqmodel_api, kernels
from engine.worker.step import cuda_graph

DEVICE = torch.device("cuda", 0) if HAS_GPU else torch.device("cpu")
LAYER = (
    {"qkv": (6144, 4096), "o": (4096, 4096), "gate, up": (28672, 4096), "down": (4096, 14336)}
    if HAS_GPU
    else {"qkv": (64, 256), "o": (64, 256)}
)
HEAD = (128256, 4096) if HAS_GPU else (128, 256)
LAYERS = 32
SETS = 6 if HAS_GPU else 1  # of weights, which take turns
REPLAYS = 12
GROUP = 128

Call = Callable[[], object]
Product = tuple[Call, int]
"""A call, and the bytes of weights that it reads."""
Make = Callable[[int, int], Product]
"""A product of one row with a random matrix [n, k]."""


@torch.inference_mode()
def main() -> int:
    """Print all; 1 where anything failed."""
    torch.backends.cuda.enable_cudnn_sdp(False)  # as a load does
    copy_bytes_s = _copy_bytes_s() if HAS_GPU else 1e9
    if HAS_GPU:
        print(f"copy {copy_bytes_s / 1e9:.0f} GB/s; a small kernel in a graph {_launch_us():.3f} µs")
    if has_triton():
        from benchmarks.gpu import gemv

        print("Triton, off by", gemv.check(str(DEVICE), *LAYER["qkv"]))
    products = [told(name, partial(costs, make, copy_bytes_s)) for name, make in candidates()]
    attentions = [
        told(name, partial(cost_at, capacity)) for capacity in capacities() for name, cost_at in attention()
    ]
    return int(not all((*products, *attentions)))


def told(name: str, cost: Callable[[], str]) -> bool:
    """Print a candidate's line, or why there is none."""
    try:
        said = cost()
        print(f"{name:34} {said if HAS_GPU else 'runs'}", flush=True)
        return True
    except Exception as error:
        traceback.print_exc()
        line = next(iter(str(error).splitlines()), "")
        print(f"{name:34} FAILED {type(error).__name__}: {line[:160]}", flush=True)
        return False
    finally:
        if HAS_GPU:
            torch.cuda.empty_cache()


def costs(make: Make, copy_bytes_s: float) -> str:
    """A product's µs by matrix, and the milliseconds of a step."""
    torch.manual_seed(0)
    shares, layer_us = [], 0.0
    for part, shape in LAYER.items():
        us, share = cost(make, shape, SETS, copy_bytes_s)
        shares.append(f"{part} {us:.1f} ({share:.0%})")
        layer_us += us
    head_us, share = cost(make, HEAD, min(2, SETS), copy_bytes_s)
    return (
        f"{'  '.join(shares)}  head {head_us:.1f} ({share:.0%})"
        f"  step {(LAYERS * layer_us + head_us) / 1e3:.3f} ms"
    )


def cost(make: Make, shape: tuple[int, int], sets: int, copy_bytes_s: float) -> tuple[float, float]:
    """µs of a product, and its part of the copy speed."""
    made = [make(*shape) for _ in range(sets)]
    us = graph_us([call for call, _ in made] * 2) / (2 * sets)
    return us, made[0][1] / us * 1e6 / copy_bytes_s


def graph_us(calls: Sequence[Call]) -> float:
    """All calls as a CUDA graph: the median of its replays. On a CPU they are run once."""

    def run() -> None:
        for call in calls:
            call()

    if not HAS_GPU:
        run()
        return 1.0
    replay, times_ms = cuda_graph.capture(run, DEVICE), []
    for _ in range(REPLAYS):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        replay()
        ended.record()
        ended.synchronize()
        times_ms.append(began.elapsed_time(ended))
    return 1e3 * median(times_ms)


def _copy_bytes_s() -> float:
    """Read plus written."""
    source = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * 4 * source.nbytes / (graph_us([lambda: target.copy_(source)] * 4) / 1e6)


def _launch_us() -> float:
    """Of 1000 additions that wait for each other."""
    x = torch.zeros(4096, device=DEVICE, dtype=torch.bfloat16)
    return graph_us([lambda: x.add_(1)] * 1000) / 1000


def rand(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Normal."""
    return torch.randn(*shape, device=DEVICE, dtype=dtype)


def octets(*shape: int) -> Tensor:
    """Any bytes."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE)


def signed(*shape: int) -> Tensor:
    """int8."""
    return torch.randint(-127, 128, shape, dtype=torch.int8, device=DEVICE)


def candidates() -> Iterator[tuple[str, Make]]:
    """Every product, by name."""
    yield "cuBLAS bf16", torch_bf16
    yield from triton_products() if has_triton() else ()
    yield "torch _weight_int4pack_mm", torch_int4
    yield "torch _weight_int8pack_mm", torch_int8
    yield "bitsandbytes nf4", partial(bitsandbytes_4bit, is_nested=False)
    yield "bitsandbytes nf4, nested", partial(bitsandbytes_4bit, is_nested=True)
    yield "bitsandbytes int8, threshold 0", bitsandbytes_int8
    if HAS_GPU and find_spec("gptqmodel") and not kernels.cannot_compile():
        yield "GPTQModel Marlin bf16", marlin


def has_triton() -> bool:
    """On a CPU it is no part of torch."""
    return find_spec("triton") is not None


def triton_products() -> Iterator[tuple[str, Make]]:
    """gemv's prototypes, each with several blocks and numbers of warps."""
    for rows, columns, warps in (*((2, 1024, 4), (4, 1024, 4), (4, 512, 4)), (8, 512, 4), (1, 2048, 4)):
        blocks = {"BN": rows, "BK": columns, "warps": warps}
        yield f"Triton norm, bf16 {rows}×{columns} w{warps}", partial(triton_bf16, blocks)
    for rows, columns, warps in ((4, 1024, 4), (8, 512, 4), (2, 2048, 4)):
        blocks = {"BN": rows, "BK": columns, "warps": warps}
        yield f"Triton int8 {rows}×{columns} w{warps}", partial(triton_int8, blocks)
    for rows, groups, warps in ((4, 8, 4), (8, 4, 4), (2, 16, 4), (4, 4, 2), (16, 4, 8)):
        blocks = {"BN": rows, "BG": groups, "warps": warps}
        yield f"Triton int4 {rows}×{groups} w{warps}", partial(triton_int4, blocks)
    for rows, groups, warps in ((4, 16, 4), (2, 32, 4), (8, 8, 4)):
        blocks = {"BN": rows, "BG": groups, "warps": warps}
        yield f"Triton nf4 {rows}×{groups} w{warps}", partial(triton_nf4, blocks)


def torch_bf16(n: int, k: int) -> Product:
    """cuBLAS on a GPU."""
    w, x = rand(n, k), rand(1, k)
    return (lambda: functional.linear(x, w)), w.nbytes


def triton_bf16(blocks: dict[str, int], n: int, k: int) -> Product:
    """With the RMS norm before it."""
    from benchmarks.gpu import gemv

    w, x, y = rand(n, k), rand(k), rand(n)
    return (lambda: gemv.bf16(w, x, y, x, **blocks)), w.nbytes


def triton_int8(blocks: dict[str, int], n: int, k: int) -> Product:
    """A scale a row."""
    from benchmarks.gpu import gemv

    w, scales, x, y = signed(n, k), rand(n, dtype=torch.float32), rand(k), rand(n)
    return (lambda: gemv.int8(w, scales, x, y, **blocks)), w.nbytes


def triton_int4(blocks: dict[str, int], n: int, k: int) -> Product:
    """Groups of 128."""
    from benchmarks.gpu import gemv

    w, scales, x, y = octets(n, k // 2), rand(n, k // GROUP), rand(k), rand(n)
    return (lambda: gemv.int4(w, scales, x, y, **blocks)), w.nbytes + scales.nbytes


def triton_nf4(blocks: dict[str, int], n: int, k: int) -> Product:
    """Blocks of 64."""
    from benchmarks.gpu import gemv

    w, absmax, x, y = octets(n, k // 2), rand(n, k // 64, dtype=torch.float32), rand(k), rand(n)
    table = torch.tensor(gemv.NF4, device=DEVICE)
    return (lambda: gemv.nf4(w, absmax, table, x, y, **blocks)), w.nbytes + absmax.nbytes


def torch_int4(n: int, k: int) -> Product:
    """Groups of 128; tinygemm on a GPU."""
    x, scales = rand(1, k), rand(k // GROUP, n, 2)
    if HAS_GPU:
        w, multiply = torch._convert_weight_to_int4pack(octets(n, k // 2), 8), torch._weight_int4pack_mm
    else:
        values = torch.randint(0, 16, (n, k), dtype=torch.int32)
        w, multiply = torch._convert_weight_to_int4pack_for_cpu(values, 1), torch._weight_int4pack_mm_for_cpu
    return (lambda: multiply(x, w, GROUP, scales)), w.nbytes + scales.nbytes


def torch_int8(n: int, k: int) -> Product:
    """A scale a row."""
    w, scales, x = signed(n, k), rand(n), rand(1, k)
    return (lambda: torch._weight_int8pack_mm(x, w, scales)), w.nbytes


def bitsandbytes_4bit(n: int, k: int, *, is_nested: bool) -> Product:
    """nf4 in blocks of 64, with double quantization or without."""
    import bitsandbytes
    from bitsandbytes.functional import quantize_4bit

    w, state = quantize_4bit(rand(n, k), quant_type="nf4", compress_statistics=is_nested, blocksize=64)
    x = rand(1, 1, k)
    scales_bytes = n * k // 64 * (1 if is_nested else 4)
    return (lambda: bitsandbytes.matmul_4bit(x, w, state)), w.nbytes + scales_bytes


def bitsandbytes_int8(n: int, k: int) -> Product:
    """LLM.int8 that looks for no outliers."""
    from bitsandbytes.nn import Int8Params, Linear8bitLt

    layer = Linear8bitLt(k, n, bias=False, has_fp16_weights=False, threshold=0.0)
    layer.weight = Int8Params(
        rand(n, k, dtype=torch.float16).cpu(), requires_grad=False, has_fp16_weights=False
    )
    layer, x = layer.to(DEVICE).eval(), rand(1, 1, k)
    layer(x)  # quantizes
    return (lambda: layer(x)), n * k


def marlin(n: int, k: int) -> Product:
    """GPTQ in groups of 128."""
    gptqmodel_api.package()
    from gptqmodel.nn_modules.qlinear.marlin import MarlinLinear

    shape = {"bits": 4, "group_size": GROUP, "in_features": k, "out_features": n}
    how = {"desc_act": False, "sym": True, "bias": False, "register_buffers": True, "dtype": torch.bfloat16}
    layer = MarlinLinear(**shape, **how).to(DEVICE)
    layer.qweight.data.random_(-(2**31), 2**31 - 1)
    layer.scales.data.fill_(0.01)
    layer.g_idx.data.copy_(torch.arange(k) // GROUP)
    layer.qzeros.data.fill_(0x77777777)
    layer.post_init()
    x = rand(1, 1, k)
    return (lambda: layer(x)), n * k // 2 + n * k // GROUP * 2


Heads = tuple[int, int, int]
HEADS: Heads = (32, 8, 128) if HAS_GPU else (4, 2, 32)  # of queries, of keys; numbers in one
Attend = Callable[[Tensor, Tensor], object]
"""(keys, values), both [1, heads of keys, capacity, size]."""


def capacities() -> tuple[int, ...]:
    """Capacities of a cache, three quarters of each filled."""
    return (512, 2048, 8192) if HAS_GPU else (64,)


def attention() -> Iterator[tuple[str, Callable[[int], str]]]:
    """Ways for one token to attend to a cache, by name; each a line per capacity."""
    for make in (grouped, repeated, by_groups, whole_buffer):
        yield f"attention, {make.__name__}", partial(attention_cost, make)
    if HAS_GPU:
        yield "attention, cuDNN's", partial(attention_cost, by_cudnn)
        with suppress(ImportError):
            from torch.nn.attention.varlen import varlen_attn

            yield "attention, varlen_attn", partial(attention_cost, partial(held_alone, varlen_attn))


def attention_cost(make: Callable[[Tensor, int, int], Attend], capacity: int) -> str:
    """µs a layer, and how fast the keys and values that are held were read."""
    heads, kv_heads, size = HEADS
    held = capacity * 3 // 4
    attend = make(rand(1, kv_heads, heads // kv_heads, size), capacity, held)
    turns = [rand(2, 1, kv_heads, capacity, size) for _ in range(6)]
    us = graph_us([partial(attend, keys, values) for keys, values in turns]) / len(turns)
    gb_s = 2 * kv_heads * held * size * 2 / us / 1e3
    return f"capacity {capacity}: {us:.1f} µs a layer, {gb_s:.0f} GB/s of what is held"


def mask_of(capacity: int, held: int) -> Tensor:
    """[1, 1, 1, capacity]: only what is filled is attended to."""
    return (torch.arange(capacity, device=DEVICE) < held)[None, None, None]


def grouped(q: Tensor, capacity: int, held: int) -> Attend:
    """As the engine's step does: the heads that share keys as rows of one."""
    mask = mask_of(capacity, held)
    return lambda k, v: functional.scaled_dot_product_attention(q, k, v, mask)


def by_cudnn(q: Tensor, capacity: int, held: int) -> Attend:
    """The same, as torch would do it on Hopper if it were let."""
    attend = grouped(q, capacity, held)

    def call(k: Tensor, v: Tensor) -> object:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return attend(k, v)

    return call


def repeated(q: Tensor, capacity: int, held: int) -> Attend:
    """As transformers does: keys and values copied for each head."""
    mask, one, times = mask_of(capacity, held), single(q), q.shape[2]
    return lambda k, v: functional.scaled_dot_product_attention(
        one, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1), mask
    )


def by_groups(q: Tensor, capacity: int, held: int) -> Attend:
    """torch's own way for shared keys, masked."""
    mask, one = mask_of(capacity, held), single(q)
    return lambda k, v: functional.scaled_dot_product_attention(one, k, v, mask, enable_gqa=True)


def whole_buffer(q: Tensor, capacity: int, held: int) -> Attend:
    """Without a mask, what is not held too: wrong, but what flash attention could do."""
    return lambda k, v: functional.scaled_dot_product_attention(q, k, v)


def held_alone(varlen_attn: Callable[..., object], q: Tensor, capacity: int, held: int) -> Attend:
    """Only what is held, whose number is read on the device."""
    ends = [torch.tensor([0, end], dtype=torch.int32, device=DEVICE) for end in (1, capacity)]
    used = torch.tensor([held], dtype=torch.int32, device=DEVICE)
    flat = single(q)[:, :, 0]
    return lambda k, v: varlen_attn(
        flat, k[0].transpose(0, 1), v[0].transpose(0, 1), *ends, 1, capacity, seqused_k=used, enable_gqa=True
    )


def single(q: Tensor) -> Tensor:
    """The query as [1, heads, 1, size]."""
    return q.reshape(1, -1, 1, q.shape[-1])


if __name__ == "__main__":
    sys.exit(main())
