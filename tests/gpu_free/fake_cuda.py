"""Tensors on a GPU that is not there: torch's fake tensors, which have shapes and devices and no numbers.

Finds operations on two devices at once (FakeTensorDeviceMismatchError), waits for the device's values
(DataDependentOutputException), which no CUDA graph can hold, and copies between host and device. A torch that
is built for the CPU has no CUDA device guard, which Python's indexing wants: hence indexing is spelt out.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
aten = torch.ops.aten
NOT_LAUNCHED = {"aten.empty.memory_format", "aten.empty_like.default", "aten.detach.default"}


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Within it `cuda:0` is a device of which only shapes exist."""
    torch._C._ensureCUDADeviceGuardSet()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch.cuda, "synchronize", lambda *device: None))
        stack.enter_context(mock.patch.object(torch, "Generator", _NoGenerator))
        mode = stack.enter_context(FakeTensorMode())
        stack.enter_context(_Spelling())
        yield mode


class Launches(TorchDispatchMode):
    """The names of what would be launched, views left out; `crossings` are copies between host and device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.crossings: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func)
        if _is_launched(func, args, result):
            self.names.append(name.removeprefix("aten.").removesuffix(".default"))
        results = result if isinstance(result, tuple | list) else [result]
        tensors = [each for each in (*args, *results) if isinstance(each, Tensor)]
        devices = {each.device.type for each in tensors if each.dim() or "copy" in name}
        if len(devices) > 1:
            self.crossings.append(name)
        return result


def _is_launched(func: Any, args: Any, result: Any) -> bool:
    """Whether it does something on the device: no view, no question; a cast to another dtype or device."""
    name = str(func)
    if name.startswith("aten.to."):
        return (result.dtype, result.device) != (args[0].dtype, args[0].device)
    is_view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
    return not (is_view or name in NOT_LAUNCHED or name.startswith("prim."))


class _Spelling(TorchFunctionMode):
    """Says in operators what Python's bindings cannot say without a device guard."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is Tensor.__getitem__ and args[0].device.type == "cuda":
            return _indexed(*args)
        if func is Tensor.__setitem__ and args[0].device.type == "cuda":
            return _set(*args)
        if (
            func in {torch.tensor, torch.as_tensor}
            and torch.device(options.get("device") or "cpu").type == "cuda"
        ):
            return _uploaded(args[0], options)
        return _as_operator(func, args, options)


def _as_operator(func: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    try:
        return func(*args, **options)
    except RuntimeError as error:
        name = getattr(func, "__name__", "")
        if "not linked with support for cuda" not in str(error) or not hasattr(aten, name):
            raise
        return getattr(aten, name)(*args, **options)


def _set(x: Tensor, index: object, value: object) -> None:
    place = _indexed(x, index)
    if isinstance(value, Tensor):
        place.copy_(value)
    else:
        place.fill_(value)


def _uploaded(data: Any, options: dict[str, Any]) -> Tensor:
    """A tensor of the right shape and dtype on the device; numbers are not there anyway."""
    if isinstance(data, Tensor):
        return data.to(options["device"])
    host = torch.tensor(data, dtype=options.get("dtype"))
    return torch.empty(host.shape, dtype=host.dtype, device=options["device"])


def _indexed(x: Tensor, index: object) -> Tensor:
    dim, tensors = 0, list[Tensor | None]()
    for part in _whole(index, x.dim()):
        if part is None:
            x = aten.unsqueeze(x, dim)
            dim += 1
        elif isinstance(part, slice):
            x = x if part == slice(None) else aten.slice(x, dim, part.start, part.stop, part.step or 1)
            dim += 1
        elif isinstance(part, Tensor):
            tensors += [*[None] * (dim - len(tensors)), part]
            dim += 1
        else:
            x = aten.select(x, dim, int(part))
    return aten.index(x, tensors) if tensors else x


def _whole(index: object, dims: int) -> list[Any]:
    """An index with every dimension spelt out: its ellipsis, written or meant, as full slices."""
    parts = list(index) if isinstance(index, tuple) else [index]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    at = next(place for place, part in enumerate(parts) if part is Ellipsis)
    parts[at : at + 1] = [slice(None)] * (dims - used)
    return parts


class _NoGenerator:
    """In place of a CUDA generator, which a CPU build cannot make; operations then use their own."""

    def __init__(self, device: object = None) -> None:
        self.device = device

    def manual_seed(self, seed: int) -> None:
        """None is what an operation takes for its own generator."""
