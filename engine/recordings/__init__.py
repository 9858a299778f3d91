"""Duels that are kept as they happen: found again, exported, and played without a model."""
