"""The lens with real workers on tiny random models, and its verdicts on hand-made views."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import torch
from msgspec.structs import replace

from engine.config import profiles
from engine.config.profile import Generation, Profile
from engine.duel import lens_text
from engine.duel.duel import Duel
from engine.duel.lens import Choice, Lens, NoLens, VerdictKind, View
from engine.duel.looking import judge, look, verdict_words
from engine.protocol.answers import Message, Rendered
from engine.protocol.model import ServedModel
from engine.session.client import Session
from engine.worker.load import load as load_here

ANSWER = Generation(max_new_tokens=12)


@pytest.fixture(scope="module")
async def duel(load: Callable[[Profile], Awaitable[Session]]) -> Duel:
    """float32 against 4 bits, after one greedy turn."""
    exact = profiles.changed(profiles.find("random-tiny-bf16"), {"model.dtype": "float32"})
    found = Duel([await load(exact), await load(profiles.find("random-tiny-nf4"))])
    async for _ in found.ask("Hello there, who are you?", ANSWER):
        pass
    return found


@pytest.fixture(scope="module")
async def lens(duel: Duel) -> Lens:
    found = await look(duel)
    assert isinstance(found, Lens)
    return found


async def test_the_first_divergence_is_where_the_ids_part(duel: Duel, lens: Lens) -> None:
    a, b = (duel.answers[side].token_ids for side in (0, 1))
    parted = next(index for index in range(12) if a[index] != b[index])
    assert lens.verdict is not None and lens.verdict.index == parted
    assert [token.token_id for token in lens.readings[0].tokens] == a
    assert [token.token_id for token in lens.readings[1].tokens] == b
    view = lens.readings[0].tokens[parted].views[0]
    assert view.top[0].token_id == a[parted] and lens.verdict.margin == view.margin


async def test_probabilities_are_those_of_a_plain_forward_pass(duel: Duel, lens: Lens) -> None:
    loaded = load_here(duel.sessions[0].profile, 1, lambda staged: None)
    rendered = await duel.sessions[0].render((Message("user", "Hello there, who are you?"),))
    assert isinstance(rendered, Rendered)
    for reading in lens.readings:
        ids = [token.token_id for token in reading.tokens]
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([[*rendered.token_ids, *ids]])).logits[0].float()
        plain = logits[len(rendered.token_ids) - 1 : -1].softmax(-1)
        for token, expected in zip(reading.tokens, plain, strict=True):
            best = expected.topk(5)
            view = token.views[0]
            assert [choice.probability for choice in view.top] == pytest.approx(
                best.values.tolist(), abs=1e-4
            )
            assert [choice.token_id for choice in view.top] == best.indices.tolist()
            assert view.log_prob == pytest.approx(float(expected[token.token_id].log()), abs=1e-4)


async def test_divergence_differences_and_summary_agree_with_the_tokens(lens: Lens) -> None:
    reading = lens.summary
    assert reading.side == 0 and len(reading.tokens) == 12
    assert reading.mean_kld == pytest.approx(sum(token.kld for token in reading.tokens) / 12)
    assert all(token.kld > 0 for token in reading.tokens)
    different = [t.index for t in reading.tokens if t.views[0].top[0].token_id != t.views[1].top[0].token_id]
    assert list(reading.different_top) == different
    assert reading.margins is not None and 0 < reading.margins.decided <= 12
    assert any("of A's margins" in line for line in lens_text.lines(lens))
    good_enough = lens_text.good_enough(reading)
    assert good_enough.startswith("B, on 12 tokens of this prompt: undecided: KLD ")
    assert good_enough.endswith("`quantduel eval` decides, on a text")
    first, *rest = lens_text.lines(lens)
    assert first.startswith(f"Token {lens.verdict.index + 1}: ") if lens.verdict else False
    assert "mean KLD" in rest[0] and f"top tokens differ at {len(different)} of 12" in rest[0]
    assert msgspec.json.decode(msgspec.json.encode(lens), type=Lens) == lens


async def test_what_cannot_be_compared_is_said(duel: Duel, lens: Lens) -> None:
    session = duel.sessions[1]
    assert session.info is not None
    known = session.info
    try:
        session.info = replace(known, tokenizer_sha256="another")
        found = await look(duel)
        assert isinstance(found, NoLens) and found.reason == "other tokenizer"
        assert "tokenizers differ" in lens_text.lines(found)[0]
        session.info = replace(known, vocabulary=known.vocabulary + 1)
        found = await look(duel)
        assert isinstance(found, NoLens) and found.reason == "other vocabulary"
        session.info = replace(known, served=ServedModel(engine="ollama", address="here:1"))
        found = await look(duel)
        assert isinstance(found, NoLens) and found.message == "ollama does not score an answer's tokens"
    finally:
        session.info = known
    empty = await look(Duel(duel.sessions))
    assert isinstance(empty, NoLens) and empty.reason == "not answered"
    unloaded = await look(Duel([Session(known_profile) for known_profile in [duel.sessions[0].profile] * 2]))
    assert isinstance(unloaded, NoLens) and unloaded.reason == "not ready" and "--" not in unloaded.hint


async def test_sampled_answers_and_differing_prompts(duel: Duel) -> None:
    other = Duel(duel.sessions)
    async for _ in other.ask("Hi", replace(ANSWER, temperature=1.0, seed=3)):
        pass
    found = await look(other)
    assert isinstance(found, Lens)
    async for _ in other.ask("And?", ANSWER):  # after answers that differ
        pass
    found = await look(other)
    assert isinstance(found, Lens) and found.verdict is None and "prompts differ" in found.notes[0]
    assert len(found.readings[1].tokens) == 12


def view(first: int, margin: float) -> View:
    choices = tuple(Choice(token_id, str(token_id), 0.5) for token_id in (first, first + 1))
    return View(log_prob=-1, top=choices, margin=margin)


@pytest.mark.parametrize(
    ("a", "b", "kind", "words"),
    [
        (view(1, 0.1), view(7, 3.0), "coin flip", "a coin flip: A's first choices"),
        (view(1, 0.125), view(1, 3.0), "coin flip", "a coin flip: A's first choices"),
        (view(1, 0.5), view(7, 0.01), "change of mind", "B is undecided (0.01)"),
        (view(1, 0.5), view(1, 0.01), "change of mind", "B is undecided (0.01)"),
        (view(1, 0.5), view(7, 0.5), "change of mind", "B prefers “7” by 0.5"),
        (view(1, 0.5), view(1, 0.5), "draw", "the draw"),
    ],
)
def test_a_verdict_depends_on_margins_and_noise(a: View, b: View, kind: VerdictKind, words: str) -> None:
    assert judge(a, b, 0.125) == kind
    assert words in verdict_words(kind, a, b, 0.125, "B")
