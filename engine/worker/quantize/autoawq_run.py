"""Quantizing with AutoAWQ: its source model, the run itself, and what it writes.

Owns the mends that a run on a CPU needs. The package itself is `methods/autoawq`'s.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.config.methods import Awq
from engine.errors import LoadError
from engine.worker.checkpoints import completeness
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.methods import autoawq
from engine.worker.quantize.progress import LayerProgress
from engine.worker.replaced import replaced


def source(checkpoint: Checkpoint, placement: Placement) -> Any:
    """The full-precision model, on the CPU; each layer goes to the GPU for a while, where there is one."""
    awq = autoawq.package(placement.device)
    try:
        with completeness.required(checkpoint.name):
            return awq.AutoAWQForCausalLM.from_pretrained(
                str(checkpoint.path),
                torch_dtype=placement.dtype,
                trust_remote_code=checkpoint.trust_remote_code,
                device_map={"": "cpu"},
            )
    except TypeError as error:  # its own words for a kind of model
        raise LoadError(f"{checkpoint.name} is of a kind that AutoAWQ does not know: {error}") from error


def quantize(model: Any, method: Awq, samples: list[list[int]], progress: LayerProgress) -> None:
    """Quantize `source`'s model in place, with calibration samples of token ids."""
    from awq.quantize import quantizer

    length = max(len(sample) for sample in samples)
    with replaced(quantizer, "tqdm", _reported(progress)):
        model.quantize(
            None,
            {
                "zero_point": method.zero_point,
                "q_group_size": method.group_size,
                "w_bit": method.bits,
                "version": method.version,
            },
            calib_data=samples,
            max_calib_samples=len(samples),
            max_calib_seq_len=length,
            quantizer_cls=_mended(quantizer.AwqQuantizer),
        )


def save(model: Any, folder: Path) -> None:
    """Weights and config, as AutoAWQ writes them."""
    model.model.config.use_cache = True  # off while it quantizes
    model.save_quantized(str(folder))


def _mended(base: Any) -> Any:
    """AutoAWQ's quantizer, which works on a CPU as well, and for models without RoPE.

    Its search scales a module's weights and then restores them from `tensor.cpu()`, which on a CPU is the
    tensor itself: nothing is restored, and what is left after twenty scales is quantized. And it computes
    rotations where none came with a layer's arguments, also where there are none (OPT).
    """

    class Quantizer(base):
        def init_quant(self, *args: Any, **options: Any) -> Any:
            modules, arguments, inputs = super().init_quant(*args, **options)
            if not hasattr(self.model.base_model, "rotary_emb"):
                arguments.setdefault("position_embeddings", ())  # what a layer does not take is left out
            return modules, arguments, inputs

        def _compute_best_scale(
            self, x: Tensor, w_mean: Tensor, x_mean: Tensor, module: nn.Module, *rest: Any, **named: Any
        ) -> Any:
            with _copied_state(module):
                return super()._compute_best_scale(x, w_mean, x_mean, module, *rest, **named)

    return Quantizer


@contextmanager
def _copied_state(module: nn.Module) -> Iterator[None]:
    """Within it the module's `state_dict` is a copy."""
    state = module.state_dict
    module.state_dict = lambda: {name: tensor.clone() for name, tensor in state().items()}
    try:
        yield
    finally:
        del module.state_dict


def _reported(progress: LayerProgress) -> Callable[..., Iterator[Any]]:
    """In the place of AutoAWQ's bar over a model's layers."""

    def bar(layers: Any, **_: object) -> Iterator[Any]:
        for index in layers:
            yield index
            progress.layer_complete(layer_idx=index, submodule_finalized=False)

    return bar
