"""What a model's files say of it before it is loaded: tensors, sizes and architecture, from headers alone.

Reads safetensors headers, GGUF metadata and config.json. Never reads a weight, and knows no torch.
"""
