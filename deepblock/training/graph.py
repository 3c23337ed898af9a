"""A step recorded once and replayed for the others (README: CUDA graphs).

A recording is a list of what a device did, with the addresses of the tensors. So whatever differs from step to step
stands in tensors that stay where they are, `Inputs`; and a recording is of one state's own weights and momentum.
"""

import functools
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from deepblock import streams
from deepblock.training.state import State, Work

Action = Callable[[], None]

WARM_UPS: Final = 3
"""Runs before a recording: libraries choose their kernels then, and get memory to work in."""

CHECKS: Final = 2
"""Replays that have to give the bits of the eager step. The second finds all memory as a replay leaves it."""

DRAWN: Final = 1 << 16
"""Indices that are drawn and uploaded at a time, about; at least those of a step."""


class Recorder(Protocol):
    def record(self, function: Action) -> Action:
        """What does again all that `function` does on the device, to the same tensors. May run it any number of times
        before. Raises RuntimeError where it cannot be recorded."""


class Steps(Protocol):
    """What does the steps of a session, in place on the weights and momentum of a state."""

    def eagerly(self, state: State, step: int) -> None:
        """Step g."""

    def compute(self, state: State, indices: Tensor, lr: float | Tensor) -> None:
        """What of a step can be recorded, given its batch and rate."""


class CudaGraphs:
    """Recordings as CUDA graphs, on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def record(self, function: Action) -> Action:
        with torch.cuda.device(self._device):
            here, aside = torch.cuda.current_stream(), _aside(self._device)
            aside.wait_stream(here)
            try:
                with torch.cuda.stream(aside):
                    for _ in range(WARM_UPS):
                        function()
            finally:
                here.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Entered here too, as torch stays on the stream of a capture that fails. Other threads may use the device.
            with (
                torch.cuda.stream(aside),
                torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"),
            ):
                function()
            return graph.replay


@functools.cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream of all recordings on a device: cuBLAS keeps memory for every stream that it has met."""
    return torch.cuda.Stream(device)


class Inputs:
    """What differs from step to step, where a recording reads it. `indices`: int64 [batch]; `rate`: float32 ()."""

    def __init__(
        self, work: Work, rates: list[float], keep: Callable[[Tensor], None], device: torch.device
    ) -> None:
        """`rates`: of the steps of a segment, as float32 holds them. `keep`: is told each batch, on the host."""
        self._work, self._keep, self._device = work, keep, device
        self._rates = torch.tensor(rates, dtype=torch.float32, device=device)
        self._page = -1
        self._drawn = self._batches = torch.empty(0, dtype=torch.int64)
        self.indices = torch.zeros(work.spec.batch, dtype=torch.int64, device=device)
        self.rate = torch.zeros((), device=device)

    def load(self, step: int) -> None:
        """Those of step g. The host waits for the device once a page, and needs no pinned memory that a copy under way
        might still read; within a page the device copies from its own memory, in the order of its work."""
        rows = max(1, DRAWN // self._work.spec.batch)
        page, row = divmod(step, rows)
        if page != self._page:
            self._drawn = torch.from_numpy(self._draw(range(page * rows, (page + 1) * rows)))
            self._batches = self._drawn.to(self._device)
            self._page = page
        self._keep(self._drawn[row])
        self.indices.copy_(self._batches[row])
        self.rate.copy_(self._rates[step % self._work.spec.steps])

    def _draw(self, steps: range) -> np.ndarray:
        """The batches of these steps, one a row. Those after the session's last are drawn, and used by nobody."""
        spec, seed = self._work.spec, self._work.seed
        return np.stack([streams.batch(seed, step, spec.batch, spec.n_train) for step in steps])


class RecordedSteps:
    """Steps of a session, recorded where that gives the same bits.

    `refused`: why all steps are eager from now on, None while they are not; `replayed`: how many were replayed so far.
    """

    def __init__(self, recorder: Recorder, inputs: Inputs) -> None:
        self._recorder, self._inputs = recorder, inputs
        self._recording: tuple[State, Action] | None = None
        self.refused: str | None = None
        self.replayed = 0

    @torch.inference_mode()
    def step(self, steps: Steps, state: State, step: int) -> None:
        """Step g of `steps`. These are not kept: what knows them has this, and in a circle memory would stay longer."""
        if self.refused is not None:
            steps.eagerly(state, step)
        elif self._recording is not None and self._recording[0] is state:
            self._inputs.load(step)
            self._recording[1]()
            self.replayed += 1
        else:
            self._record(steps, state, step)

    def _record(self, steps: Steps, state: State, step: int) -> None:
        """Does the step eagerly, and leaves its result. In between the state serves to record, and to check that."""
        self._recording = None  # an older one's memory is free then
        before = _copies(state)
        steps.eagerly(state, step)
        after = _copies(state)
        inputs = self._inputs
        try:
            inputs.load(step + 1)  # so that a check sees what the recording has taken for constant
            replay = self._recorder.record(lambda: steps.compute(state, inputs.indices, inputs.rate))
            inputs.load(step)
            for _ in range(CHECKS):
                _restore(state, before)
                replay()
                if not _same_bits(state, after):
                    raise RuntimeError("a replay's bits are not the step's")
            self._recording = state, replay
        except RuntimeError as error:  # torch's own errors are, also CUDA's and that of no memory
            self.refused = str(error)
        finally:
            _restore(state, after)


def _copies(state: State) -> tuple[Tensor, Tensor]:
    return state.weights.clone(), state.momentum.clone()


def _restore(state: State, numbers: tuple[Tensor, Tensor]) -> None:
    state.weights.copy_(numbers[0])
    state.momentum.copy_(numbers[1])


def _same_bits(state: State, numbers: tuple[Tensor, Tensor]) -> bool:
    """As integers: so −0 is not +0."""
    pairs = zip((state.weights, state.momentum), numbers, strict=True)
    return all(torch.equal(found.view(torch.int32), wanted.view(torch.int32)) for found, wanted in pairs)
