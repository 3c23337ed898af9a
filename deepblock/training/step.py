"""Steps and segments: the part of a session between two states (protocol: Session)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deepblock import streams
from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.data import read_start
from deepblock.exact.elementwise import sgd_
from deepblock.exact.loss import cross_entropy_gradient
from deepblock.spec import RATE_ONE, TaskSpec
from deepblock.training.features import Features
from deepblock.training.graph import CudaGraphs, Inputs, RecordedSteps, Recorder
from deepblock.training.memory import keep_memory
from deepblock.training.model import Frozen, Network
from deepblock.training.state import State, Work, derive_state, load_state, store_state

OnSegment = Callable[[int, Cid], None]
"""Called with i and the CID of state i, which is in the files then."""

OnStep = Callable[[int, int], None]
"""Called after each step with the number of steps done and their total."""

ShouldStop = Callable[[], bool]
"""Asked before each step."""


class Cancelled(Exception):
    """`should_stop` said so. The segments finished before are kept."""


class Trainer:
    """Steps of one session: its network, its examples, its rates.

    `recorded`: the steps as recordings; None where each is done operation by operation, as on a CPU.
    """

    def __init__(
        self, work: Work, files: Files, device: torch.device, recorder: Recorder | None = None
    ) -> None:
        """`recorder`: what records steps; without it those on a CUDA device become CUDA graphs, and no others."""
        spec = work.spec
        keep_memory()
        self.work = work
        self.device = device
        self._spec = spec
        self._network: Network | None = None
        frozen = Frozen(spec, read_start(spec, files), device)
        self._examples = Features(spec, files, spec.train, spec.n_train, frozen, device)
        self._rates = [as_float32(learning_rate(spec, step)) for step in range(spec.steps)]
        self._momentum = as_float32(spec.momentum)
        self._decay = as_float32(spec.decay)
        if recorder is None and device.type == "cuda":
            recorder = CudaGraphs(device)
        self.recorded: RecordedSteps | None = None
        if recorder is not None:
            inputs = Inputs(work, self._rates, self._examples.keep, device)
            self.recorded = RecordedSteps(recorder, inputs)

    def step(self, state: State, step: int) -> None:
        """Step g of the session (0 … K·m − 1), in place on the weights and momentum of `state`."""
        if self.recorded is None:
            self.eagerly(state, step)
        else:
            self.recorded.step(self, state, step)

    def eagerly(self, state: State, step: int) -> None:
        """The same, always operation by operation."""
        indices = torch.from_numpy(streams.batch(self.work.seed, step, self._spec.batch, self._spec.n_train))
        self._examples.keep(indices)
        self.compute(state, indices.to(self.device), self._rates[step % self._spec.steps])

    def compute(self, state: State, indices: Tensor, lr: float | Tensor) -> None:
        """A step from its batch (indices, int64, on the device) and rate (as a tensor: float32, ()) on. It can be
        recorded: the host gives no numbers but constants, and asks for none."""
        network = self._on(state.weights)
        features, labels = self._examples.take(indices)
        logits, tape = network.forward(features, per_example=False)
        network.backward(cross_entropy_gradient(logits, labels), tape)
        sgd_(state.weights, state.momentum, network.gradient, lr, self._momentum, self._decay)

    def _on(self, weights: Tensor) -> Network:
        """The network on these weights, in which the update will be seen."""
        if self._network is None or self._network.weights is not weights:
            self._network = Network(self._spec, weights)
        return self._network


def run_segments(
    trainer: Trainer,
    files: Files,
    start: int,
    state: Cid | None,
    upto: int,
    on_segment: OnSegment,
    on_step: OnStep,
    should_stop: ShouldStop,
) -> tuple[Cid, ...]:
    """Runs segments start + 1 … upto from `state` (None: state 0, which is derived) and keeps their states in `files`;
    the CIDs of those.
    """
    work, at = trainer.work, trainer.device
    spec = work.spec
    current = derive_state(work, files, at) if state is None else load_state(spec, files, state, at)
    states = []
    with torch.inference_mode():
        for index in range(start, upto):
            for step in range(index * spec.steps, (index + 1) * spec.steps):
                if should_stop():
                    raise Cancelled(f"stopped in segment {index + 1} of {spec.segments}")
                trainer.step(current, step)
                on_step(step + 1 - start * spec.steps, (upto - start) * spec.steps)
            if index >= spec.segments - spec.averaged:
                current.add_to_sum()
            states.append(store_state(spec, files, current))
            on_segment(index + 1, states[-1])
    return tuple(states)


def learning_rate(spec: TaskSpec, step: int) -> int:
    """Of step j of each segment, over 2^32: ⌊(lr_high·(m−1−j) + lr_low·j) / (m−1)⌋."""
    last = spec.steps - 1
    return (spec.lr_high * (last - step) + spec.lr_low * step) // last


def as_float32(rate: int) -> float:
    """f32(rate / 2^32): a rate as float32 arithmetic uses it."""
    return float(np.float32(rate / RATE_ONE))
