"""Files are hashed once: wherever they are moved, until they change."""

from pathlib import Path

from engine.protocol.loading import Staged
from engine.worker.checkpoints.identity import folder_sha256


def test_files_are_read_once_wherever_they_are_moved_until_they_change(tmp_path: Path) -> None:
    reads: list[Staged] = []
    building, place = tmp_path / "building", tmp_path / "place"
    building.mkdir()
    (building / "model.safetensors").write_bytes(b"weights")
    made = folder_sha256(building, reads.append)
    read = len(reads)
    building.rename(place)
    assert folder_sha256(place, reads.append) == made and len(reads) == read > 0
    (place / "model.safetensors").write_bytes(b"other weights")
    assert folder_sha256(place, reads.append) != made
