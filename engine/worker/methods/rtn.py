"""Round to nearest: stored as GPTQ stores, so it is loaded as GPTQ is, with the same kernel."""

from engine.worker.methods.gptq import STAGE, load

__all__ = ["STAGE", "load"]
