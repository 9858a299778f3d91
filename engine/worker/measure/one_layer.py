"""A reference's model with one layer of the candidate's in it: what that layer alone does to the answers.

Owns the exchange of layers between two models that are both loaded; knows neither texts nor figures. A layer
is taken as it is, with its own kernels: nothing is unpacked.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

from engine.errors import InputError
from engine.worker.load import LoadedModel
from engine.worker.quantize import layers_alike


class Counterparts:
    """The layers of two models, one for one."""

    def __init__(self, reference: LoadedModel, candidate: LoadedModel) -> None:
        """InputError where a layer of one cannot stand in the other."""
        self._reference = reference
        self._own, self._others = layers(reference.model), layers(candidate.model)
        _require_alike(reference, candidate, len(self._own) == len(self._others))

    def __len__(self) -> int:
        return len(self._own)

    @contextmanager
    def exchanged(self, index: int) -> Iterator[LoadedModel]:
        """The reference with this layer of the candidate; afterwards it is as it was."""
        if not 0 <= index < len(self):
            raise InputError(f"there is no layer {index}: the models have {len(self)}")
        own = self._own[index]
        self._own[index] = self._others[index]
        try:
            yield self._reference
        finally:
            self._own[index] = own


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """A model's layers, in order; InputError where it has no list of them."""
    if found := layers_alike.layers(model):
        return found
    raise InputError(f"{type(model).__name__} does not keep its layers in one list")


def _require_alike(reference: LoadedModel, candidate: LoadedModel, same_number: bool) -> None:
    one, other = reference.info, candidate.info
    if not same_number or type(reference.model) is not type(candidate.model):
        raise InputError("the models are of different architectures: their layers have no counterparts")
    if one.dtype != other.dtype:
        hint = "give both the same `model.dtype`"
        raise InputError(f"layers in {other.dtype} cannot stand in a model in {one.dtype}", hint)
    if one.device != other.device:
        raise InputError(f"the models are on different devices: {one.device} and {other.device}")
