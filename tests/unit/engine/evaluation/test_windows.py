"""Windows, pieces and the name of the convention: which token is scored after what."""

import msgspec
import pytest

from engine.config import profiles
from engine.errors import InputError
from engine.evaluation import settings
from engine.evaluation.settings import Settings, Span, spans
from engine.evaluation.windows import Text, in_windows
from engine.protocol.scores import Passage, Tokenized
from engine.session.passages import parts
from engine.token_ids import sha256


def asked(**given: object) -> Settings:
    return Settings(profiles=(), **given)  # type: ignore[arg-type]


def text(settings: Settings, tokens: int, beginning: tuple[int, ...] = ()) -> Text:
    return in_windows(
        settings, Tokenized(request=1, token_ids=tuple(range(100, 100 + tokens)), beginning=beginning)
    )


def test_windows_without_overlap_score_their_second_half_and_leave_the_rest_out() -> None:
    assert list(spans(asked(window=8), 19, 0)) == [Span(0, 4, 8), Span(8, 12, 16)]


def test_all_tokens_but_the_first_of_a_window() -> None:
    assert list(spans(asked(window=8, scored="all"), 16, 0)) == [Span(0, 1, 8), Span(8, 9, 16)]


@pytest.mark.parametrize("scored", ["half", "all"])
@pytest.mark.parametrize("stride", [1, 3, 4, 7])
def test_overlapping_windows_score_no_token_twice_and_leave_none_out(scored: str, stride: int) -> None:
    windows = list(spans(asked(window=8, stride=stride, scored=scored), 30, 0))
    targets = [index for span in windows for index in range(span.first, span.end)]
    assert len(targets) == len(set(targets)) and targets == sorted(targets)
    if scored == "all" or stride <= 4:
        assert targets == list(range(windows[0].first, windows[-1].end))


def test_a_short_text_is_one_window() -> None:
    assert list(spans(asked(window=8), 6, 0)) == [Span(0, 4, 6)]
    assert list(spans(asked(window=8), 3, 0)) == []


def test_a_window_that_the_tokenizers_own_beginning_fills_is_none() -> None:
    assert list(spans(asked(window=2), 30, 2)) == [] == list(spans(asked(window=2), 30, 3))
    assert list(spans(asked(window=2), 3, 1)) == [Span(0, 0, 1), Span(1, 1, 2), Span(2, 2, 3)]


def test_bos_stands_before_each_window_and_takes_a_place_in_it() -> None:
    found = text(asked(window=8), 20, (1,))
    first, second = found.windows
    assert first == ((1, *range(100, 107)), 4) and second == ((1, *range(107, 114)), 4)
    assert found.convention.begins == "each window" and found.convention.scored_tokens == 8
    assert found.convention.tokens_sha256 == sha256(range(100, 120))


def test_the_papers_convention_has_bos_once_and_is_named() -> None:
    found = text(asked(window=2048, scored="all"), 5000, (1,))
    (first, start), (second, _) = found.windows
    assert first[:2] == (1, 100) and second[0] == 100 + 2047 and start == 1
    assert len(first) == len(second) == 2048 and found.convention.scored_tokens == 2 * 2047
    assert found.convention.begins == "the text"
    assert "the convention of the GPTQ and AWQ papers" in found.convention.line
    assert "2 windows of 2048, no overlap, all tokens scored (4094)" in found.convention.line
    assert text(asked(window=512, scored="all"), 5000).convention.name == ""
    assert "llama.cpp" in text(asked(window=512), 5000).convention.line
    assert "stride 128" in text(asked(window=512, stride=128), 5000).convention.line


def test_pieces_hold_every_position_once_whatever_their_size() -> None:
    found = text(asked(window=16), 40)
    whole = list(found.pieces(row_bytes=1))
    assert [piece.positions for piece in whole] == [8, 8]
    small = list(found.pieces(row_bytes=(128 << 20) // 3))
    assert [piece.positions for piece in small] == [3, 3, 2, 3, 3, 2]
    assert [piece.at for piece in small] == [0, 3, 6, 8, 11, 14]
    assert [piece.passage.continues for piece in small] == [False, True, True] * 2
    targets = [token for piece in small for token in piece.passage.token_ids[piece.passage.first :]]
    assert targets == [*range(108, 116), *range(124, 132)]
    assert found.tokens_to_read == 32


def test_parts_of_a_passage_keep_what_it_asks_for() -> None:
    first, second = parts(Passage(token_ids=(1, 2, 3, 4), first=2, top=5), 1)
    assert first == Passage(token_ids=(1, 2, 3), first=2, top=5)
    assert second == Passage(token_ids=(1, 2, 3, 4), first=3, continues=True, top=5)


@pytest.mark.parametrize(
    ("name", "said"),
    [("wikitext", "did you mean wikitext2?"), ("nothing.txt", "no such file"), ("a.doc", "choose from")],
)
def test_a_text_that_is_none_is_reported(name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        settings.require_text(name)
    assert said in str(caught.value)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"window": 1}, {"stride": 513}, {"tokens": 1}):
        with pytest.raises(ValueError, match="expected"):
            asked(**wrong)


def test_calibration_with_the_text_is_reported() -> None:
    gptq = msgspec.structs.replace(profiles.find("smollm2-gptq4"), name="g")
    assert settings.calibration_notes(gptq, "python-docs") == []
    on_wiki = profiles.changed(gptq, {"quantization.calibration": {"dataset": "wikitext2"}})
    assert settings.calibration_notes(on_wiki, "wikitext2") == [
        "it was calibrated with another part of wikitext2"
    ]


def test_a_positions_depth_is_how_many_tokens_of_its_window_come_before() -> None:
    assert text(asked(window=4, scored="all"), 8).depths == [1, 2, 3, 1, 2, 3]
    found = text(asked(window=6, stride=3), 12, (1,))  # BOS counts: the model has read it
    assert len(found.depths) == found.convention.scored_tokens
    assert found.depths[:3] == [3, 4, 5]


def test_a_window_that_is_longer_than_a_pass_is_read_in_passes() -> None:
    (piece,) = text(asked(window=5000, scored="all"), 5000).pieces(1)
    assert piece.passage.chunk == settings.PASS_TOKENS < 5000
