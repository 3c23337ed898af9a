"""The embedded digits, and a small MLP for them: a task whose steps are cheap and well behaved."""

from dataclasses import replace

from deepblock.blockstore import Files
from deepblock.data import embedded
from deepblock.spec import RATE_ONE, Flatten, Linear, ReLU, TaskSpec
from node.config import load_params


def digits_mlp(files: Files) -> TaskSpec:
    """64-32-10 on devnet's data, which are in `files` then."""
    for split in embedded():
        files.put_file(split)
    return replace(
        load_params("devnet").base_tasks[0],
        name="digits-mlp",
        layers=(Flatten(), Linear(32), ReLU(), Linear(10)),
        segments=20,
        steps=25,
        batch=32,
        lr_high=RATE_ONE // 125,
        lr_low=RATE_ONE // 250,
        momentum=RATE_ONE // 2,
        decay=0,
    )
