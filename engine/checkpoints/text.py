"""A quantized checkpoint as lines: where it is, how it was made, what it lost. Knows no terminal."""

from pathlib import Path

from engine.config.record import Record
from engine.units import bytes_text, seconds_text, time_text


def summary(record: Record, path: Path, size_bytes: int) -> list[str]:
    """One fact a line."""
    recipe = record.recipe
    made = time_text(record.created, with_zone=True)
    versions = ", ".join(f"{name} {version}" for name, version in recipe.versions.items())
    facts = {
        "checkpoint": f"{path} ({bytes_text(size_bytes)})",
        "method": f"{recipe.method.label(recipe.dtype)}, of {recipe.model} in {recipe.dtype}",
        "perplexity": perplexity_text(record),
        "quantizing": f"{seconds_text(record.seconds)}; with reading, saving and checking "
        f"{seconds_text(record.total_seconds)}",
        "peak memory": bytes_text(record.peak_bytes),
        "made": f"{made}, from profile {record.profile}, with {versions}",
    }
    width = max(map(len, facts))
    return [*(f"{name:<{width}}  {fact}" for name, fact in facts.items()), *_notes(record)]


def perplexity_text(record: Record) -> str:
    """`19.39 (source 17.74, × 1.093) on python-docs, …`."""
    check = record.check
    if check is None:
        return "not measured"
    figures = f"{check.perplexity:.2f} (source {check.source_perplexity:.2f}, × {check.ratio:.3f})"
    return f"{figures} on {check.text}"


def _notes(record: Record) -> list[str]:
    return [f"note: {note}" for note in record.notes if not note.startswith("perplexity")]
