"""Makes one profile's checkpoint in a worker, and reports progress.

Owns the session. How a checkpoint is made is the worker's business, where it is kept the store's.
"""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from engine.checkpoints import store
from engine.checkpoints.store import Entry
from engine.config.methods import Calibrated, Savable, tag
from engine.config.profile import Profile
from engine.errors import InputError
from engine.jobs.events import Advanced, Completed
from engine.jobs.job import Job
from engine.jobs.pace import StagePace
from engine.jobs.sheet import Sheet
from engine.protocol.failure import Failed, Failure
from engine.protocol.loading import Quantized, Staged, Started
from engine.quantize.text import sheet
from engine.session.client import Session
from engine.session.progress import stage_text


class Quantizing(Job):
    """A checkpoint in the making; `result` is set once it is in the store."""

    def __init__(
        self,
        profile: Profile,
        out: str | None = None,
        *,
        force: bool = False,
        open_session: Callable[[Profile], Session] = Session,
    ) -> None:
        """`out` gets a copy; `force` makes it again if it exists. InputError where none can be made."""
        super().__init__()
        require_savable(profile)
        self.result: Quantized | None = None
        self._profile = replace(profile, serve=None)  # a checkpoint knows no server
        self._out, self._force = out, force
        self._open = open_session
        self._failed: Failed | None = None

    @property
    def sheet(self) -> Sheet:
        """The checkpoint's facts and losses; empty until it is there."""
        return sheet(self.result) if self.result else Sheet()

    @property
    def failure(self) -> Failure | None:
        """Why there is no checkpoint."""
        return self._failed.failure if self._failed else None

    async def _work(self) -> None:
        session, pace, name = self._open(self._profile), StagePace(), self._profile.name
        try:
            async for event in session.quantize(self._out, force=self._force):
                match event:
                    case Started():
                        self.emit(Advanced(name, "starting"))
                    case Staged():
                        self.emit(Advanced(name, stage_text(event, with_share=False), *pace.take(event)))
                    case Quantized():
                        self.result = event
                        self.emit(Completed(name))
                    case Failed():
                        self._failed = event
        finally:
            await session.close()


def require_savable(profile: Profile) -> None:
    """InputError where the profile's method makes no checkpoint."""
    if not isinstance(profile.quantization, Savable):
        hint = "rtn, gptq, awq, autoround, fp8 and bitsandbytes do: see docs/profiles.md"
        raise InputError(f"{profile.name}: method {tag(profile.quantization)} makes no checkpoint", hint)


def files_read(profile: Profile) -> list[Path]:
    """The calibration text, where it is a file of the user's."""
    method = profile.quantization
    text = method.calibration.file if isinstance(method, Calibrated) else None
    return [] if text is None else [text]


def stored(profile: Profile) -> Entry | None:
    """The newest checkpoint of this profile, as it is now, made with the packages that are installed."""
    for entry in store.entries():
        made = entry.record.profile, entry.record.recipe.method
        source = entry.record.recipe.model.partition("@")[0]
        same = made == (profile.name, profile.quantization) and source in {profile.model.source, "folder"}
        if same and store.is_current(entry):
            return entry
    return None
