#!/usr/bin/env bash
# Makes what a machine with a GPU and no network lacks (CPython 3.12, x86-64, torch 2.11 for CUDA 13.0):
# .whl/, wheels in the versions of constraints.txt, and .gpu/, check.sh and a library. git ignores both.
#     bash benchmarks/gpu/prepare.sh
# Needs pip and a registry, and Python 3.12 for the wheels that are made here (PYTHON312, pyenv's or in PATH).
set -euo pipefail
kit=$(cd "$(dirname "$0")" && pwd)
cd "$(git rev-parse --show-toplevel)"
exclude=$(git rev-parse --git-path info/exclude)
mkdir -p .whl .gpu "$(dirname "$exclude")"
for name in /.whl/ /.gpu/; do
  grep -qxF "$name" "$exclude" 2>/dev/null || echo "$name" >>"$exclude"
done
export PIP_DISABLE_PIP_VERSION_CHECK=1
python312=${PYTHON312:-$(ls -d "$HOME"/.pyenv/versions/3.12*/bin/python3 2>/dev/null | head -1 || true)}
python312=${python312:-$(command -v python3.12 || true)}
[ -n "$python312" ] || { echo "no Python 3.12 here: PYTHON312=/path/to/python3.12"; exit 1; }

# A test holds these three lists against what QuantDuel needs.
# shellcheck disable=SC2034
there=(torch triton accelerate safetensors numba llvmlite numpy jinja2 markupsafe click pyyaml psutil pyarrow pandas
  nvidia-ml-py httpx anyio h11 certifi idna attrs filelock fsspec aiohttp requests urllib3 charset-normalizer xxhash
  rich pygments markdown-it-py mdurl typer shellingham huggingface-hub hf-xet tokenizers regex tqdm packaging
  threadpoolctl pillow protobuf typing-extensions networkx sympy mpmath setuptools ninja pytest pytest-timeout
  pluggy iniconfig python-dateutil six aiohappyeyeballs aiosignal frozenlist multidict propcache yarl
  annotated-doc httpcore)
ready=(textual msgspec platformdirs httpx2 httpcore2 truststore google-re2 jsonschema jsonschema-specifications
  referencing rpds-py gguf transformers optimum compressed-tensors datasets mdit-py-plugins linkify-it-py dill
  multiprocess loguru pydantic pydantic-core annotated-types typing-inspection torchao pytest-asyncio)
source=(logbar tokenicer device-smi defuser uc-micro-py gptqmodel pypcre) # published as source alone

pinned() { # NAME==VERSION, whatever the case and the dashes
  "$python312" - "$1" <<'PY'
import pathlib, re, sys
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
lines = [line.partition(";")[0].strip() for line in pathlib.Path("constraints.txt").open()] # PACKAGE==VERSION; MARKER
pins = dict(line.split("==") for line in lines if "==" in line)
print(next((f"{name}=={version}" for name, version in pins.items() if plain(name) == plain(sys.argv[1])), sys.argv[1]))
PY
}
lacks() { ! compgen -G ".whl/$(tr - _ <<<"$1")-*.whl" >/dev/null; }
platforms=()
for tag in _2_28 _2_27 _2_24 _2_17 2014 1; do platforms+=(--platform "manylinux${tag}_x86_64"); done
download() { # FOLDER NAME
  "$python312" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" -d "$1" "$(pinned "$2")"
}
build() { "$python312" -m pip wheel -q --no-deps -w .whl "$1"; }

for name in "${ready[@]}"; do lacks "$name" || continue; echo "wheel: $name"; download .whl "$name"; done
for name in "${source[@]}"; do lacks "$name" || continue; echo "built: $name"; build "$(pinned "$name")"; done
if lacks bitsandbytes; then
  all=$(mktemp -d)
  download "$all" bitsandbytes
  "$python312" "$kit/slim_wheel.py" "$all"/*.whl .whl
  rm -r "$all"
fi
rm -f .whl/quantduel-*.whl
build . # for its version; the code runs from the tree
cp "$kit/check.sh" .gpu/
cp -L /lib/x86_64-linux-gnu/libpcre2-8.so.0 .gpu/ 2>/dev/null || true # PyPcre's, where that machine has none

mib() { awk '{ sum += $1 } END { printf "%.1f", sum / 1048576 }'; }
tree() { git ls-files -z --cached --others --exclude-standard | xargs -0 stat -c %s 2>/dev/null; }
carried() { find .whl .gpu -type f -printf '%s\n'; }
echo "tree $(tree | mib) MiB, .whl and .gpu $(carried | mib) MiB, in all $({ tree; carried; } | mib) MiB"
echo 'then, there: bash .gpu/check.sh'
