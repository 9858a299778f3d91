"""A bf16 table that is both embedding and output head, held once, in the head's oneDNN layout.

Owns reading single rows out of that layout. It is not public, so it is not trusted: every row is compared
with the plain table before that is freed.
"""

import ctypes

import torch
from torch import Tensor, nn

from engine.worker.step.cpu.onednn import OneDnnWeights

_ROWS, _PAIRS = 64, 16  # oneDNN's AB16b64a2b: blocks of 64 rows and 16 pairs of columns, pairs outermost
_BLOCKS_COMPARED = 16  # at once: what is compared is copied


class OneDnnEmbedding(nn.Module):
    """An embedding whose rows are in `OneDnnWeights`. Has no `weight`, but saves one."""

    def __init__(self, weights: OneDnnWeights, blocks: Tensor) -> None:
        super().__init__()
        self.weights = weights
        self._blocks = blocks  # [rows / 64, columns / 32, 16, 64, 2]
        self.num_embeddings, self.embedding_dim = weights.tensor.shape

    def held_tensors(self) -> tuple[Tensor, ...]:
        """The head's, which it shares."""
        return self.weights.tensors

    def forward(self, ids: Tensor) -> Tensor:
        """[...] → [..., embedding_dim]."""
        rows = self._blocks[ids // _ROWS, :, :, ids % _ROWS]  # [..., columns / 32, 16, 2]
        return rows.reshape(*ids.shape, self.embedding_dim)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weights.tensor.to_dense()


def embedding(weights: OneDnnWeights, table: Tensor) -> OneDnnEmbedding | None:
    """The embedding of this table [rows, columns], which `weights` holds; None where rows cannot be read."""
    rows, columns = table.shape
    if rows % _ROWS or columns % (2 * _PAIRS) or torch.ops.mkldnn._nbytes(weights.tensor) != table.nbytes:
        return None
    blocks = _memory(weights.tensor).view(rows // _ROWS, columns // (2 * _PAIRS), _PAIRS, _ROWS, 2)
    pieces = zip(blocks.split(_BLOCKS_COMPARED), table.split(_BLOCKS_COMPARED * _ROWS), strict=True)
    if all(torch.equal(_rows_of(piece, columns), plain) for piece, plain in pieces):
        return OneDnnEmbedding(weights, blocks)
    return None


def _memory(packed: Tensor) -> Tensor:
    """The memory of a oneDNN tensor as bf16 values; valid only while `packed` lives."""
    size = torch.ops.mkldnn._nbytes(packed)
    memory = (ctypes.c_ubyte * size).from_address(torch.ops.mkldnn.data_ptr(packed))
    return torch.frombuffer(memory, dtype=torch.bfloat16)


def _rows_of(blocks: Tensor, columns: int) -> Tensor:
    return blocks.permute(0, 3, 1, 2, 4).reshape(-1, columns)
