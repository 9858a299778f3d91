"""A checkpoint in the making: calibration, quantizers, the check of the result."""
