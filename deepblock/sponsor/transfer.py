"""Transfer learning: the layers of a trained model that another task can start from (protocol: Tasks)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from deepblock.cid import Cid
from deepblock.exact.constants import LIMIT, TINY
from deepblock.spec import SpecError, Start, TaskSpec, parameters, placed
from deepblock.tensors import Array, model_manifest, pack, start_manifest, unpack
from deepblock.unixfs import file_cid


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model. `name`: what people call it; `spec`: of its task, None where only the file is known."""

    name: str
    weights: Mapping[str, Array]
    spec: TaskSpec | None = None

    @classmethod
    def of_task(cls, spec: TaskSpec, model: bytes) -> Self:
        """Raises Malformed."""
        return cls(f"task {spec.name}", unpack(model, model_manifest(spec)), spec)

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Any safetensors file of float tensors, with the names that torch.nn.Sequential gives. Raises SpecError."""
        try:
            return cls(str(path), load(path.read_bytes()))
        except (SafetensorError, KeyError, TypeError) as error:
            raise SpecError(
                f"--from {path}: is not a safetensors file that numpy can hold ({error})"
            ) from None


def fitting_layers(spec: TaskSpec, trained: Trained) -> int:
    """How many layers, from the first on, the model has as the task wants them. Raises SpecError where none of them
    has weights."""
    fits = 0
    found = False
    for index, place in enumerate(placed(spec)):
        if trained.spec and trained.spec.layers[index : index + 1] != (place.layer,):
            break
        shapes = {name: trained.weights[name].shape for name in place.parameters if name in trained.weights}
        if shapes != place.parameters:
            break
        fits = index + 1
        found = found or bool(shapes)
    if not found:
        name, shape = next(iter(parameters(spec).items()))
        there = f"{trained.weights[name].shape}" if name in trained.weights else "absent"
        raise SpecError(
            f"nothing of {trained.name} fits: the first weights, {name}, have to be {shape} and are {there}"
        )
    return fits


def started(spec: TaskSpec, trained: Trained, frozen: int) -> tuple[TaskSpec, bytes]:
    """The task, starting from all layers of the model that fit, and the file of their weights. Raises SpecError."""
    layers = fitting_layers(spec, trained)
    if frozen > layers:
        raise SpecError(
            f"--frozen {frozen}: only the first {layers} layers of {trained.name} fit, so no more can be kept"
        )
    begun = replace(spec, start=Start(Cid(spec.train), layers, frozen))
    manifest = start_manifest(begun)
    file = pack({name: _settled(name, trained.weights[name]) for name in manifest}, manifest)
    return replace(spec, start=Start(file_cid(file), layers, frozen)), file


def _settled(name: str, weights: Array) -> Array:
    """As training would have left them: float32 without −0.0 and without what is smaller than any weight."""
    settled = weights.astype(np.float32)
    if not np.isfinite(settled).all() or np.abs(settled).max() > LIMIT:
        raise SpecError(
            f"{name} of the model has numbers beyond ±{LIMIT:g}, or NaN: nothing can start from it"
        )
    settled[np.abs(settled) < TINY] = 0.0
    return settled
