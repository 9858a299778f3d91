"""Runs an eval: the reference reads the text, then one candidate after the other, and the report grows.

Owns the order, and where the reference's logits are meanwhile. Where those of the whole text fit into
HELD_BYTES of shared memory, the reference reads once, ends, and every candidate has the machine to itself.
Otherwise both are loaded, and the reference reads each piece again just before a candidate does: one more
pass for each candidate, and one piece in memory. Where both do not fit, the logits go to disk, up to
DISK_BYTES.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from engine import paths
from engine.config.profiles import to_yaml
from engine.evaluation import noise
from engine.evaluation import settings as texts
from engine.evaluation.baseline import changes, gaps, other_reference, refusal, unlike
from engine.evaluation.gate import Gate
from engine.evaluation.reading import Reading
from engine.evaluation.report import Report, Row
from engine.evaluation.settings import Settings
from engine.evaluation.side import Side
from engine.evaluation.text import sheet
from engine.evaluation.windows import Text
from engine.jobs.events import Advanced, Completed, Noted
from engine.jobs.job import Job
from engine.jobs.sheet import Sheet
from engine.machine import hardware
from engine.protocol.failure import Failed, Failure
from engine.protocol.scores import Logits, Place
from engine.session import schedule
from engine.session.passages import LINE_BYTES, PIECE_BYTES
from engine.session.shared_file import SharedFile
from engine.units import bytes_text

HELD_BYTES = 512 << 20
HELD_SHARE = 0.25  # of the memory that is free
DISK_BYTES = 4 << 30
NO_GATE = Gate()
CROWDED = frozenset({"out_of_memory", "worker_lost"})

AGAIN = "the reference read the text again for every candidate: its logits ({}) do not fit in memory"
ON_THE_LINE = "the reference's logits travel between machines: {} over the line to {}"
ON_DISK = "the reference's logits ({}) went through the disk: two models do not fit in memory together"


class Evaluation(Job):
    """One eval on its way; `report` holds every figure so far, also when `run` is left early."""

    def __init__(
        self,
        settings: Settings,
        *,
        gate: Gate = NO_GATE,
        together: bool = True,
        held_bytes: int | None = None,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        """`together` allows two loaded models at once; the bounds are for the reference's logits."""
        super().__init__()
        texts.require_pair(settings.profiles)
        texts.require_one_machine(settings)
        self.settings = settings
        self._gate = gate
        self._together, self._disk_bytes = together, disk_bytes
        self.line_bytes = LINE_BYTES
        """What a candidate's comparison may send between machines; may be set before `run`."""
        self._held_bytes = HELD_BYTES if held_bytes is None else held_bytes
        self._reference, *self._candidates = [
            Side(
                profile,
                texts.calibration_notes(profile, settings.text),
                settings.top_k,
                by_depth=settings.by_depth,
            )
            for profile in settings.profiles
        ]
        twin = noise.twin(settings.profiles[0]) if gate.with_noise else None
        self._noise = Side(twin, top_k=settings.top_k) if twin else None
        self._yaml = {profile.name: to_yaml(profile) for profile in settings.profiles}
        self._notes = gaps(gate.baseline, settings) if gate.baseline else []
        self._reading = Reading(settings, self.emit, [self._reference, *self._read_along])

    @property
    def report(self) -> Report:
        """The figures so far; computed at each call, so look once a second rather than at each event."""
        info, text = self._reference.info, self._reference.text
        candidates = tuple(side.row(self._reference.scores) for side in self._candidates)
        found = Report(
            convention=text.convention if text else None,
            reference=self._reference.row(None),
            candidates=candidates,
            notes=(*self._notes, *self._unlike(candidates)),
            noise=self._noise.row(self._reference.scores) if self._noise else None,
            limits=self._gate.limits,
            settings=self._yaml,
            versions=info.versions if info else {},
            hardware=info.device_name if info else "",
        )
        baseline = self._gate.baseline
        return replace(found, changes=tuple(changes(baseline, found))) if baseline else found

    def _unlike(self, rows: Sequence[Row]) -> list[str]:
        """What the baseline does not tell of candidates that it has."""
        baseline = self._gate.baseline
        return list(unlike(baseline, rows)) if baseline else []

    @property
    def sheet(self) -> Sheet:
        """The report's."""
        return sheet(self.report)

    @property
    def failure(self) -> Failure | None:
        """The reference's: without it nobody can be compared. Or a gate that says nothing."""
        failed = self._reference.failure or self._refused
        return failed.failure if failed else None

    @property
    def _refused(self) -> Failed | None:
        baseline, reference = self._gate.baseline, self._reference
        if baseline and reference.text and (other := refusal(baseline, reference.text.convention)):
            return other
        if baseline and reference.complete and (other := other_reference(baseline, reference.row(None))):
            return other
        if self._noise is None or not self._noise.complete:
            return None
        return noise.refusal(self._gate.limits, self._noise.row(self._reference.scores))

    @property
    def _read_along(self) -> list[Side]:
        """Who is compared with the reference: its twin first, because limits may be below the noise."""
        return [*([self._noise] if self._noise else []), *self._candidates]

    async def _work(self) -> None:
        try:
            if await self._reading.open(self._reference) and self._reference.text and not self._refused:
                await self._compare(self._reference.text)
        finally:
            await asyncio.gather(*(side.close() for side in (self._reference, *self._read_along)))

    async def _compare(self, text: Text) -> None:
        """Hold the reference's logits, or have it read along."""
        total_bytes = text.convention.scored_tokens * self._reference.row_bytes
        self._measure_line(text.convention.tokens, total_bytes)
        if total_bytes <= min(self._held_bytes, HELD_SHARE * hardware.free_by_device()["cpu"]):
            with SharedFile.in_memory(total_bytes) as held:
                await self._one_after_the_other(text, held, self._read_along)
        elif self.settings.by_layer:  # every layer is compared with the same logits
            await self._over_disk(text, total_bytes, self._read_along)
        else:
            await self._side_by_side(text, total_bytes)

    def _measure_line(self, tokens: int, total_bytes: int) -> None:
        """Say what will go over lines to other machines; who would need too much is not read."""
        for side in self._read_along:
            lines = [each.host for each in (self._reference, side) if each.host]
            if not lines:
                continue
            travelling_bytes, hosts = len(lines) * total_bytes, " and ".join(dict.fromkeys(lines))
            if travelling_bytes > self.line_bytes:
                side.failure = too_long_a_way(tokens, travelling_bytes, self.line_bytes, hosts)
            else:
                self._note(ON_THE_LINE.format(bytes_text(travelling_bytes), hosts))

    async def _one_after_the_other(self, text: Text, held: SharedFile, candidates: Sequence[Side]) -> None:
        """The reference once, its logits into the file; then each candidate with the machine to itself."""
        reference = self._reference
        self._reading.expect(text, passes=1 + len(candidates))
        logits: dict[int, Logits] = {}
        for piece in text.pieces(reference.row_bytes):
            place = held.place(piece.at * reference.row_bytes)
            scored = await self._reading.read(reference, piece, write=place)
            if scored is None or scored.logits is None:
                return
            logits[piece.at] = scored.logits
        await self._end(reference)
        for index, candidate in enumerate(candidates):
            if candidate.failure or not self._wants(candidate):
                continue
            self._reading.expect(text, passes=len(candidates) - index)
            await self._alone(candidate, logits)

    async def _alone(self, candidate: Side, logits: dict[int, Logits]) -> None:
        """A candidate against logits that are there."""
        if await self._reading.open(candidate, self._reference) and candidate.text:
            for piece in candidate.text.pieces(self._reference.row_bytes):
                if not await self._reading.read(candidate, piece, reference=logits.get(piece.at)):
                    break
            if self.settings.by_layer and candidate.complete and candidate.scores.klds:
                await self._by_layer(candidate, candidate.text.beginning(texts.LAYER_WINDOWS), logits)
        await self._end(candidate)

    async def _by_layer(self, candidate: Side, text: Text, logits: dict[int, Logits]) -> None:
        """The reference once more, with one layer of the candidate after the other."""
        self.emit(Advanced(candidate.profile.name, "loading the reference as well"))
        count = await candidate.take_reference(self._reference.profile)
        pieces = [(piece, logits[piece.at]) for piece in text.pieces(self._reference.row_bytes)]
        self._reading.expect(text, passes=count)
        for index in range(count):
            if not await self._reading.read_layer(candidate, self._reference, index, pieces):
                return

    async def _side_by_side(self, text: Text, total_bytes: int) -> None:
        """Piece by piece, the reference and then the candidate; where both do not fit, through the disk."""
        waiting = [side for side in self._read_along if side.failure is None]
        first = len(waiting)
        with SharedFile.in_memory(min(total_bytes, PIECE_BYTES)) as shared:
            while waiting and self._together and fits_memory(self._reference, waiting[0]):
                if not self._wants(waiting[0]):
                    waiting.pop(0)
                    continue
                self._reading.expect(text, passes=2 * len(waiting))
                await self._beside(waiting[0], shared.place())
                if waiting[0].failure and waiting[0].failure.kind in CROWDED:
                    break
                await self._end(waiting.pop(0))
                if self._reference.failure:
                    return
        if len(waiting) < first:
            self._note(AGAIN.format(bytes_text(total_bytes)))
        if waiting:
            await self._over_disk(text, total_bytes, waiting)
        else:
            await self._end(self._reference)

    async def _beside(self, candidate: Side, place: Place) -> None:
        """A candidate against logits that the reference makes just before."""
        reference = self._reference
        if not await self._reading.open(candidate, reference) or candidate.text is None:
            return
        for piece in candidate.text.pieces(reference.row_bytes):
            logits = None
            if candidate.is_comparable:
                scored = await self._reading.read(reference, piece, write=place)
                logits = scored.logits if scored else None
            if reference.failure or not await self._reading.read(candidate, piece, reference=logits):
                return

    async def _over_disk(self, text: Text, total_bytes: int, waiting: Sequence[Side]) -> None:
        """Through a file without a name in the cache folder, or not at all."""
        for side in waiting:
            await side.start_anew()
        if total_bytes <= self._disk_bytes:
            with suppress(OSError), SharedFile.on_disk(paths.cache(), total_bytes) as held:
                self._note(ON_DISK.format(bytes_text(total_bytes)))
                await self._one_after_the_other(text, held, waiting)
                return
        for side in waiting:
            side.failure = too_large(text.convention.tokens, total_bytes, self._disk_bytes)
            await self._end(side)
        await self._end(self._reference)

    def _wants(self, side: Side) -> bool:
        """Whether a candidate is still to be read, by what is known of those before it."""
        return self._refused is None

    async def _end(self, side: Side) -> None:
        await self._reading.close(side)
        self.emit(Completed(side.profile.name))

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self.emit(Noted(text))


def fits_memory(reference: Side, candidate: Side) -> bool:
    """Whether one more model as large as the reference fits next to it, on its device."""
    share = reference.profile.place == candidate.profile.place
    return schedule.fits_memory([reference.memory] if share and reference.memory else [])


def too_long_a_way(tokens: int, total_bytes: int, bound_bytes: int, hosts: str) -> Failed:
    """Why a candidate has no figures: its comparison would send too much between machines."""
    message = (
        f"the reference's logits would take {bytes_text(total_bytes)} over the line to {hosts}, where "
        f"{bytes_text(bound_bytes)} are allowed"
    )
    fitting, size = tokens * bound_bytes // total_bytes, f"{-(-total_bytes >> 20)}MiB"
    hint = (
        f"--tokens {fitting} would fit; --top-k 64 sends little, and KLDs are lower bounds then; "
        f"--line {size} allows it"
    )
    return Failed(kind="bad_input", message=message, hint=hint)


def too_large(tokens: int, total_bytes: int, bound_bytes: int) -> Failed:
    """Why a candidate has no figures: neither memory nor disk has space for the logits."""
    message = (
        "it does not fit in memory next to the reference, and the reference's logits would take "
        f"{bytes_text(total_bytes)} on disk, where {bytes_text(bound_bytes)} are allowed and must be free"
    )
    return Failed(
        kind="out_of_memory",
        message=message,
        hint=f"--tokens {tokens * bound_bytes // total_bytes} would fit",
    )
