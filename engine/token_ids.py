"""Token ids as a proof: the same hash for the same ids, whoever has them. Pure."""

import struct
from collections.abc import Sequence


def sha256(token_ids: Sequence[int]) -> str:
    """SHA-256 of the ids as little-endian 32-bit integers, to prove two prompts equal."""
    import hashlib  # OpenSSL, which the first picture does without

    return hashlib.sha256(struct.pack(f"<{len(token_ids)}i", *token_ids)).hexdigest()
