"""The screens of long runs: bench, eval and quantize, and what was kept of earlier ones."""
