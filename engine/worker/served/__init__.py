"""A side that a server computes: no torch, only requests. What a worker does instead of loading a model."""
