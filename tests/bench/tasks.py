"""The base tasks of the networks, with data for them."""

from dataclasses import replace

import numpy as np

from deepblock.blockstore import Files
from deepblock.data import embedded, pack_split
from deepblock.spec import Flatten, Linear, ReLU, TaskSpec
from node.config import load_params

TITLES = {"devnet": "digits MLP", "testnet": "Fashion-MNIST CNN", "wide": "784-512-512-10 MLP"}
WIDE = (Flatten(), Linear(512), ReLU(), Linear(512), ReLU(), Linear(10))
"""Of a batch of 128: large enough that its time is not Python's."""


def with_data(network: str, files: Files) -> TaskSpec:
    """The network's task, whose data are in `files` then: devnet's as it is; testnet's with images of the same
    number and shape that are made here, so that the benchmark needs no download; "wide" is another network on those."""
    if network == "wide":
        return replace(with_data("testnet", files), layers=WIDE, batch=128)
    spec = load_params(network).base_tasks[0]
    if network == "devnet":
        for split in embedded():
            files.put_file(split)
        return spec
    train, heldout = (files.put_file(_images(spec, count)) for count in (spec.n_train, spec.n_heldout))
    return replace(spec, train=train, heldout=heldout)


def _images(spec: TaskSpec, count: int) -> bytes:
    """Noise with a bright stripe at a height that tells the class: something can be learned."""
    labels = np.arange(count, dtype=np.uint8) % spec.classes
    images = np.random.default_rng(count).integers(0, 128, (count, *spec.input_shape), np.uint8)
    for label in range(spec.classes):
        images[labels == label, :, 2 * label : 2 * label + 2] += 100
    return pack_split(images, labels)
