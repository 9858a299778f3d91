"""Pieces of text: whole characters, and together what the tokenizer says of all ids."""

import random
from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.worker.checkpoints.random_tokenizer import random_tokenizer
from engine.worker.generate.detokenize import INCOMPLETE, Detokenizer, StopStrings

SAMPLES = [
    "Plain English, with punctuation!",
    "family 👨‍👩‍👧‍👦 flag 🇫🇷 thumbs 👍🏽 end",
    "漢字かな交じり文、한국어 그리고 ไทย",
    "  two leading spaces\n\n\ttab — dash… ‘quotes’",
    "a�b \x1b[31mred\x1b[0m [bold red]x[/]",
]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Llama-2's pipeline: ▁ for spaces, one stripped in front, bytes for what is not in the vocabulary."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += ["▁", "▁▁", "a", "b", "é", "▁the", "▁a", "ing", "漢", "�", "\n"]
    tokenizer = Tokenizer(
        models.BPE({word: id for id, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def metaspace() -> PreTrainedTokenizerFast:
    """SentencePiece's newer shape: the decoder itself drops the first space."""
    words = ["<unk>", "</s>", "▁", "▁the", "▁a", "b", "ing", "▁▁▁"]
    tokenizer = Tokenizer(models.BPE({word: id for id, word in enumerate(words)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


@pytest.fixture(params=["demo", "sentencepiece", "metaspace", "bytes"])
def tokenizer(
    request: pytest.FixtureRequest, demo_tokenizer: PreTrainedTokenizerBase
) -> PreTrainedTokenizerBase:
    makers = {
        "demo": lambda: demo_tokenizer,
        "sentencepiece": sentencepiece_like,
        "metaspace": metaspace,
        "bytes": lambda: random_tokenizer(512, 2048),
    }
    return makers[request.param]()


def pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """One piece a token, and the last one that was held back."""
    detokenizer = Detokenizer(tokenizer)
    return [*map(detokenizer.push, ids), detokenizer.flush()]


def whole(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def random_ids(tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[list[int]]:
    """Short and long lists, evenly mixed, of few kinds, and of one token again and again."""
    chance = random.Random(seed)
    for _ in range(60):
        length = chance.choice([1, 2, 3, 8, 40, 150])
        kinds = [chance.randrange(len(tokenizer)) for _ in range(chance.choice([1, 2, 4, length]))]
        yield [chance.choice(kinds) for _ in range(length)]


@pytest.mark.parametrize("seed", range(8))
def test_pieces_of_any_ids_join_to_the_tokenizers_own_text(
    tokenizer: PreTrainedTokenizerBase, seed: int
) -> None:
    for ids in random_ids(tokenizer, seed):
        assert "".join(pieces(tokenizer, ids)) == whole(tokenizer, ids), ids


@pytest.mark.parametrize("text", SAMPLES)
def test_real_text_comes_in_whole_characters(demo_tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = demo_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 5
    got = pieces(demo_tokenizer, ids)
    assert "".join(got) == text
    assert sum(piece.count(INCOMPLETE) for piece in got) == text.count(INCOMPLETE)


@pytest.mark.parametrize("text", SAMPLES[:4])
def test_bytes_of_one_character_wait_for_each_other(text: str) -> None:
    tokenizer = sentencepiece_like()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    got = pieces(tokenizer, ids)
    assert "".join(got) == text
    assert INCOMPLETE not in "".join(got)


def test_an_emoji_appears_with_its_last_byte(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = demo_tokenizer("🦙", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    assert pieces(demo_tokenizer, ids) == [*([""] * (len(ids) - 1)), "🦙", ""]


def test_an_unfinished_character_is_shown_as_such_at_the_end(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = demo_tokenizer("ok 🦙", add_special_tokens=False)["input_ids"][:-1]
    assert "".join(pieces(demo_tokenizer, ids)) == f"ok {INCOMPLETE}"


def test_special_tokens_are_not_shown(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = demo_tokenizer("one<|im_end|> two<|endoftext|>", add_special_tokens=False)["input_ids"]
    assert "".join(pieces(demo_tokenizer, ids)) == "one two"


def test_a_window_never_grows_with_the_text(demo_tokenizer: PreTrainedTokenizerBase) -> None:
    """Endless broken bytes, and endless genuine replacement characters, cost no more than plain text."""
    broken = demo_tokenizer.convert_tokens_to_ids("ä")  # the byte E4 in the byte-level alphabet
    genuine = demo_tokenizer(INCOMPLETE, add_special_tokens=False)["input_ids"]
    for ids in ([broken] * 300, genuine * 100, demo_tokenizer("word " * 300)["input_ids"]):
        detokenizer = Detokenizer(demo_tokenizer)
        shown = sum(len(detokenizer.push(id)) for id in ids)
        assert len(detokenizer._window) <= 4
        assert shown >= len(whole(demo_tokenizer, ids)) - 1


def test_text_ends_before_a_stop_string() -> None:
    stops = StopStrings(("\nUser:", "###"))
    assert [stops.push(piece) for piece in ("Hello", " you\n", "Us", "e", "d \nUser", ": x")] == [
        "Hello",
        " you",
        "",
        "",
        "\nUsed ",
        "",
    ]
    assert stops.reached
    assert stops.push("more") == stops.flush() == ""


def test_a_stop_string_inside_one_piece_and_the_earliest_of_several() -> None:
    stops = StopStrings(("yy", "x"))
    assert stops.push("ab xyy") == "ab "
    assert stops.reached


def test_what_became_no_stop_string_is_shown_at_the_end() -> None:
    stops = StopStrings(("STOP",))
    assert stops.push("a ST") == "a "
    assert not stops.reached
    assert stops.flush() == "ST"


def test_a_stop_string_that_overlaps_its_own_beginning_is_found() -> None:
    stops = StopStrings(("aab",))
    assert "".join(stops.push(letter) for letter in "xaaab") == "xa"
    assert stops.reached


@pytest.mark.parametrize("seed", range(20))
def test_stop_strings_split_at_random_give_the_text_before_the_first(seed: int) -> None:
    chance = random.Random(seed)
    text = "".join(chance.choices("ab", k=60))
    length = chance.randint(2, 7)
    targets = tuple("".join(chance.choices("ab", k=length)) for _ in range(2))
    stops, rest, shown = StopStrings(targets), text, ""
    while rest:
        size = chance.randint(1, 4)
        piece, rest = rest[:size], rest[size:]
        shown += stops.push(piece)
    expected = min((text.index(stop) for stop in targets if stop in text), default=len(text))
    assert shown + stops.flush() == text[:expected]


def test_stop_strings_are_found_in_names_across_them_and_without_them() -> None:
    """`<s>`, `<e>` are special tokens: they count where a stop string has them, and are never shown."""

    def answer(stop: str, *pieces: str) -> tuple[str, bool]:
        stops = StopStrings((stop,))
        named = [("", piece) if piece in {"<s>", "<e>"} else (piece, "") for piece in pieces]
        shown = "".join([stops.push(*piece) for piece in named]) + stops.flush()
        return shown, stops.reached

    assert answer("<e>", "a", "<s>", "b", "<e>", "c") == ("ab", True)
    assert answer("b<e>\nU", "a", "b", "<e>", "\nUser") == ("a", True)
    assert answer("<s><e>", "a", "<s>", "<s>", "<e>", "b") == ("a", True)
    assert answer("User:", "a U", "ser", "<s>", ":", "b") == ("a ", True)
    assert answer("b<e>\nU", "a", "b", "<e>", "\nA", "<s>") == ("ab\nA", False)
    assert answer("<e>x", "a", "<e>") == ("a", False)
    assert answer("zz", "a", "<s>", "b", "<e>", "c", "<s>") == ("abc", False)


@pytest.mark.parametrize("seed", range(20))
def test_stop_strings_among_special_tokens_at_random(seed: int) -> None:
    """What is shown is the text before the first place where a stop string ends, with names or without."""
    chance = random.Random(seed)
    pieces = chance.choices(["a", "b", "ab", "<", "<s>"], k=40)
    stop, named, shown = "".join(chance.choices(["a", "b", "<s>"], k=3)), "", ""
    stops = StopStrings((stop,))
    for piece in pieces:
        shown += stops.push("", piece) if piece == "<s>" else stops.push(piece)
        named += piece
        if stop in named or stop in named.replace("<s>", ""):
            break
    assert stops.reached == (stop in named or stop in named.replace("<s>", ""))
    shown += stops.flush()
    assert named.replace("<s>", "").startswith(shown)
    assert stops.reached or shown == named.replace("<s>", "")
