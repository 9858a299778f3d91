"""The noise floor: how far the reference is from itself in another precision, where nothing is quantized.

Pure. Below it no figure tells a candidate from rounding, so a limit that asks for less is refused.
"""

from msgspec.structs import replace

from engine.config.methods import Full, Stored
from engine.config.profile import Dtype, Profile
from engine.evaluation.report import Row
from engine.protocol.failure import Failed
from engine.stats.verdict import Limits
from engine.units import with_error


def twin(reference: Profile) -> Profile | None:
    """The reference in float32, or in bfloat16 where it is float32; None where that is no change."""
    if reference.is_served or not isinstance(reference.quantization, Full | Stored):
        return None
    dtype: Dtype = "bfloat16" if reference.model.dtype == "float32" else "float32"
    name = f"{reference.name} in {dtype}"
    return replace(reference, name=name, model=replace(reference.model, dtype=dtype))


def line(row: Row) -> str:
    """What was measured, in a sentence."""
    if row.kld is None:
        why = f": {row.error.message}" if row.error else ""
        return f"the noise floor was not measured{why}"
    kld, same = with_error(row.kld.mean, row.kld.stderr), with_error(row.same_top, row.same_top_stderr, " %")
    return f"noise floor, {row.profile}: KLD {row.kld_sign}{kld}, same top {same}; no limit can ask for less"


def refusal(limits: Limits, row: Row) -> Failed | None:
    """Why limits cannot be kept to by anything; None where they can, or where no noise was measured."""
    if row.kld is None or row.same_top is None or row.perplexity_ratio is None:
        return None
    faults = []
    if limits.max_kld is not None and limits.max_kld < row.kld.mean:
        faults.append(f"--max-kld {limits.max_kld:g} is below the noise floor, {row.kld.mean:.3g}")
    if limits.min_same_top is not None and limits.min_same_top > row.same_top:
        faults.append(f"--min-same-top {limits.min_same_top:g} is above the noise floor, {row.same_top:.4g}")
    if limits.max_ppl_ratio is not None and limits.max_ppl_ratio < min(1.0, row.perplexity_ratio):
        ratio = f"{row.perplexity_ratio:.4g}"
        faults.append(f"--max-ppl-ratio {limits.max_ppl_ratio:g} is below the noise floor, {ratio}")
    if not faults:
        return None
    hint = f"that is {row.profile}, nothing quantized; ask for less"
    return Failed(kind="bad_input", message="; ".join(faults), hint=hint)
