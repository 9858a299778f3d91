"""Bytes of GPTQ's and AWQ's packed matrices, as the kernel that multiplies with them holds them.

Pure arithmetic. Owns the layouts of GPTQModel's CPU kernels, and the engine's own; on a GPU the file's layout
stands for all others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.config.layouts import Layout, on_cpu
from engine.plan.target import Target
from engine.plan.terms import Term

_INDEX_BYTES, _SCALE_BYTES, WORD_BITS = 4, 2, 32


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear layer's weight [rows, columns] = [out, in]."""

    rows: int
    columns: int

    def groups(self, size: int) -> int:
        """Groups of this many weights of a row; -1 is a whole row."""
        return self.rows * (1 if size == -1 else -(-self.columns // size))

    @property
    def elements(self) -> int:
        """How many weights it has."""
        return self.rows * self.columns


def packed(matrices: list[Matrix], layout: Layout, target: Target) -> list[Term]:
    """GPTQ's and AWQ's weights, as the kernel that will be chosen holds them; a GPU's as in the file."""
    by_kernel = target.on_cpu and not target.is_original
    is_own = (target.is_compiled and target.held == "int4") or target.held_anew
    kernel = on_cpu(layout, target.dtype, is_compiled=is_own).backend if by_kernel else "file"
    held = _HELD.get(kernel.partition("_torch")[2], _as_in_file)
    if held is _as_in_file and is_own:
        held = _own
    return held(matrices, layout, kernel, target)


def _int8(matrices: list[Matrix], layout: Layout, kernel: str, target: Target) -> list[Term]:
    elements, rows = sum(matrix.elements for matrix in matrices), sum(matrix.rows for matrix in matrices)
    scales = Term("scales", (4 + _SCALE_BYTES) * rows, "a row: one in float32, one in the model's dtype")
    return [Term("quantized linear layers", elements, f"held as 8 bits a weight for {kernel}"), scales]


def _aten(matrices: list[Matrix], layout: Layout, kernel: str, target: Target) -> list[Term]:
    elements = sum(matrix.elements for matrix in matrices)
    groups = sum(matrix.groups(layout.group_size) for matrix in matrices)
    found = [
        Term("quantized linear layers", elements // 2, f"4 bits a weight, repacked for {kernel}"),
        Term("scales and zero points", 2 * _SCALE_BYTES * groups, f"two 16-bit numbers a {_group(layout)}"),
    ]
    return found if layout.method == "awq" or target.is_native else [*found, _indices(matrices, layout)]


def _own(matrices: list[Matrix], layout: Layout, kernel: str, target: Target) -> list[Term]:
    """The engine's own int4 instead of the file's layout, which no kernel multiplies with."""
    elements = sum(matrix.elements for matrix in matrices)
    groups = sum(matrix.groups(layout.group_size) for matrix in matrices)
    numbers = 1 if layout.sym or layout.bits < 4 else 2  # what has fewer bits fits around 0
    scales = Term(
        "scales and zero points", numbers * _SCALE_BYTES * groups, f"{numbers} × 16 bits a {_group(layout)}"
    )
    return [Term("quantized linear layers", elements // 2, "held as 4 bits a weight"), scales]


def _fused(matrices: list[Matrix], layout: Layout, kernel: str, target: Target) -> list[Term]:
    """As for ATen, with the scales and zero points held once more, side by side."""
    packed, scales, *rest = _aten(matrices, layout, kernel, replace(target, step="forward"))
    return [packed, Term(scales.name, 2 * scales.bytes, f"{scales.origin}, held twice"), *rest]


def _as_in_file(matrices: list[Matrix], layout: Layout, kernel: str, target: Target) -> list[Term]:
    elements = sum(matrix.elements for matrix in matrices)
    groups = sum(matrix.groups(layout.group_size) for matrix in matrices)
    packed = Term("quantized linear layers", elements * layout.bits // 8, f"{layout.bits} bits a weight")
    scales = groups * (8 * _SCALE_BYTES + layout.bits) // 8
    origin = f"16 + {layout.bits} bits a {_group(layout)}"
    found = [packed, Term("scales and zero points", scales, origin)]
    if layout.method == "awq":
        return found
    rows = sum(matrix.rows for matrix in matrices)
    biases = [Term("biases", _SCALE_BYTES * rows, "AutoGPTQ gives every matrix one")]
    return [*found, _indices(matrices, layout), *(biases if target.is_original else [])]


def _indices(matrices: list[Matrix], layout: Layout) -> Term:
    """`g_idx`, which group each input belongs to, and the small table of where a weight is in a word."""
    places = 36 if layout.bits == 3 else WORD_BITS // layout.bits  # 3-bit weights cross the words' borders
    size = sum(_INDEX_BYTES * (matrix.columns + places) for matrix in matrices)
    return Term("group indices", size, "one 32-bit number an input (g_idx)")


_Held = Callable[[list[Matrix], Layout, str, Target], list[Term]]
_HELD: dict[str, _Held] = {"_aten": _aten, "_fused": _fused, "_int8": _int8}


def _group(layout: Layout) -> str:
    return "row" if layout.group_size == -1 else f"group of {layout.group_size}"
