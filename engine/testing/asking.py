"""One question to one loaded model, and what came back. Knows a session; neither sets nor files."""

import hashlib
import struct
from collections.abc import Sequence
from contextlib import aclosing

from engine.config.profile import Prompt
from engine.duel.answer import Answer
from engine.protocol.answers import Message, Rendered
from engine.protocol.failure import Failed
from engine.protocol.scores import Passage
from engine.session.client import Session
from engine.testing import settings
from engine.testing.checks import likeliest
from engine.testing.questions import Question, Response

ITS_OWN = frozenset({"bad_input", "generation"})
"""Failures of one question, such as one that is too long; others are the worker's."""


async def asked(session: Session, question: Question, max_new_tokens: int) -> Response | Failed:
    """The model's answer; Failed where the model can answer nothing more."""
    if question.continuations:
        return await _chosen(session, question)
    how = settings.generation(question, max_new_tokens)
    prompt = settings.prompt(question, session.profile)
    answer = Answer(info=session.info, limit=how.max_new_tokens)
    messages = (Message("user", question.prompt),)
    threads = session.info.threads if session.info else None  # fixed: rounding depends on their number
    async with aclosing(session.generate(messages, how, prompt=prompt, cold=True, threads=threads)) as events:
        async for event in events:
            answer.add(event)
    if answer.failure:
        return _failed(answer.failure)
    return Response(
        prompt_sha256=answer.prompt_sha256,
        text=answer.parts.said,
        tokens=len(answer.token_ids),
        finish_reason=answer.finish_reason,
    )


async def _chosen(session: Session, question: Question) -> Response | Failed:
    """The log-likelihoods of what may follow the prompt."""
    prompt: Prompt = settings.prompt(question, session.profile)
    messages = (Message("user", question.prompt),)
    rendered = await session.render(messages, prompt, question.continuations)
    if not isinstance(rendered, Rendered):
        return _failed(rendered)
    values: list[float] = []
    for ids in rendered.continuation_ids:
        passage = Passage(token_ids=(*rendered.token_ids, *ids), first=len(rendered.token_ids))
        scored = await session.score(passage)
        if isinstance(scored, Failed):
            return _failed(scored)
        values.append(sum(scored.log_probs))
    everything = (rendered.token_ids, *rendered.continuation_ids)
    return Response(
        prompt_sha256=_sha256([id for ids in everything for id in ids]),
        text=question.continuations[likeliest(values)].strip(),
        log_likelihoods=tuple(values),
    )


def _failed(failed: Failed) -> Response | Failed:
    return Response(error=failed.failure) if failed.kind in ITS_OWN else failed


def _sha256(token_ids: Sequence[int]) -> str:
    """As a worker's of a prompt: of the ids as little-endian 32-bit integers."""
    return hashlib.sha256(struct.pack(f"<{len(token_ids)}i", *token_ids)).hexdigest()
