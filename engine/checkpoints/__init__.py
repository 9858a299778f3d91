"""Quantized checkpoints on disk: kept, exported, described."""
