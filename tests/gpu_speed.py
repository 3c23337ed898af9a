"""A step on a GPU, exact and as anybody would write it: the same network and batches, float32 with TF32 products."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from deepblock import streams
from deepblock.spec import Conv2d, GlobalAvgPool, GroupNorm, Layer, Linear, ReLU, Residual
from deepblock.training.examples import load_examples
from deepblock.training.state import Work, derive_state
from deepblock.training.step import Trainer
from tests.bench.plain import PlainLoop
from tests.bench.steps import SEED
from tests.bench.table import Row, alternating, paired
from tests.bench.tasks import with_data
from tests.session_vectors import MakeTrainer, Memory


def _block(channels: int, stride: int) -> tuple[Layer, ...]:
    body = (Conv2d(channels, 3, stride, 1), GroupNorm(8), ReLU(), Conv2d(channels, 3, 1, 1), GroupNorm(8))
    shortcut = (Conv2d(channels, 1, stride, 0),) if stride > 1 else ()
    return Residual(body, shortcut), ReLU()


def _resnet() -> tuple[Layer, ...]:
    """ResNet-18 as for CIFAR, with GroupNorm, but none in its shortcuts: a task has 64 layers at most."""
    stages = [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]
    blocks = [layer for stage in stages for layer in _block(*stage)]
    return Conv2d(64, 3, 1, 1), GroupNorm(8), ReLU(), *blocks, GlobalAvgPool(), Linear(10)


RESNET = _resnet()


def speed(
    device: str,
    make_trainer: MakeTrainer = Trainer,
    layers: Sequence[Layer] = RESNET,
    batch: int = 256,
    steps: int = 5,
    count: int = 9,
) -> Row:
    """Milliseconds per step on images of [1, 28, 28], at 8 bits; `count` pairs of `steps` each. The step that is
    recorded is in the turn that does not count."""
    at, files = torch.device(device), Memory()
    spec = replace(with_data("testnet", files), layers=tuple(layers), batch=batch, bits=8)
    work = Work(spec, SEED, None)
    trainer, state = make_trainer(work, files, at), derive_state(work, files, at)
    plain = PlainLoop(spec, state.weights, load_examples(spec, files, spec.train, spec.n_train, at))
    drawn = [streams.batch(SEED, step, batch, spec.n_train) for step in range((count + 1) * steps)]
    batches = [torch.from_numpy(indices).to(at) for indices in drawn]

    def run_exact(turn: int) -> None:
        with torch.inference_mode():
            for step in range(turn * steps, (turn + 1) * steps):
                trainer.step(state, step)
            state.weights[0].item()  # waits for the device

    def run_plain(turn: int) -> None:
        for step in range(turn * steps, (turn + 1) * steps):
            plain.step(step, batches[step])
        plain.weights[0].item()

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32; for convolutions it is torch's default
    pairs = alternating(run_exact, run_plain, count)
    torch.set_float32_matmul_precision(before)
    per_step = [(1000 / steps * exact, 1000 / steps * loop) for exact, loop in pairs]
    return paired(f"a step of ResNet-18, batch {batch}", "ms", per_step, "the plain loop has TF32")
