"""What bench, eval and quantize have in common: the driver, its events, the time left, the formats."""
