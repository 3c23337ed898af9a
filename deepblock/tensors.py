"""Files of tensors: safetensors with canonical bytes (protocol: Encoding). numpy, no torch.

A *manifest* says what a file must hold: name → (dtype, shape). One manifest has one header and one file size,
so a file is compared with what its task implies before anything is allocated, and equal tensors are equal bytes:

    length of the header (u64, little-endian) ‖ header ‖ the tensors' bytes, little-endian, row-major, no gaps

The header is compact JSON, `{"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},…}`, names in ascending
order of code points, padded with spaces to a multiple of 8 as the safetensors library does. The tensors follow in
the same order. Floats are finite, and zero is +0.0: two files never differ where the numbers are equal.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from deepblock.cid import Cid
from deepblock.codec import Malformed as Malformed
from deepblock.spec import Shape, TaskSpec, label_shape, parameters, started_parameters, trained_parameters

DType = Literal["F32", "I64", "U8"]
Manifest = Mapping[str, tuple[DType, tuple[int, ...]]]
Array = NDArray[Any]

_NUMPY: Final[dict[DType, np.dtype[Any]]] = {
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}
_EXPONENT: Final = 0x7F80_0000
_MINUS_ZERO: Final = 0x8000_0000


# --- what the files of a task hold --------------------------------------------------------------------------


def model_manifest(spec: TaskSpec) -> Manifest:
    """Of a model or an average: '<name>' F32 for each parameter."""
    return weights_manifest(parameters(spec))


def start_manifest(spec: TaskSpec) -> Manifest:
    """Of the weights that a task starts from: '<name>' F32 for each parameter of its first `start.layers` layers."""
    return weights_manifest(started_parameters(spec))


def weights_manifest(shapes: Mapping[str, Shape]) -> Manifest:
    """'<name>' F32 for each of these parameters."""
    return {name: ("F32", shape) for name, shape in shapes.items()}


def state_manifest(spec: TaskSpec) -> Manifest:
    """Of a state: 'momentum/<name>' F32, 'sum/<name>' I64, 'weights/<name>' F32 for each trained parameter."""
    manifest: dict[str, tuple[DType, tuple[int, ...]]] = {}
    for name, shape in trained_parameters(spec).items():
        manifest[f"momentum/{name}"] = ("F32", shape)
        manifest[f"sum/{name}"] = ("I64", shape)
        manifest[f"weights/{name}"] = ("F32", shape)
    return manifest


def split_manifest(inputs: Shape, examples: int, labels: Shape = ()) -> Manifest:
    """Of a dataset split: 'inputs' U8 [examples, *inputs], 'labels' U8 [examples, *labels]."""
    return {"inputs": ("U8", (examples, *inputs)), "labels": ("U8", (examples, *labels))}


def data_manifests(spec: TaskSpec) -> dict[Cid, Manifest]:
    """Of each of the task's `data_files`: what those who fetch it expect."""
    labels = label_shape(spec)
    manifests = {
        split: split_manifest(spec.input_shape, examples, labels)
        for split, examples in ((spec.train, spec.n_train), (spec.heldout, spec.n_heldout))
    }
    return manifests | ({spec.start.weights: start_manifest(spec)} if spec.start else {})


# --- the format ---------------------------------------------------------------------------------------------


def header_for(manifest: Manifest) -> bytes:
    """The first bytes of every file with this manifest: the header's length and the header."""
    entries: dict[str, dict[str, Any]] = {}
    offset = 0
    for name in sorted(manifest):
        dtype, shape = manifest[name]
        end = offset + _nbytes(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def file_size(manifest: Manifest) -> int:
    """Bytes of every file with this manifest."""
    return len(header_for(manifest)) + sum(_nbytes(dtype, shape) for dtype, shape in manifest.values())


def pack(tensors: Mapping[str, Array], manifest: Manifest) -> bytes:
    """The canonical file of `tensors`. Raises Malformed where they are not those of the manifest, or NaN, Inf, −0.0."""
    if tensors.keys() != manifest.keys():
        raise Malformed(f"the tensors are {sorted(tensors)}, not {sorted(manifest)}")
    parts = [header_for(manifest)]
    for name in sorted(manifest):
        dtype, shape = manifest[name]
        tensor = tensors[name]
        if tensor.dtype != _NUMPY[dtype] or tensor.shape != shape:
            raise Malformed(f"{name} is {tensor.dtype} {tensor.shape}, not {dtype} {shape}")
        _check_values(name, tensor)
        parts.append(tensor.tobytes())
    return b"".join(parts)


def unpack(data: bytes, manifest: Manifest) -> dict[str, Array]:
    """The tensors of a canonical file, as read-only views of `data`. Raises Malformed."""
    header = header_for(manifest)
    if data[: len(header)] != header:
        raise Malformed(f"the header is not the one of {len(manifest)} tensors that was expected")
    expected = file_size(manifest)
    if len(data) != expected:
        raise Malformed(f"{len(data)} bytes, not {expected}")
    tensors: dict[str, Array] = {}
    offset = len(header)
    for name in sorted(manifest):
        dtype, shape = manifest[name]
        tensor = np.frombuffer(data, _NUMPY[dtype], math.prod(shape), offset).reshape(shape)
        _check_values(name, tensor)
        tensors[name] = tensor
        offset += tensor.nbytes
    return tensors


def _nbytes(dtype: DType, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * _NUMPY[dtype].itemsize


def _check_values(name: str, tensor: Array) -> None:
    if tensor.dtype != _NUMPY["F32"]:
        return
    patterns = np.ascontiguousarray(tensor).view("<u4")
    if ((patterns & _EXPONENT) == _EXPONENT).any():
        raise Malformed(f"{name} holds NaN or Inf")
    if (patterns == _MINUS_ZERO).any():
        raise Malformed(f"{name} holds -0.0")
