"""The decode step on a GPU: five kernels a layer, written in Triton."""
