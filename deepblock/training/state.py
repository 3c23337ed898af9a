"""States and averages: what a session carries from segment to segment, and their files (protocol: Session)."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepblock import streams
from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.exact.elementwise import settle_
from deepblock.spec import TaskSpec, parameters
from deepblock.tensors import file_size, model_manifest, pack, state_manifest, unpack
from deepblock.training.model import join, split

CPU: Final = torch.device("cpu")

SUM_ONE: Final = 2.0**24
"""What 1.0 is in the SWA sum: weights are added to it as integers of 2^-24."""


@dataclass(frozen=True, slots=True)
class Work:
    """What fixes a session. `seed`: 32 bytes, of the header. `model`: the task's model on the parent's chain, by
    CID; None before there is one, and then the weights follow from the task's init_seed."""

    spec: TaskSpec
    seed: bytes
    model: Cid | None


@dataclass(frozen=True, slots=True)
class State:
    """`weights` and `momentum`: float32 [parameter count]; `total`: int64, the sum of the segment ends so far."""

    weights: Tensor
    momentum: Tensor
    total: Tensor

    def end_segment(self) -> None:
        """sum += round_half_even(weights · 2^24)."""
        self.total.add_(self.weights.double().mul_(SUM_ONE).round_().long())


def load_model(spec: TaskSpec, files: Files, model: Cid) -> dict[str, NDArray[Any]]:
    """The parameters in a model's or an average's file. Raises Malformed."""
    manifest = model_manifest(spec)
    return unpack(files.get_file(model, file_size(manifest)), manifest)


def derive_state(work: Work, files: Files, device: torch.device) -> State:
    """State 0: the model plus noise, settled as after an update; no momentum, nothing summed."""
    shapes = parameters(work.spec)
    if work.model is None:
        model = {name: streams.initial(work.spec.init_seed, name, shape) for name, shape in shapes.items()}
    else:
        model = load_model(work.spec, files, work.model)
    noisy = {name: tensor + streams.noise(work.seed, name, tensor) for name, tensor in model.items()}
    weights = settle_(torch.from_numpy(join(noisy, shapes)).to(device))
    return State(weights, torch.zeros_like(weights), torch.zeros_like(weights, dtype=torch.int64))


def load_state(spec: TaskSpec, files: Files, state: Cid, device: torch.device = CPU) -> State:
    """The state in a file. Raises Malformed."""
    manifest = state_manifest(spec)
    tensors = unpack(files.get_file(state, file_size(manifest)), manifest)

    def part(prefix: str) -> Tensor:
        named = {name: tensors[f"{prefix}/{name}"] for name in parameters(spec)}
        return torch.from_numpy(join(named, parameters(spec))).to(device)

    return State(part("weights"), part("momentum"), part("sum"))


def store_state(spec: TaskSpec, files: Files, state: State) -> Cid:
    """Keeps a state's file; its CID."""
    parts = {"weights": state.weights, "momentum": state.momentum, "sum": state.total}
    tensors = {
        f"{prefix}/{name}": tensor
        for prefix, flat in parts.items()
        for name, tensor in split(flat.cpu().numpy(), parameters(spec)).items()
    }
    return files.put_file(pack(tensors, state_manifest(spec)))


def store_average(spec: TaskSpec, files: Files, state: State) -> Cid:
    """Keeps the file of the SWA average f32(f64(sum) / (K · 2^24)) that a last state gives; its CID."""
    average = (state.total.cpu().numpy().astype(np.float64) / (spec.segments * SUM_ONE)).astype(np.float32)
    return files.put_file(pack(split(average, parameters(spec)), model_manifest(spec)))
