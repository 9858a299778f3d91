"""bitsandbytes' wheel without the libraries of other CUDAs: 2 MB instead of 43.

python slim_wheel.py WHEEL INTO
"""

import re
import sys
import zipfile
from pathlib import Path

KEPT = ("libbitsandbytes_cuda130.so", "libbitsandbytes_cpu.so")
LIBRARY = re.compile(r"libbitsandbytes_\w+\.so$")


def main(wheel: Path, into: Path) -> None:
    """Write the smaller wheel under the same name."""
    slim = into / wheel.name
    with zipfile.ZipFile(wheel) as full, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as target:
        dropped = {name for name in full.namelist() if LIBRARY.search(name) and not name.endswith(KEPT)}
        for name in full.namelist():
            if name not in dropped:
                data = full.read(name)
                target.writestr(name, _without(data, dropped) if name.endswith(".dist-info/RECORD") else data)
    print(f"{wheel.name}: {len(dropped)} libraries left out, {slim.stat().st_size / 2**20:.1f} MiB")


def _without(record: bytes, dropped: set[str]) -> bytes:
    lines = [line for line in record.decode().splitlines() if line.partition(",")[0] not in dropped]
    return "\n".join([*lines, ""]).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
