"""One model of an eval: its worker, what it said so far, and its row in the report.

Owns a session. Knows neither the other models nor the order in which they are asked.
"""

from collections.abc import Callable, Sequence
from statistics import fmean

from msgspec.structs import replace

from engine.config.profile import Profile
from engine.evaluation.report import Layer, Row
from engine.evaluation.windows import Piece, Text
from engine.jobs.events import Advanced, JobEvent
from engine.jobs.watch import Watch, Worker, threads_lost
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged
from engine.protocol.model import Memory, ModelInfo
from engine.protocol.runs import BenchRun, Measured
from engine.protocol.scores import Logits, Place, Scored
from engine.session import passages
from engine.session.client import Session
from engine.session.progress import stage_text
from engine.stats import energy
from engine.stats.depth import Depth, by_depth
from engine.stats.fidelity import Figures, Scores, against, alone
from engine.stats.lower_bound import USUAL_TOP, bound_text
from engine.stats.metrics import NS, decode_tok_s

DECODE_CONTEXT = 32  # tokens before those that are timed
WARM_UP_STEPS = 4
NO_LAYERS = "not all layers could be read alone: {}"
NOT_TIMED_AGAIN = "its decode speed was not timed again at the end: {}"


class Side:
    """A profile's model while a text is read."""

    def __init__(
        self, profile: Profile, notes: Sequence[str] = (), top_k: int = 0, *, by_depth: bool = False
    ) -> None:
        self.profile = profile
        self.notes = list(notes)
        self.session = Session(profile)
        self.info: ModelInfo | None = None
        self.memory: Memory | None = None
        self.text: Text | None = None
        """As this model reads it."""
        self.failure: Failed | None = None
        self.scores = Scores()
        self.is_comparable = True
        """Whether it reads the same tokens as the reference."""
        self.complete = False
        self.layers: list[Layer] = []
        self._timed: list[Measured] = []
        self._marks: list[str] = []  # what spoiled their speeds
        self._read_tokens = self._read_ns = 0
        self._figures = Figures()
        self._by_depth, self._depths = by_depth, tuple[Depth, ...]()
        self._text_depths: list[int] = []  # of all its positions, once they are asked for
        self._top_k = top_k
        self._compared = 0  # how many likeliest tokens; 0 is all
        self._left_out = 0.0  # the sum over all positions

    @property
    def read_tok_s(self) -> float | None:
        """Tokens a second in forward passes so far."""
        return self._read_tokens * NS / self._read_ns if self._read_ns else None

    @property
    def host(self) -> str:
        """The machine where its model is or will be, as it can be called by now; empty for this one."""
        return self.session.host or self.profile.worker.host_word

    @property
    def row_bytes(self) -> int:
        """The logits of one position, as they are handed over."""
        return passages.row_bytes(self.info, self._top_k) if self.info else 0

    def has_tokenizer_of(self, other: "Side") -> bool:
        """Whether equal ids are equal text."""
        hashes = {info.tokenizer_sha256 for info in (self.info, other.info) if info}
        return len(hashes) == 1 and "" not in hashes  # a server does not say

    def can_compare_with(self, logits: Logits | None) -> bool:
        """Whether these logits are of the tokens that it reads, and as many as its own where all are told."""
        if logits is None or self.info is None or not self.is_comparable:
            return False
        return self.info.served is not None or logits.vocabulary in {0, self.info.vocabulary}

    async def load(self, emit: Callable[[JobEvent], None]) -> bool:
        """Load the model; `failure` says why there is none."""
        async for event in self.session.load():
            match event:
                case Staged():
                    emit(Advanced(self.profile.name, stage_text(event)))
                case Loaded(info=info, memory=memory):
                    self.info, self.memory = info, memory
                    self.failure = self._too_few_told(info)
                case Failed():
                    self.failure = event
        return self.failure is None

    @property
    def worker(self) -> Worker | None:
        """Its process, for whoever watches this machine; None without a model here."""
        if self.info is None or self.info.host or not self.session.pid:
            return None
        return Worker(self.session.pid, self.info.device)

    async def time_decode(self, steps: int, answers: int, workers: Sequence[Worker]) -> None:
        """The speed of short answers; a model whose window is too short for one has no such speed.

        `workers` are all of ours here: what others do meanwhile is marked. What goes wrong is a failure
        before the text is read, and a note after that: its figures are known then.
        """
        if not await self._measured(WARM_UP_STEPS):
            return
        async with Watch(workers) as watch:
            for _ in range(answers):
                if not (measured := await self._measured(steps)):
                    break
                self._timed.append(measured)
        if self.worker:
            self._marks += watch.marks(self.worker)

    async def _measured(self, steps: int) -> Measured | None:
        measured = await self.session.measure(BenchRun(context=DECODE_CONTEXT, steps=steps))
        if isinstance(measured, Measured):
            return measured
        if self.complete:
            self.notes.append(NOT_TIMED_AGAIN.format(measured.message))
        elif measured.kind != "bad_input":
            self.failure = measured
        return None

    async def score(
        self, piece: Piece, *, write: Place | None = None, reference: Logits | None = None
    ) -> Scored | None:
        """Read a piece, which counts once however often it is read; None and `failure` if that went wrong."""
        kept = passages.kept(self.info, self._top_k) if self.info else 0
        place = replace(write, kept=kept) if write else None
        result = await self.session.score(piece.passage, write=place, reference=reference)
        if isinstance(result, Failed):
            self.failure = result
            return None
        self._read_tokens += result.read_tokens
        self._read_ns += result.read_ns
        if piece.at == len(self.scores):
            self.scores.add(result.log_probs, result.first_choices, result.klds)
            self._add_bounds(result, reference)
            self.scores.add_margins(result.margins, result.reference_margins, result.reference_rounding)
        return result

    def _add_bounds(self, result: Scored, reference: Logits | None) -> None:
        if not result.left_out or self.info is None or reference is None:
            return
        self._left_out += sum(result.left_out)
        told = passages.kept(self.info, reference.place.kept)
        self._compared = min(filter(None, (told, reference.place.kept)))

    def _too_few_told(self, info: ModelInfo) -> Failed | None:
        """Why a server's model is not read: it tells fewer likeliest tokens than were asked for."""
        if info.served is None or not info.served.scores or info.served.top_k >= self._top_k:
            return None
        told, engine = info.served.top_k, info.served.engine
        start = f", or start it with --max-logprobs {self._top_k}" if engine == "vllm" else ""
        message = f"{engine} tells {told} likeliest tokens a position, and --top-k asks for {self._top_k}"
        return Failed(kind="bad_input", message=message, hint=f"--top-k {told}{start}")

    async def take_reference(self, profile: Profile) -> int:
        """Load the reference's model into this worker too; how many layers to ask for, 0 if it went wrong."""
        result = await self.session.take_reference(profile)
        if isinstance(result, Failed):
            self.notes.append(NO_LAYERS.format(result.message))
            return 0
        return result.layers

    async def score_layer(self, index: int, piece: Piece, reference: Logits) -> Scored | None:
        """A piece as the reference's model reads it with this layer; None and a note if that went wrong."""
        result = await self.session.score(piece.passage, reference=reference, layer=index)
        if isinstance(result, Failed):
            self.notes.append(NO_LAYERS.format(result.message))
            return None
        return result

    def add_layer(self, index: int, scores: Scores, reference: Scores) -> None:
        """Take what was scored with this layer alone."""
        found = against(scores, reference)
        if found.kld and found.same_top is not None and found.same_top_stderr is not None:
            kld, same, error = found.kld, found.same_top, found.same_top_stderr
            self.layers.append(Layer(index=index, kld=kld, same_top=same, same_top_stderr=error))

    async def start_anew(self) -> None:
        """Be as if never loaded, for another try."""
        await self.close()
        self.session, self.scores = Session(self.profile), Scores()
        self._compared, self._left_out = 0, 0.0
        self._timed, self._marks = [], []
        self._depths, self._text_depths = (), []
        self.failure = self.info = self.memory = self.text = None

    async def close(self) -> None:
        """End the worker."""
        await self.session.close()

    def row(self, reference: Scores | None) -> Row:
        """All that is known of it; a candidate's figures are against the reference's scores."""
        figures, info, failure = self._brought_up_to_date(reference), self.info, self.failure
        speeds = tuple(decode_tok_s(run, batch=1) for run in self._timed)
        return Row(
            profile=self.profile.name,
            label=info.label if info else self.profile.label,
            kernel=info.kernel if info else "",
            device=info.place if info else "",
            weights_bytes=info.weights_bytes if info else None,
            read_tok_s=self.read_tok_s,
            decode_tok_s=fmean(speeds) if speeds else None,
            decode_samples_tok_s=speeds,
            joules_per_token=_mean([_joules_per_token(run) for run in self._timed]),
            mean_watts=_mean([energy.mean_watts(run.decode_joules, run.token_ns) for run in self._timed]),
            energy=info.energy if info else None,
            decode_marks=self._decode_marks(),
            complete=self.complete,
            layers=tuple(self.layers),
            depths=self._depths,
            notes=(*(info.notes if info else ()), *self.notes, *self._bound_notes()),
            error=failure.failure if failure else None,
            **{name: getattr(figures, name) for name in Figures.__struct_fields__},
        )

    def _decode_marks(self) -> tuple[str, ...]:
        """One of each kind, whatever its figure."""
        lost = threads_lost(self._timed, self.info.threads) if self.info else ()
        return tuple({mark.rstrip("0123456789%"): mark for mark in (*self._marks, *lost)}.values())

    def _bound_notes(self) -> tuple[str, ...]:
        if not self._compared:
            return ()
        return (bound_text(self._compared, self._tail), *self._told_notes())

    @property
    def _tail(self) -> float:
        return self._left_out / max(1, len(self.scores))

    def _told_notes(self) -> tuple[str, ...]:
        """What would bring the bound nearer."""
        served = self.info.served if self.info else None
        if served is None or served.engine != "vllm" or served.top_k >= USUAL_TOP:
            return ()
        return (f"start vLLM with --max-logprobs {USUAL_TOP} for a tighter bound than {served.top_k} give",)

    def _brought_up_to_date(self, reference: Scores | None) -> Figures:
        """The figures of all positions so far, computed once for each number of positions."""
        if self._figures.tokens != len(self.scores):
            paired = reference is not None and self.is_comparable
            found = against(self.scores, reference) if reference and paired else alone(self.scores)
            if self._compared:
                found = replace(found, kld_is_bound=True, kld_top_k=self._compared, kld_tail=self._tail)
            self._figures = found
            if reference and paired and self._by_depth and self.text:
                self._text_depths = self._text_depths or self.text.depths
                self._depths = by_depth(self.scores, reference, self._text_depths)
        return self._figures


def _joules_per_token(run: Measured) -> float | None:
    return energy.joules_per_token(run.decode_joules, len(run.token_ns) - 1)


def _mean(samples: Sequence[float | None]) -> float | None:
    """Of short answers, all equally long; None where one of them has no figure."""
    found = [each for each in samples if each is not None]
    return fmean(found) if found and len(found) == len(samples) else None
