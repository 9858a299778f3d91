"""Whether a model's weights are on this machine, and what fetching them asks for. Asks no network."""

from typing import Literal

from engine import paths
from engine.config.sources import Folder, GgufFile, Hub, Source
from engine.shape.find import cached
from engine.shape.weight_files import is_whole

Availability = Literal["here", "to fetch", "gated", "missing"]
GATED_OWNERS = frozenset({"meta-llama", "google", "mistralai", "CohereLabs"})
"""Whose models commonly want a licence accepted on the hub; only the hub knows of each one."""


def of(source: Source, revision: str) -> Availability:
    """`gated`: to be fetched without a token, of an owner whose models commonly want a licence accepted."""
    match source:
        case Hub(repo):
            folder = cached(repo, revision)
            if folder is not None and is_whole(folder):
                return "here"
            is_gated = repo.partition("/")[0] in GATED_OWNERS and not paths.hub_token_is_set()
            return "gated" if is_gated else "to fetch"
        case Folder(path) | GgufFile(path):
            return "here" if path.exists() else "missing"
    return "here"
