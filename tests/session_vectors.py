"""Published sessions: descriptions in, CIDs out, the same on every device. See `make gpu-check`.

python -m tests.session_vectors      writes tests/vectors/sessions.json anew (a change of the arithmetic!)
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.data import embedded, pack_split
from deepblock.primitives import Hash32
from deepblock.spec import RATE_ONE, Conv2d, Flatten, Layer, Linear, MaxPool, ReLU, TaskSpec
from deepblock.training.session import SessionResult, run_session
from deepblock.training.state import Work
from deepblock.training.step import Trainer
from deepblock.unixfs import file_cid

FILE = Path(__file__).parent / "vectors" / "sessions.json"
SPEC = TypeAdapter(TaskSpec)
SEED = hashlib.sha256(b"session vector").digest()


MakeTrainer = Callable[[Work, Files, torch.device], Trainer]


class Memory(Files):
    """Files in memory."""

    def __init__(self) -> None:
        self._files: dict[Cid, bytes] = {}

    def get_file(self, cid: Cid, max_size: int) -> bytes:
        data = self._files[cid]
        if len(data) > max_size:
            raise Malformed(f"{len(data)} bytes, more than {max_size}")
        return data

    def put_file(self, data: bytes) -> Cid:
        cid = file_cid(data)
        self._files[cid] = data
        return cid


def noise_split(examples: int, shape: tuple[int, ...]) -> bytes:
    """Images without a meaning, for shapes that the digits do not have."""
    size = examples * int(np.prod(shape))
    noise = np.frombuffer(hashlib.shake_256(b"noise split").digest(size), np.uint8)
    return pack_split(noise.reshape(examples, *shape), (np.arange(examples) % 10).astype(np.uint8))


def with_data() -> Memory:
    files = Memory()
    for split in (*embedded(), noise_split(256, (3, 32, 32)), noise_split(64, (3, 32, 32))):
        files.put_file(split)
    return files


def run(
    vector: dict[str, Any], files: Files, device: str, make_trainer: MakeTrainer = Trainer
) -> dict[str, Any]:
    """The vector as this device computes it: the same dictionary, if all is well."""
    spec = SPEC.validate_python(vector["spec"])
    work = Work(spec, bytes.fromhex(vector["seed"]), None)
    return {**vector, **_outcome(whole_session(work, files, device, make_trainer))}


def whole_session(
    work: Work, files: Files, device: str = "cpu", make_trainer: MakeTrainer = Trainer
) -> SessionResult:
    """All of it, without a word."""
    return run_session(
        work,
        files,
        on_segment=lambda index, state: None,
        on_step=lambda done, total: None,
        should_stop=lambda: False,
        device=device,
        trainer=make_trainer(work, files, torch.device(device)),
    )


def _outcome(result: SessionResult) -> dict[str, Any]:
    return {
        "states": [str(state) for state in result.states],
        "average": str(result.average),
        "loss": result.score.loss,
        "correct": result.score.correct,
    }


def _spec(name: str, layers: tuple[Layer, ...], splits: tuple[bytes, bytes], **changes: Any) -> TaskSpec:
    digits = dict(input_shape=(1, 8, 8), input_zero=0, input_span=16, n_train=1437, n_heldout=360)
    rates = dict(
        lr_high=RATE_ONE // 10, lr_low=RATE_ONE // 50, momentum=RATE_ONE // 10 * 9, decay=RATE_ONE // 2000
    )
    lengths = dict(segments=3, steps=8, batch=32, bits=8)
    train, heldout = map(file_cid, splits)
    fields: dict[str, Any] = {**digits, **rates, **lengths, **changes}
    seed = Hash32(hashlib.sha256(name.encode()).digest())
    return TaskSpec(
        name=name, classes=10, layers=layers, init_seed=seed, train=train, heldout=heldout, **fields
    )


def _specs() -> list[TaskSpec]:
    digits = (embedded()[0], embedded()[1])
    noise = (noise_split(256, (3, 32, 32)), noise_split(64, (3, 32, 32)))
    perceptron = (Flatten(), Linear(48), ReLU(), Linear(10))
    convolution = (
        Conv2d(16, 3, 1, 1),
        ReLU(),
        MaxPool(2),
        Conv2d(24, 3, 2, 1),
        ReLU(),
        Flatten(),
        Linear(10),
    )
    wide = (
        Conv2d(32, 5, 1, 2),
        ReLU(),
        MaxPool(2),
        Conv2d(48, 3, 1, 0),
        ReLU(),
        MaxPool(2),
        Flatten(),
        Linear(10),
    )
    images = dict(input_shape=(3, 32, 32), input_zero=128, input_span=128, n_train=256, n_heldout=64)
    return [
        _spec("perceptron", perceptron, digits),
        _spec(
            "perceptron with 12 bits, no momentum, no decay", perceptron, digits, bits=12, momentum=0, decay=0
        ),
        _spec("convolution with padding, stride and pooling", convolution, digits),
        _spec("wide convolution on noise", wide, noise, segments=2, steps=3, batch=16, **images),
    ]


def main() -> None:
    files = with_data()
    vectors = []
    for spec in _specs():
        print(spec.name)
        vector = {"spec": SPEC.dump_python(spec, mode="json"), "seed": SEED.hex()}
        vectors.append(run(vector, files, "cpu"))
    FILE.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
