"""Why an answer ended, in words: the same on the screen and without. Pure."""

from engine.protocol.answers import FinishReason

STOP_STRING = "ended at a stop string of the profile"


def ending_text(reason: FinishReason | None, tokens: int, limit: int | None) -> str:
    """Why an answer of `tokens` tokens is not at its natural end; empty where it is, or is not known.

    `limit` is the most tokens that were asked for.
    """
    match reason:
        case "length" if limit is not None and tokens < limit:
            return f"cut after {tokens} tokens: the context is full"
        case "length":
            return f"cut at the limit of {tokens} tokens (max_new_tokens)"
        case "cancelled":
            return f"cancelled after {tokens} tokens" if tokens else "cancelled before its first token"
    return ""
