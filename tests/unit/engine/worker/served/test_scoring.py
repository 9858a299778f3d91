"""Given texts scored by servers: recorded answers, what is believed of them, a reference's logits."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from engine.config.profile import Remote
from engine.config.profiles import of_model
from engine.errors import InputError
from engine.protocol.scores import Logits, Passage, Place, Score, Scored, Tokenize, kept_row_bytes
from engine.stats.lower_bound import at_least
from engine.worker.served.adapter import Adapter, Facts
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.llama_server import LlamaServer
from engine.worker.served.ollama import Ollama
from engine.worker.served.openai import OpenAI
from engine.worker.served.reads import Cancelled
from engine.worker.served.scoring import Scoring
from engine.worker.served.sglang import SGLang
from engine.worker.served.side import described
from engine.worker.served.vllm import Vllm
from tests.served_streams import Play, Replay, answer, recorded, whole

IDS = (504, 3575, 282, 4649, 314)
VOCABULARY = 49152
NO_FACTS = Facts(label="", model="")
PROMPT_LOGPROBS = json.loads(b"".join(recorded("vllm-cpu.text-prompt-logprobs3").reads))


@pytest.fixture
def ask() -> Iterator[Callable[..., Scoring]]:
    servers: list[Replay] = []

    def to(engine: Adapter, *plays: Play, top_k: int = 3) -> Scoring:
        servers.append(Replay(plays))
        return Scoring(
            engine=engine,
            model="m",
            connect=lambda: Connection(servers[-1].root),
            context_length=2048,
            vocabulary=VOCABULARY,
            top_k=top_k,
        )

    yield to
    for server in servers:
        server.close()


def says(found: object) -> Play:
    return lambda to, _: to.sendall(whole(200, json.dumps(found).encode())) or True


def score(scoring: Scoring, *, first: int = 1, top: int = 3, **command: object) -> Scored:
    passage = Passage(token_ids=IDS, first=first, top=top)
    return scoring.scored(Score(request=1, passage=passage, **command), lambda: False)  # type: ignore[arg-type]


def test_vllm_scores_a_passage_in_one_request(ask: Callable[..., Scoring]) -> None:
    found = score(ask(Vllm(), answer(recorded("vllm-cpu.text-prompt-logprobs3"))))
    assert found.log_probs == pytest.approx((-11.70807, -0.33559, -2.41560, -0.47251), abs=1e-5)
    assert found.first_choices == (29, 282, 260, 314)
    assert found.top_ids[2] == (260, 4649, 7476) and found.top_log_probs[2][0] == pytest.approx(
        -2.1656, abs=1e-4
    )
    assert found.pieces[3575] == " capital" and found.read_tokens == 5


def test_vllm_says_how_many_it_tells_by_refusing_more() -> None:
    server = Replay([answer(recorded("vllm-cpu.text-prompt-logprobs-too-many"))])
    assert Vllm().most_likely(Connection(server.root), "m", NO_FACTS) == 200
    server.close()


def test_who_tells_one_token_scores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Replay([], {"/v1/models": (200, b'{"data": [{"id": "m"}]}')})
    monkeypatch.setattr(Vllm, "most_likely", lambda *_: 1)
    asked = replace(of_model(f"{server.root}/v1"), remote=Remote(engine="vllm"))
    assert described(asked, lambda: Connection(server.root), None).top_k == 0
    server.close()


def test_sglang_scores_by_its_own_interface(ask: Callable[..., Scoring]) -> None:
    """From its documentation; no server was run."""
    own = [[None, 504, "The"], [-0.5, 3575, " capital"], [-0.9, 282, " of"]]
    tops = [None, [[-0.5, 3575, " capital"], [-1.5, 7, "x"]], [[-0.6, 8, "y"], [-0.9, 282, " of"]]]
    meta = {"input_token_logprobs": own, "input_top_logprobs": tops}
    passage = Passage(token_ids=IDS[:3], first=1, top=2)
    scoring = ask(SGLang(), says({"text": "", "meta_info": meta}))
    found = scoring.scored(Score(request=1, passage=passage), lambda: False)
    assert found.log_probs == (-0.5, -0.9) and found.first_choices == (3575, 8)


def test_llama_server_is_made_to_write_the_text(ask: Callable[..., Scoring]) -> None:
    written = recorded("xllamacpp.completion-ids-nprobs")
    passage = Passage(token_ids=(*IDS, 7042), first=5, top=5)
    found = ask(LlamaServer(), answer(written), top_k=5).scored(
        Score(request=1, passage=passage), lambda: False
    )
    assert found.log_probs == pytest.approx((-0.2589,), abs=1e-4) and found.top_ids[0][:3] == (
        7042,
        260,
        4528,
    )
    with pytest.raises(ServerError, match="does not score token 314"):
        score(ask(LlamaServer(), answer(written), top_k=5), first=4)


def altered(change: Callable[[list], object]) -> dict:
    found = json.loads(json.dumps(PROMPT_LOGPROBS))
    change(found["choices"][0]["prompt_logprobs"])
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.pop(), "scores 4 tokens of 5"),
        (lambda said: said[2].pop("282"), "does not score token 282"),
        (lambda said: said[2]["282"].update(logprob=0.5), "at most 0"),
        (lambda said: said[2]["2240"].update(logprob=-0.1), "whose sum is"),
        (lambda said: said[2].update({"49152": {"logprob": -3.0}}), "that its vocabulary has not"),
        (lambda said: said[2].update({"-7": {"logprob": -3.0}}), "that its vocabulary has not"),
        (lambda said: said[2].update({"many": {"logprob": -3.0}}), "what is no score"),
        (lambda said: said[2]["282"].update(logprob="no"), "what is no score"),
        (lambda said: said[2]["282"].update(logprob=-9999.0), "no probability"),
        (
            lambda said: said[2].update({str(each): {"logprob": -9.0} for each in range(9)}),
            "likeliest tokens",
        ),
    ],
)
def test_a_server_that_lies_is_not_believed(
    change: Callable[[list], object], words: str, ask: Callable[..., Scoring]
) -> None:
    with pytest.raises(ServerError, match=words):
        score(ask(Vllm(), says(altered(change))))


def test_what_is_endless_is_left(ask: Callable[..., Scoring]) -> None:
    def play(to, _: bytes) -> bool:  # type: ignore[no-untyped-def]
        to.sendall(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n[")
        with suppress(OSError):
            while True:
                to.sendall(b"1," * 65536)
        return False

    with pytest.raises(ServerError, match="more than"):
        score(ask(Vllm(), play))


def test_a_score_that_is_not_wanted_any_more_ends(ask: Callable[..., Scoring]) -> None:
    scoring = ask(Vllm(), lambda to, _: bool(to.recv(1)) and False)
    with pytest.raises(Cancelled):
        scoring.scored(Score(request=1, passage=Passage(token_ids=IDS, first=1)), lambda: True)


@pytest.mark.parametrize("engine", [Ollama(), OpenAI()])
def test_who_scores_nothing_says_so(engine: Adapter, ask: Callable[..., Scoring]) -> None:
    top_k = engine.most_likely(Connection("http://127.0.0.1:1"), "m", NO_FACTS)
    with pytest.raises(InputError, match=f"{engine.name} scores no text that is given to it"):
        score(ask(engine, top_k=top_k))
    with pytest.raises(InputError, match="scores no text"):
        ask(engine, top_k=top_k).tokenized(Tokenize(request=1, text="python-docs"))


def reference(file: Path) -> tuple[Logits, np.ndarray]:
    """Logits in bfloat16 at an offset of a file, and their log-probabilities."""
    logits = np.random.default_rng(1).normal(0, 4, (4, VOCABULARY)).astype("float32")
    halves = (logits.view("uint32") >> 16).astype("uint16")
    file.write_bytes(bytes(10) + halves.tobytes())
    exact = (halves.astype("uint32") << 16).view("float32").astype("float64")
    place = Place(str(file), 10)
    norm = np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return Logits(place=place, positions=4, vocabulary=VOCABULARY, dtype="bfloat16"), exact - norm


def test_all_of_a_references_logits_are_read_where_the_server_tells(
    tmp_path: Path, ask: Callable[..., Scoring]
) -> None:
    logits, log_p = reference(tmp_path / "logits")
    found = score(ask(Vllm(), answer(recorded("vllm-cpu.text-prompt-logprobs3"))), reference=logits)
    for at, said in enumerate(PROMPT_LOGPROBS["choices"][0]["prompt_logprobs"][1:]):
        theirs = {int(each): value["logprob"] for each, value in said.items()}
        expected = at_least([log_p[at, each] for each in theirs], list(theirs.values()))
        assert (found.klds[at], found.left_out[at]) == pytest.approx(expected, rel=1e-4)
    assert found.margins == ()  # the reference's first two are not among the three that are told


def test_a_served_reference_hands_over_what_it_tells(tmp_path: Path, ask: Callable[..., Scoring]) -> None:
    file = tmp_path / "rows"
    file.write_bytes(bytes(4 * kept_row_bytes(4)))
    scoring = ask(Vllm(), *[answer(recorded("vllm-cpu.text-prompt-logprobs3"))] * 2)
    wrote = score(scoring, write=Place(str(file), 0, kept=4))
    assert wrote.logits is not None and wrote.logits.size_bytes == 4 * kept_row_bytes(4)
    found = score(scoring, reference=wrote.logits)
    assert found.klds == pytest.approx((0, 0, 0, 0), abs=1e-6)
    assert found.margins == pytest.approx(found.reference_margins) and found.reference_rounding == (0.0,) * 4
    mass = [math.fsum(map(math.exp, row)) for row in found.top_log_probs]
    assert [1 - each for each in found.left_out[1:]] == pytest.approx(mass[1:], abs=1e-5)
