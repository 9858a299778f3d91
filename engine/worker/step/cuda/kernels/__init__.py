"""What Triton compiles: the parts of a decode step on a GPU. Knows tensors, not models."""
