"""States and averages: what a session carries from segment to segment, and their files (protocol: Session)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepblock import streams
from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.data import read_start
from deepblock.exact.elementwise import settle_
from deepblock.spec import TaskSpec, parameters, trained_parameters
from deepblock.tensors import file_size, model_manifest, pack, state_manifest, unpack
from deepblock.training.model import join, split

CPU: Final = torch.device("cpu")

SUM_ONE: Final = 2.0**24
"""What 1.0 is in the SWA sum: weights are added to it as integers of 2^-24."""


@dataclass(frozen=True, slots=True)
class Work:
    """What fixes a session. `seed`: 32 bytes, of the header. `model`: the task's model on the parent's chain, by
    CID; None before there is one, and then the weights are the task's first ones."""

    spec: TaskSpec
    seed: bytes
    model: Cid | None


@dataclass(frozen=True, slots=True)
class State:
    """Of the trained parameters alone. `weights` and `momentum`: float32 [trained parameters]; `total`: int64, the sum
    of the segment ends so far that the average is of."""

    weights: Tensor
    momentum: Tensor
    total: Tensor

    def add_to_sum(self) -> None:
        """sum += round_half_even(weights · 2^24)."""
        self.total.add_(self.weights.double().mul_(SUM_ONE).round_().long())


def load_model(spec: TaskSpec, files: Files, model: Cid) -> dict[str, NDArray[Any]]:
    """The parameters in a model's or an average's file. Raises Malformed, also where frozen ones have changed."""
    manifest = model_manifest(spec)
    found = unpack(files.get_file(model, file_size(manifest)), manifest)
    trained = trained_parameters(spec)
    for name, tensor in read_start(spec, files).items():
        if name not in trained and not np.array_equal(found[name], tensor):
            raise Malformed(f"{name} is frozen, and not what the task starts from")
    return found


def first_model(spec: TaskSpec, files: Files) -> dict[str, NDArray[Any]]:
    """The parameters before a task's first block: those of its start file, and for the other layers what its
    init_seed gives. Raises Malformed."""
    model = dict(read_start(spec, files))
    for name, shape in parameters(spec).items():
        if name not in model:
            model[name] = streams.initial(spec.init_seed, name, shape)
    return model


def derive_state(work: Work, files: Files, device: torch.device) -> State:
    """State 0: the model plus noise, settled as after an update; no momentum, nothing summed."""
    spec = work.spec
    model = first_model(spec, files) if work.model is None else load_model(spec, files, work.model)
    shapes = trained_parameters(spec)
    noisy = {name: model[name] + streams.noise(work.seed, name, model[name]) for name in shapes}
    weights = settle_(torch.from_numpy(join(noisy, shapes)).to(device))
    return State(weights, torch.zeros_like(weights), torch.zeros_like(weights, dtype=torch.int64))


def load_state(spec: TaskSpec, files: Files, state: Cid, device: torch.device = CPU) -> State:
    """The state in a file. Raises Malformed."""
    shapes, manifest = trained_parameters(spec), state_manifest(spec)
    tensors = unpack(files.get_file(state, file_size(manifest)), manifest)

    def part(prefix: str) -> Tensor:
        named = {name: tensors[f"{prefix}/{name}"] for name in shapes}
        return torch.from_numpy(join(named, shapes)).to(device)

    return State(part("weights"), part("momentum"), part("sum"))


def store_state(spec: TaskSpec, files: Files, state: State) -> Cid:
    """Keeps a state's file; its CID."""
    parts = {"weights": state.weights, "momentum": state.momentum, "sum": state.total}
    tensors = {
        f"{prefix}/{name}": tensor
        for prefix, flat in parts.items()
        for name, tensor in split(flat.cpu().numpy(), trained_parameters(spec)).items()
    }
    return files.put_file(pack(tensors, state_manifest(spec)))


def store_average(spec: TaskSpec, files: Files, state: State) -> Cid:
    """Keeps the file of the SWA average f32(f64(sum) / (⌈K/2⌉ · 2^24)) that a last state gives; its CID."""
    average = (state.total.cpu().numpy().astype(np.float64) / (spec.averaged * SUM_ONE)).astype(np.float32)
    return store_model(spec, files, split(average, trained_parameters(spec)))


def store_model(spec: TaskSpec, files: Files, trained: Mapping[str, NDArray[Any]]) -> Cid:
    """Keeps a model file of these trained parameters and the frozen ones, byte for byte as in the start file; its
    CID."""
    return files.put_file(pack({**read_start(spec, files), **trained}, model_manifest(spec)))
