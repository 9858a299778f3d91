"""What Triton compiles: the parts of a decode step on a GPU. Knows tensors, not models."""

COMPILED = {"enable_fp_fusion": True}
"""Options of each: a product and a sum are one instruction, by Triton's own default until 3.9 only."""
