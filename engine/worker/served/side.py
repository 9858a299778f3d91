"""The loaded side: whom to ask, and as what. Reached or started, and described.

Owns what is known of it. Asks nothing of its model.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from engine import paths
from engine.config.profile import Profile
from engine.config.sources import Served
from engine.errors import LoadError
from engine.protocol.loading import Load, Loaded, Staged
from engine.protocol.model import Energy, ModelInfo, ServedModel, Weights
from engine.protocol.wire import Event
from engine.stats.lower_bound import LEAST_TOP
from engine.units import ms_text
from engine.worker.served import engines
from engine.worker.served.adapter import Adapter, Facts
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.fold import Progress
from engine.worker.served.load_test.made_up import MadeUp
from engine.worker.served.own.local import LocalServer
from engine.worker.served.own.server import OwnServer
from engine.worker.served.own.started import StartedServer
from engine.worker.served.scoring import Scoring


@dataclass(slots=True)
class Side:
    """What was loaded: whom to ask, and as what."""

    profile: Profile
    engine: Adapter
    model: str
    facts: Facts
    connect: Callable[[], Connection]
    top_k: int
    """See `ServedModel`."""
    own: OwnServer | None = None
    last: Progress = field(default_factory=Progress)
    """The last answer, which may be gone on with."""
    made_up: MadeUp | None = None
    """Prompts for measuring; None before it was measured."""
    sampling_note: str | None = None
    """What a proof of the sampling came to; None before there was one."""

    @property
    def scoring(self) -> Scoring:
        """What scores given texts."""
        return Scoring(
            engine=self.engine,
            model=self.model,
            connect=self.connect,
            context_length=self.facts.context_length,
            vocabulary=self.facts.vocabulary,
            top_k=self.top_k,
        )


def loaded(command: Load, emit: Callable[[Event], None]) -> Side:
    """The side of a profile, reached and described; LoadError says why there is none."""
    profile = command.profile
    if command.memory_limit_bytes is not None:
        raise LoadError(
            "--memory-limit limits a model in the worker", "leave out --memory-limit for this side"
        )
    if isinstance(profile.source, Served):
        side = _reached(profile, profile.source, emit)
    else:
        side = _started(command, emit)
    info = _info(side)
    emit(Loaded(info=info, memory=side.own.memory(info) if side.own else None))
    return side


def _started(command: Load, emit: Callable[[Event], None]) -> Side:
    profile = command.profile
    own: OwnServer
    if profile.serve is not None:
        own = StartedServer.started(profile, command.checkpoint, emit)
    else:
        own = LocalServer.started(profile, command.threads, emit)
    return described(profile, lambda: Connection(own.root, own.key), own)


def _reached(profile: Profile, source: Served, emit: Callable[[Event], None]) -> Side:
    emit(Staged(stage="resolve", subject=source.address))
    name = profile.remote.key_env
    key = paths.key(name) if name else None
    if name and key is None:
        raise LoadError(f"remote.key_env: {name} is not set", f"export {name}=… before QuantDuel is started")
    return described(profile, lambda: Connection(source.root, key, name or ""), None)


def described(profile: Profile, connect: Callable[[], Connection], own: OwnServer | None) -> Side:
    """The side as its server says it is; LoadError where that cannot be asked, or says nothing of use."""
    try:
        with closing(connect()) as connection:
            engine = engines.adapter(connection, own.engine if own else profile.remote.engine)
            model = engines.model(connection, engine, profile)
            facts = engine.facts(connection, model)
            top_k = engine.most_likely(connection, model, facts)
            return Side(profile, engine, model, facts, connect, top_k if top_k >= LEAST_TOP else 0, own)
    except ServerError as error:
        raise LoadError(f"{profile.source_address} {error.message}", error.hint) from None


def _info(side: Side) -> ModelInfo:
    facts, source, own = side.facts, side.profile.source, side.own
    size = facts.weights_bytes or (own.weights_bytes if own else None)
    address = source.address if isinstance(source, Served) else ""
    with closing(side.connect()) as connection:
        round_trip_ms = connection.round_trip_ms(side.engine.ping)
    name = own.title if own else side.engine.name
    return ModelInfo(
        label=((own.label if own else "") or facts.label) + side.profile.cache.badge,
        kernel=f"{name} {facts.version}".strip(),
        architecture=facts.model,
        parameters=(own.parameters if own else 0) or facts.parameters,
        context_length=facts.context_length,
        dtype="",
        device=own.device if own else address,
        device_name=own.device_name if own else f"served by {address}",
        threads=own.threads if own else 0,
        vocabulary=facts.vocabulary,
        weights=Weights(linear_bytes=size, embedding_bytes=0, other_bytes=0) if size else None,
        tokenizer_sha256="",
        has_chat_template=True,
        notes=(*facts.notes, *_notes(side, round_trip_ms)),
        versions={name: facts.version} if facts.version else {},
        energy=Energy(lack="server"),
        served=ServedModel(
            engine=side.engine.name,
            address=address,
            is_here=isinstance(source, Served) and source.is_here,
            round_trip_ms=round_trip_ms,
            ids=side.engine.can.ids,
            server_times=side.engine.can.server_times,
            cold=side.engine.can.cold,
            load_figure=side.engine.can.load_figure,
            scores=side.engine.can.scores if side.top_k else "",
            top_k=side.top_k,
            all_steps=side.engine.can.all_steps,
            at_once=not isinstance(own, LocalServer),
        ),
    )


def _notes(side: Side, round_trip_ms: float | None) -> Iterator[str]:
    source, own = side.profile.source, side.own
    if own is not None:
        yield from own.notes
        return
    yield "memory: not known, for the server holds it"
    if round_trip_ms is not None:
        yield f"TTFT holds the network: a round trip to the server takes {ms_text(round_trip_ms)}"
    if not side.engine.can.load_figure:
        yield "the server does not say whether it answers others meanwhile: speeds may be contended"
    is_open = (
        isinstance(source, Served) and not source.is_here and not source.url.lower().startswith("https:")
    )
    if is_open and side.profile.remote.key_env:
        yield "the key goes to the server unencrypted: use https, or a tunnel"
