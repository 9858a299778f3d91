"""Scores of given tokens: against hand-made logits, against a plain forward pass, and piece by piece."""

import math
import subprocess
import sys
from collections.abc import Iterator
from functools import cache as once
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engine.config import profiles
from engine.errors import GenerationError, InputError
from engine.evaluation.settings import Settings
from engine.evaluation.windows import in_windows
from engine.protocol.failure import Failed
from engine.protocol.scores import Logits, Passage, Score, Scored, Tokenize
from engine.session.passages import parts
from engine.session.shared_file import SharedFile
from engine.stats import fidelity
from engine.stats.fidelity import Scores
from engine.worker.load import LoadedModel, load
from engine.worker.measure import logits_bytes, score
from engine.worker.measure.score import Scorer
from engine.worker.texts import evaluation
from engine.worker.texts.sets import python_docs

TOKENS = tuple(torch.randint(0, 256, (96,), generator=torch.Generator().manual_seed(1)).tolist())


@once
def tiny(dtype: str = "float32") -> LoadedModel:
    wanted = profiles.changed(profiles.of_model("random:tiny"), {"model.dtype": dtype})
    return load(wanted, 1, lambda staged: None)


@once
def rounded() -> LoadedModel:
    """The same model with weights cut to three bits: something to be far from."""
    wanted = profiles.changed(profiles.of_model("random:tiny"), {"model.dtype": "float32"})
    loaded = load(wanted, 1, lambda staged: None)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.copy_((weight / weight.abs().max() * 4).round() * weight.abs().max() / 4)
    return loaded


def scored(loaded: LoadedModel, passage: Passage, **more: object) -> Scored:
    found = Scorer().scored(loaded, Score(request=1, passage=passage, **more), lambda: False)
    assert isinstance(found, Scored)
    return found


def plain_log_probs(loaded: LoadedModel, tokens: tuple[int, ...]) -> Tensor:
    """[n - 1, vocabulary] of a plain forward pass."""
    with torch.inference_mode():
        return loaded.model(torch.tensor([tokens])).logits[0, :-1].float().log_softmax(-1)


@pytest.fixture
def shared() -> Iterator[SharedFile]:
    with SharedFile.in_memory(4 << 20) as file:
        yield file


def test_divergence_of_hand_made_distributions() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    q = torch.tensor([[0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
    expected = [0.5 * math.log(2), 0.0]
    assert score.divergence(p.log(), q.log()).tolist() == pytest.approx(expected)


def test_divergence_is_taken_in_float32_and_nothing_is_far_from_itself() -> None:
    logits = torch.randn(5, 49152, generator=torch.Generator().manual_seed(0)).mul(5).bfloat16()
    same = score.log_softmax(logits)
    assert same.dtype == torch.float32
    assert score.divergence(same, same).tolist() == [0.0] * 5
    other = score.log_softmax(logits + 0.5)
    assert (score.divergence(same, other) >= 0).all()


def test_a_rounding_step_is_the_distance_to_the_next_number() -> None:
    values = torch.tensor([20.0, 1.0, 0.75])
    assert score.rounding_step(values.bfloat16()).tolist() == [0.125, 2**-7, 2**-8]
    assert score.rounding_step(values)[0] == 2.0**-19


def test_scores_are_those_of_a_plain_forward_pass() -> None:
    found = scored(tiny(), Passage(token_ids=TOKENS, first=40, top=5))
    plain = plain_log_probs(tiny(), TOKENS)[39:]
    expected = plain.gather(1, torch.tensor(TOKENS[40:])[:, None])[:, 0]
    assert found.log_probs == pytest.approx(expected.tolist(), abs=1e-5)
    assert list(found.first_choices) == plain.argmax(-1).tolist()
    assert [ids[0] for ids in found.top_ids] == list(found.first_choices)
    best = plain.topk(5)
    assert [list(ids) for ids in found.top_ids] == best.indices.tolist()
    assert torch.tensor(found.top_log_probs).exp() == pytest.approx(best.values.exp().numpy(), abs=1e-4)
    assert set(TOKENS[40:]) <= found.pieces.keys() and found.read_tokens == 96


@pytest.mark.parametrize("chunk", [None, 1, 7, 64])
def test_chunks_of_the_forward_pass_change_nothing(chunk: int | None) -> None:
    whole = scored(tiny(), Passage(token_ids=TOKENS, first=1))
    found = scored(tiny(), Passage(token_ids=TOKENS, first=1, chunk=chunk))
    assert found.log_probs == pytest.approx(whole.log_probs, abs=1e-5)
    assert found.first_choices == whole.first_choices


@pytest.mark.parametrize("positions", [1, 9, 1000])
def test_logits_through_shared_memory_give_the_divergence_of_plain_passes(
    shared: SharedFile, positions: int
) -> None:
    """In pieces of any size; the file never holds more than one of them."""
    first, second = Scorer(), Scorer()
    klds: list[float] = []
    for part in parts(Passage(token_ids=TOKENS, first=30), positions):
        given = first.scored(tiny(), Score(request=1, passage=part, write=shared.place(512)), lambda: False)
        assert isinstance(given, Scored)
        command = Score(request=1, passage=part, reference=given.logits)
        klds += second.scored(rounded(), command, lambda: False).klds
    p, q = (plain_log_probs(loaded, TOKENS)[29:].double() for loaded in (tiny(), rounded()))
    assert klds == pytest.approx((p.exp() * (p - q)).sum(-1).tolist(), rel=1e-4, abs=1e-6)
    assert min(klds) > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_is_at_no_distance_from_itself(shared: SharedFile, dtype: str) -> None:
    passage = Passage(token_ids=TOKENS, first=1)
    given = scored(tiny(dtype), passage, write=shared.place())
    assert given.logits is not None and given.logits.dtype == dtype
    found = scored(tiny(dtype), passage, reference=given.logits)
    assert set(found.klds) == {0.0}
    mine, theirs = Scores(), Scores()
    theirs.add(given.log_probs, given.first_choices)
    mine.add(found.log_probs, found.first_choices, found.klds)
    figures = fidelity.against(mine, theirs)
    assert (figures.same_top, figures.rms_dp, figures.perplexity_ratio) == (100, 0, 1)


def test_slices_bound_the_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(tiny(), Passage(token_ids=TOKENS, first=1, top=2))
    monkeypatch.setattr(score, "SLICE_BYTES", 5 * 4 * tiny().info.vocabulary)
    assert score.slice_positions(tiny().info.vocabulary) == 5
    found = scored(tiny(), Passage(token_ids=TOKENS, first=1, top=2))
    assert found.log_probs == pytest.approx(whole.log_probs, abs=1e-6) and found.top_ids == whole.top_ids


def test_perplexity_is_that_of_a_plain_loop() -> None:
    asked = Settings(profiles=(), window=64, tokens=300)
    loaded = tiny()
    text = in_windows(
        asked, evaluation.tokenize(loaded.tokenizer, Tokenize(request=1, text="python-docs", tokens=300))
    )
    found, scorer = Scores(), Scorer()
    for piece in text.pieces(row_bytes=4 * loaded.info.vocabulary):
        result = scorer.scored(loaded, Score(request=1, passage=piece.passage), lambda: False)
        found.add(result.log_probs, result.first_choices)
    total, count = 0.0, 0
    for window, _ in text.windows:
        log_probs = plain_log_probs(loaded, window)
        for index in range(32, 64):
            total, count = total - float(log_probs[index - 1, window[index]]), count + 1
    figures = fidelity.alone(found)
    assert figures.tokens == count == 4 * 32
    assert figures.perplexity == pytest.approx(math.exp(total / count), rel=1e-4)


def test_what_cannot_be_scored_is_reported(shared: SharedFile) -> None:
    for first in (0, len(TOKENS)):
        with pytest.raises(InputError, match="nothing to score"):
            scored(tiny(), Passage(token_ids=TOKENS, first=first))
    window = tiny().info.context_length
    with pytest.raises(InputError, match="do not fit the model's context window"):
        scored(tiny(), Passage(token_ids=(1,) * (window + 1), first=1))
    with pytest.raises(InputError, match="do not continue"):
        scorer = Scorer()
        scorer.scored(tiny(), Score(request=1, passage=Passage(token_ids=TOKENS, first=1)), lambda: False)
        again = Passage(token_ids=TOKENS, first=1, continues=True)
        scorer.scored(tiny(), Score(request=1, passage=again), lambda: False)
    short = Logits(place=shared.place(4 << 20), positions=95, vocabulary=512, dtype="float32")
    with pytest.raises(InputError, match="is too short"):
        scored(tiny(), Passage(token_ids=TOKENS, first=1), reference=short)


def test_a_cancelled_passage_ends_before_its_next_chunk() -> None:
    asked = iter((False, True))
    command = Score(request=3, passage=Passage(token_ids=TOKENS, first=1, chunk=8))
    found = Scorer().scored(tiny(), command, lambda: next(asked))
    assert found == Failed(kind="cancelled", message="cancelled", request=3, ns=found.ns)


def test_a_cancelled_passage_ends_in_the_middle_of_a_pass() -> None:
    looks: list[object] = []
    command = Score(request=3, passage=Passage(token_ids=TOKENS, first=1))
    found = Scorer().scored(tiny(), command, lambda: looks.append(0) or len(looks) > 5)
    assert found == Failed(kind="cancelled", message="cancelled", request=3, ns=found.ns)
    assert len(looks) == 6


def test_logits_that_are_no_numbers_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "log_softmax", lambda logits: logits.float() * torch.nan)
    with pytest.raises(GenerationError, match="infinite or NaN"):
        scored(tiny(), Passage(token_ids=TOKENS, first=1))


def test_a_shared_file_has_no_name_and_frees_its_disk_space() -> None:
    with SharedFile.in_memory(1 << 16) as file:
        path = file.place().path
        assert (
            str(Path(path).readlink()) == "/memfd:quantduel-logits (deleted)"
            and Path(path).stat().st_size == 1 << 16
        )
        logits_bytes.write(path, 3, memoryview(b"abc"))
        found = memoryview(bytearray(3))
        logits_bytes.fill(path, 3, found)
        assert bytes(found) == b"abc"
    assert not Path(path).exists()


def test_a_shared_file_is_gone_with_a_process_that_is_killed() -> None:
    """Nobody sweeps: the kernel keeps it for as long as its owner lives."""
    code = (
        "from engine.session.shared_file import SharedFile; import time\n"
        "file = SharedFile.in_memory(64 << 20); print(file.place().path, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        path = Path(owner.stdout.readline().strip())
        assert path.stat().st_size == 64 << 20
        owner.kill()
        owner.wait()
    assert not path.exists()


def test_a_file_on_disk_is_unlinked_from_the_beginning(tmp_path: Path) -> None:
    with SharedFile.on_disk(tmp_path, 1 << 16) as file:
        assert Path(file.place().path).stat().st_size == 1 << 16
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"space|large|Invalid"):
        SharedFile.on_disk(tmp_path, 1 << 62)


def test_the_first_tokens_of_a_text_are_those_of_the_whole(
    demo_tokenizer: PreTrainedTokenizerBase,
) -> None:
    text = evaluation.whole("python-docs")
    everything = evaluation.token_ids(demo_tokenizer, text, None)
    for tokens in (10, 1000):
        assert evaluation.token_ids(demo_tokenizer, text, tokens) == everything[:tokens]
    assert len(everything) > 5000


def test_calibration_and_evaluation_share_no_topic() -> None:
    text = evaluation.whole("python-docs")
    assert not [topic for topic in python_docs(held_out=False) if topic in text]


def test_margins_are_between_the_references_own_two_choices(shared: SharedFile) -> None:
    passage = Passage(token_ids=TOKENS, first=1)
    given = scored(tiny(), passage, write=shared.place())
    found = scored(rounded(), passage, reference=given.logits)
    reference, other = plain_log_probs(tiny(), TOKENS), plain_log_probs(rounded(), TOKENS)
    best = reference.topk(2)
    assert found.reference_margins == pytest.approx(
        (best.values[:, 0] - best.values[:, 1]).tolist(), abs=1e-4
    )
    pairs = other.gather(1, best.indices)
    assert found.margins == pytest.approx((pairs[:, 0] - pairs[:, 1]).tolist(), abs=1e-4)
    assert min(found.margins) < 0 < min(found.reference_margins)
    same = scored(tiny(), passage, reference=given.logits)
    assert same.margins == same.reference_margins and set(same.reference_rounding) <= {
        2.0**-k for k in range(20, 28)
    }


def test_a_margin_is_a_number_where_a_token_is_ruled_out() -> None:
    pairs = torch.tensor([[1.0, -torch.inf], [-torch.inf, -torch.inf], [2.0, 0.5]])
    assert score.margin(pairs) == [1e4 + 1, 0.0, 1.5]
