"""The shape of a model on the hub: config.json, and the weight files' headers by range requests.

Owns the talk with the hub about headers. Weights stay where they are: of each file a few kilobytes come.
"""

import logging
from pathlib import Path
from typing import Any

from engine import paths
from engine.errors import ShapeError
from engine.shape import architecture, from_config
from engine.shape.boundary import json_object
from engine.shape.model_shape import DTYPE_BYTES, ModelShape, Tensor
from engine.shape.safetensors_headers import PRECISIONS, tensor

TIMEOUT_S = 10.0


def shape(repo: str, revision: str) -> ModelShape:
    """The shape of a repository; ShapeError says in one line why there is none."""
    try:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import NotASafetensorsRepoError
    except ImportError as error:
        raise ShapeError(
            f"asking the hub for {repo} needs huggingface_hub", "it comes with quantduel[local]"
        ) from error
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries are no news
    try:
        api = HfApi(library_name="quantduel")
        api.model_info(repo, revision=revision, timeout=TIMEOUT_S)  # a hub that is away is noticed at once
        file = hf_hub_download(repo, "config.json", revision=revision, etag_timeout=TIMEOUT_S)
        config = json_object(Path(file))
        try:
            headers = api.get_safetensors_metadata(repo, revision=revision)
        except NotASafetensorsRepoError:
            return _of_config(repo, config)
    except Exception as error:
        raise _explained(error, repo) from error
    return _of_headers(repo, config, headers)


def _of_headers(repo: str, config: dict[str, Any], headers: Any) -> ModelShape:
    found: list[Tensor] = []
    dtype = architecture.dtype(config)
    for file in headers.files_metadata.values():
        for name, info in file.tensors.items():
            found.append(tensor(name, info.shape, *info.data_offsets))
            dtype = dtype or PRECISIONS.get(info.dtype)
    return ModelShape(
        name=repo,
        origin=f"the hub's headers of {repo}",
        architecture=architecture.architecture(config),
        dtype=dtype or "float32",
        tensors=tuple(found),
        file_bytes=sum(tensor.stored_bytes for tensor in found),
        packing=architecture.packing(config),
    )


def _of_config(repo: str, config: dict[str, Any]) -> ModelShape:
    """A repository without safetensors: its config alone."""
    known = architecture.architecture(config)
    dtype = architecture.dtype(config) or "bfloat16"
    tensors = from_config.tensors(config, known, DTYPE_BYTES[dtype])
    return ModelShape(
        name=repo,
        origin=f"config.json of {repo} alone: it has no safetensors files",
        architecture=known,
        dtype=dtype,
        tensors=tensors,
        file_bytes=0,
    )


def _explained(error: Exception, repo: str) -> ShapeError:
    if isinstance(error, ShapeError):
        return error
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in {401, 403, 404}:
        hint = "check the spelling; if it is gated or private: `hf auth login`, or set HF_TOKEN"
        return ShapeError(f"the model hub does not give us {repo} ({status})", hint)
    hint = f"check the network and HF_ENDPOINT ({paths.hub_endpoint()}); folders and random:SHAPE need no hub"
    return ShapeError(f"the headers of {repo} cannot be read: the model hub does not answer", hint)
