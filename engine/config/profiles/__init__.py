"""Profiles in files: found by name, read and checked, changed, written."""

from engine.config.profiles.finding import CODE_KEYS, available, code_keys, file_of, find, of_model
from engine.config.profiles.reading import changed, faults, here, prompt_here, read, to_yaml

__all__ = [
    "CODE_KEYS",
    "available",
    "changed",
    "code_keys",
    "faults",
    "file_of",
    "find",
    "here",
    "of_model",
    "prompt_here",
    "read",
    "to_yaml",
]
