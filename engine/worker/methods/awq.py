"""AWQ: another layout than GPTQ's and a kernel of its own; which one, the folder's config says."""

from engine.worker.methods.gptq import STAGE, load

__all__ = ["STAGE", "load"]
