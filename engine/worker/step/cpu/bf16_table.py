"""A bf16 table that is embedding and output head in one, held once, in the head's packed layout.

Owns reading single rows out of that layout. oneDNN keeps it to itself, so it is not trusted: every row is
compared with the plain table before that is given up.
"""

import ctypes

import torch
from torch import Tensor, nn

from engine.worker.step.cpu.onednn import PackedBf16

_ROWS, _PAIRS = 64, 16  # oneDNN's AB16b64a2b: blocks of 64 rows and 16 pairs of columns, pairs outermost
_BLOCKS_COMPARED = 16  # at once: what is compared is copied


class PackedTable(nn.Module):
    """An embedding whose rows lie in a `PackedBf16`. Has no `weight`, but saves one."""

    def __init__(self, packed: PackedBf16, blocks: Tensor) -> None:
        super().__init__()
        self.packed = packed
        self._blocks = blocks  # [rows / 64, columns / 32, 16, 64, 2]
        self.num_embeddings, self.embedding_dim = packed.tensor.shape

    def held_tensors(self) -> tuple[Tensor, ...]:
        """The head's, which it shares."""
        return self.packed.tensors

    def forward(self, ids: Tensor) -> Tensor:
        """[...] → [..., embedding_dim]."""
        rows = self._blocks[ids // _ROWS, :, :, ids % _ROWS]  # [..., columns / 32, 16, 2]
        return rows.reshape(*ids.shape, self.embedding_dim)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.packed.tensor.to_dense()


def of(packed: PackedBf16, table: Tensor) -> PackedTable | None:
    """The embedding of this table [rows, columns], which `packed` holds; None where rows cannot be read."""
    rows, columns = table.shape
    if rows % _ROWS or columns % (2 * _PAIRS) or torch.ops.mkldnn._nbytes(packed.tensor) != table.nbytes:
        return None
    blocks = _memory(packed.tensor).view(rows // _ROWS, columns // (2 * _PAIRS), _PAIRS, _ROWS, 2)
    pieces = zip(blocks.split(_BLOCKS_COMPARED), table.split(_BLOCKS_COMPARED * _ROWS), strict=True)
    if all(torch.equal(_rows_of(piece, columns), plain) for piece, plain in pieces):
        return PackedTable(packed, blocks)
    return None


def _memory(packed: Tensor) -> Tensor:
    """The bytes of a packed tensor as bf16 values; only as long as `packed` lives."""
    size = torch.ops.mkldnn._nbytes(packed)
    memory = (ctypes.c_ubyte * size).from_address(torch.ops.mkldnn.data_ptr(packed))
    return torch.frombuffer(memory, dtype=torch.bfloat16)


def _rows_of(blocks: Tensor, columns: int) -> Tensor:
    return blocks.permute(0, 3, 1, 2, 4).reshape(-1, columns)
