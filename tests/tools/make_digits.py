"""Makes deepblock/assets/digits-*.safetensors again. Needs scikit-learn, which nothing else does.

pip install scikit-learn && python -m tests.tools.make_digits
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-not-found,import-untyped,unused-ignore]

from deepblock.data import pack_split

ASSETS = Path(__file__).parents[2] / "deepblock" / "assets"


def main() -> None:
    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]  # whole numbers 0 … 16
    labels = digits.target.astype(np.uint8)
    heldout = np.arange(len(labels)) % 5 == 0
    (ASSETS / "digits-train.safetensors").write_bytes(pack_split(images[~heldout], labels[~heldout]))
    (ASSETS / "digits-heldout.safetensors").write_bytes(pack_split(images[heldout], labels[heldout]))


if __name__ == "__main__":
    main()
