"""What all jobs of the screens share: run, export, keep."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.bench.document import Document
from engine.config.profile import Cache
from engine.config.profiles import read
from engine.errors import InputError, LoadError
from engine.jobs.events import Advanced, Completed, JobEvent
from engine.jobs.job import Job as Work
from engine.jobs.sheet import Sheet
from engine.protocol.failure import Failure
from tests.tui.recorded_jobs import FILE, recorded
from tui.jobs.bench import BenchJob, spoiled
from tui.jobs.job import Field, Job, Picture, profiles, typed


class Broken(Work):
    """Tells that it begins, and fails where it was told to."""

    def __init__(self, why: Failure | None) -> None:
        super().__init__()
        self._why = why

    @property
    def sheet(self) -> Sheet:
        return Sheet(document={"broken": self._why is not None})

    @property
    def failure(self) -> Failure | None:
        return self._why

    async def _work(self) -> None:
        self.emit(Advanced("a", "read"))
        self.emit(Completed("a"))


class BrokenJob(Job):
    name = "Break"
    explanation = done = stopped = ""
    fields: Sequence[Field] = ()
    picture = Picture()

    @property
    def sheet(self) -> Sheet | None:
        return self.work.sheet if self.work else None

    def prepare(self, values: Mapping[str, str]) -> None:
        kind = values["kind"]
        self.work = Broken(Failure("not_loaded", "no model", "get one") if kind == "broken" else None)


@pytest.mark.parametrize("kind", ["broken", "well"])
async def test_a_run_without_results_is_an_error_after_what_was_told(kind: str) -> None:
    job, told = BrokenJob(), list[JobEvent]()
    job.prepare({"kind": kind})
    fault = ""
    try:
        async for event in job.run():
            told.append(event)
    except LoadError as error:
        fault = str(error)
    assert [event.words for event in told] == ["a: read", "a: done"]
    assert fault == ("no model (get one)" if kind == "broken" else "")


def test_results_are_written_by_the_files_name(tmp_path: Path) -> None:
    job = BrokenJob()
    with pytest.raises(InputError, match="no results yet"):
        job.export(tmp_path / "x.json")
    job.prepare({"kind": "well"})
    job.export(tmp_path / "x.json")
    assert '"broken": false' in (tmp_path / "x.json").read_text()
    with pytest.raises(InputError, match="which format"):
        job.export(tmp_path / "x.pdf")


def test_a_run_of_another_version_is_refused_and_the_present_one_stays() -> None:
    job = BenchJob(["random:tiny"])
    job.prepare({"profiles": "random:tiny", "contexts": "16", "batches": "1", "steps": "2", "repeat": "1"})
    before = job.found
    with pytest.raises(InputError, match="another version"):
        job.open(b'{"header": 1}')
    assert before is not None and job.found is before and job.body() is None
    assert job.stopped == "stopped: nothing was measured yet"
    *_, last = (found for _, found in recorded(FILE.read_bytes().splitlines()[1:], Document) if found)
    job.shown = last
    assert job.stopped == "stopped: what was measured is kept"


def test_a_server_without_a_profile_is_typed_as_its_address() -> None:
    found = profiles("http://127.0.0.1:9/v1")[0]
    assert profiles(typed(found))[0] == found


def test_a_name_means_the_duels_own_side_first(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {source: random:tiny}\n")
    side = read(tmp_path / "mine.yaml")  # of a folder where no name is looked for
    changed = replace(side, cache=Cache(dtype="int8"))
    first, second, other = profiles("mine mine random:tiny", [side, changed])
    assert (first, second.cache) == (side, changed.cache)
    assert other.model.source == "random:tiny"
    assert profiles("mine", [changed]) == (changed,)


def test_rows_without_figures_and_rows_that_something_spoiled_are_counted() -> None:
    *_, last = (found for _, found in recorded(FILE.read_bytes().splitlines()[1:], Document) if found)
    assert spoiled(last) == [
        "2 of 6 rows have no figures, such as: 4104 tokens do not fit the model's context window of 2048",
        "2 of 6 rows are marked, such as: busy CPU: others 89%",
    ]
