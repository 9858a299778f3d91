"""What numba compiles. Imported by `compile` alone."""
