"""Events folded into speeds. Pure: the worker's stamps are the only clock, however late they are read.

Definitions (docs/measuring.md): TTFT is the first token's stamp minus the receipt of the request. Prefill
tok/s is the prompt tokens that were really read over prefill time, unless that was cut short. Decode tok/s is
(n - 1) / (last - first) over n tokens, so it never includes the prefill. ITL is the gap between two tokens.

Of a server's answer the stamps are those of reads from the network. Tokens that came with the first read are
no steps; where a read brought several there is no ITL; the prefill's speed is the server's own figure.
"""

from collections.abc import Sequence

from msgspec import Struct

from engine.protocol.answers import Decoded, Finished, Prefilled, Prompted, ServedFigures
from engine.protocol.failure import Failed
from engine.protocol.runs import Measured
from engine.protocol.wire import Event
from engine.stats import energy

NS = 1_000_000_000
LIVE_WINDOW_NS = NS  # a live speed is that of the last second
SHORTEST_NS = NS // 2  # a decoding that two speeds can be compared by: docs/measuring.md says why
FEWEST_TOKENS = 8  # of one
CERTAIN = 1.02  # how far apart the bounds of a speed may be, where only the whole count is known


class Metrics(Struct, frozen=True, kw_only=True):
    """Speeds of one answer; None where there was too little to measure."""

    ttft_ms: float | None
    prefill_tok_s: float | None
    decode_tok_s: float | None
    itl_p50_ms: float | None
    itl_p95_ms: float | None
    prompt_tokens: int
    reused_tokens: int | None = 0
    """Prompt tokens that the cache still held from the turn before, and that were not read again; None where
    a server does not say."""
    new_tokens: int
    """While a server tells no counts, `counted` is false and this is the pieces that came."""
    counted: bool = True
    thought_tokens: int = 0
    """Of `new_tokens`, those before the answer's first word: thoughts and their marks."""
    thought_tok_s: float | None = None
    """The decode speed of those alone; None for fewer than two."""
    answer_ttft_ms: float | None = None
    """To the first token after the thoughts; None where there were none, or nothing after them."""
    answer_tok_s: float | None = None
    """(n − 1) / (t_last − t_first) of the n tokens after the thoughts; None for fewer than two."""
    joules_per_token: float | None = None
    """Of the decoding, by the device's own counter, whatever else it did; None where it has none."""
    mean_watts: float | None = None
    """Those joules over the time that they were counted in."""
    round_trip_ms: float | None = None
    """To the worker's machine and back, as the line was; None for one here. Part of no other figure."""
    server_decode_tok_s: float | None = None
    """By the server's own clock."""
    too_short: bool = False
    """The decoding took less than half a second, or fewer than 8 tokens: its speed compares with none."""
    contended: bool
    """The device was shared with another answer meanwhile."""


class Timeline:
    """The stamps of one request; `add` takes every event of it, `metrics` may be asked at any time."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.reused_tokens: int | None = 0
        self.prefilled_tokens = 0
        self.prompt_is_read = False
        self.is_over = False
        self.received_ns: int | None = None
        self.prefill_ns: list[int] = []
        self.token_ns: list[int] = []
        self.decode_joules: float | None = None
        self.round_trip_ns: int | None = None
        self.counted = True
        self.served: ServedFigures | None = None

    def add(self, event: Event) -> None:
        """Take what this event says about time."""
        match event:
            case Prompted(tokens=tokens, reused_tokens=reused, ns=ns):
                self.prompt_tokens, self.reused_tokens, self.received_ns = tokens, reused, ns
            case Prefilled(done=done, total=total, ns=ns):
                self.prefilled_tokens, self.prompt_is_read = done, done >= total
                self.prefill_ns.append(ns)
            case Decoded(ns=ns, tokens=tokens):
                self.token_ns += [ns] * (1 if tokens is None else tokens)
                self.counted = self.counted and tokens is not None
            case Finished(decode_joules=joules, served=served, round_trip_ns=round_trip_ns):
                self.is_over, self.decode_joules, self.round_trip_ns = True, joules, round_trip_ns
                if served is not None:
                    self._take(served)
            case Failed():
                self.is_over = True

    def metrics(self, *, contended: bool = False) -> Metrics:
        """The figures so far."""
        gaps_ms, decode_tok_s = self.gaps_ms(), self._decode_tok_s()
        return Metrics(
            ttft_ms=self._ttft_ms(),
            prefill_tok_s=self._prefill_tok_s(),
            decode_tok_s=decode_tok_s,
            itl_p50_ms=percentile(gaps_ms, 50),
            itl_p95_ms=percentile(gaps_ms, 95),
            prompt_tokens=self.prompt_tokens,
            reused_tokens=self.reused_tokens,
            new_tokens=self.new_tokens,
            counted=self.counted,
            joules_per_token=self._joules_per_token(),
            mean_watts=self._mean_watts(),
            round_trip_ms=None if self.round_trip_ns is None else self.round_trip_ns / 1e6,
            server_decode_tok_s=self.served.decode_tok_s if self.served else None,
            too_short=decode_tok_s is not None and self._is_short(),
            contended=contended or bool(self.served and self.served.contended),
        )

    @property
    def new_tokens(self) -> int:
        """The answer's tokens so far; by the server's count where it does not say what each piece has."""
        by_server = self.served.tokens if self.served else None
        return len(self.token_ns) if by_server is None else by_server

    def live_tok_s(self) -> float | None:
        """Decode speed over the last second of tokens."""
        if not self.token_ns or not self.counted:
            return None
        horizon_ns = self.token_ns[-1] - LIVE_WINDOW_NS
        start = len(self.token_ns)
        while start > 0 and self.token_ns[start - 1] >= horizon_ns:
            start -= 1
        return _rate(len(self.token_ns) - 1 - start, self.token_ns[start:])

    def _is_short(self) -> bool:
        return self.token_ns[-1] - self.token_ns[0] < SHORTEST_NS or self.new_tokens < FEWEST_TOKENS

    def _take(self, served: ServedFigures) -> None:
        """What only the server knows."""
        self.served, self.reused_tokens = served, served.reused_tokens
        self.prompt_tokens = served.prompt_tokens or self.prompt_tokens
        if served.tokens == len(self.token_ns):
            self.counted = True

    def _decode_tok_s(self) -> float | None:
        """Tokens that came with the first stamp are no steps. Where only the whole count is known, those are
        not: a speed then only where it makes no difference.
        """
        if not self.token_ns or (self.served and self.served.interrupted):
            return None
        steps = self.new_tokens - self.token_ns.count(self.token_ns[0])
        if not self.counted:
            least = len(set(self.token_ns)) - 1
            if self.served is None or self.served.tokens is None or steps > least * CERTAIN:
                return None
        return _rate(steps, self.token_ns)

    def gaps_ms(self) -> list[float]:
        """Between two tokens; none where a read of the network brought several."""
        interrupted = self.served is not None and self.served.interrupted
        if interrupted or not self.counted or len(set(self.token_ns)) < len(self.token_ns):
            return []
        return [(b - a) / 1e6 for a, b in zip(self.token_ns, self.token_ns[1:], strict=False)]

    def _prefill_tok_s(self) -> float | None:
        """So far while the prompt is being read; nothing for one that was left on the way."""
        if self.served is not None:
            return self.served.prefill_tok_s
        if self.is_over and not self.prompt_is_read:
            return None
        return _rate(self.prefilled_tokens, self.prefill_ns)

    def _joules_per_token(self) -> float | None:
        return energy.joules_per_token(self.decode_joules, len(self.token_ns) - 1)

    def _mean_watts(self) -> float | None:
        """Over the time from the first token to the last; None where that is none."""
        return energy.mean_watts(self.decode_joules, self.token_ns)

    def _ttft_ms(self) -> float | None:
        if self.received_ns is None or not self.token_ns:
            return None
        return (self.token_ns[0] - self.received_ns) / 1e6


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The percentile by linear interpolation between the ordered values; None where there are none."""
    if len(values) < 2:
        return values[0] if values else None
    from statistics import quantiles  # needs fractions and more: not before the first picture

    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _rate(count: int, stamps_ns: Sequence[int]) -> float | None:
    """`count` a second over the time from the first stamp to the last."""
    if count < 1 or len(stamps_ns) < 2 or stamps_ns[-1] <= stamps_ns[0]:
        return None
    return count * NS / (stamps_ns[-1] - stamps_ns[0])


def decode_tok_s(run: Measured, batch: int) -> float:
    """Tokens of all sequences a second, from the first tokens to the last."""
    return (len(run.token_ns) - 1) * batch * NS / (run.token_ns[-1] - run.token_ns[0])
