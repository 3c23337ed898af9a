"""The data sets: what is embedded, what is imported, and what is said of files that are something else."""

import gzip
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from deepblock.data import DataError, embedded, import_fashion_mnist, pack_split
from deepblock.tensors import split_manifest, unpack
from deepblock.unixfs import file_cid

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def base_task(network):
    """Of the preset that is shipped, as JSON."""
    return json.loads((resources.files("configs") / f"{network}.json").read_text())["base_tasks"][0]


def test_the_digits_are_those_that_devnet_names():
    task = base_task("devnet")
    assert [str(file_cid(file)) for file in embedded()] == [task["train"], task["heldout"]]


@pytest.mark.parametrize(("place", "count"), [(0, 1437), (1, 360)])
def test_the_digits_are_canonical_and_balanced(place, count):
    split = unpack(embedded()[place], split_manifest((1, 8, 8), count))
    assert split["inputs"].max() == 16
    per_class = np.bincount(split["labels"])
    assert len(per_class) == 10
    assert per_class.min() > 0.07 * count


def test_no_digit_is_in_both_splits():
    train, heldout = (
        {image.tobytes() for image in unpack(file, split_manifest((1, 8, 8), count))["inputs"]}
        for file, count in zip(embedded(), (1437, 360), strict=True)
    )
    assert not train & heldout


@pytest.mark.fashion_mnist
@pytest.mark.skipif(not DEBIAN.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_fashion_mnist_gives_the_cids_that_testnet_names():
    splits = import_fashion_mnist(DEBIAN)
    task = base_task("testnet")
    assert [str(file_cid(file)) for file in (splits.train, splits.heldout)] == [
        task["train"],
        task["heldout"],
    ]
    assert str(file_cid(splits.test)) == "bafybeibcmrxu3tbdsswevmmu6ktzgqndnd5eurgay7ae4u7gaxcsvy64nu"


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + b"".join(side.to_bytes(4, "big") for side in array.shape)
    return header + array.tobytes()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of files with the names and shapes of the published ones."""
    folder = tmp_path_factory.mktemp("published")
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        numbers = np.arange(count)
        images = np.broadcast_to((numbers % 251).astype(np.uint8)[:, None, None], (count, 28, 28))
        write(folder / f"{name}-images-idx3-ubyte.gz", idx(images))
        write(folder / f"{name}-labels-idx1-ubyte.gz", idx((numbers % 10).astype(np.uint8)))
    return folder


def write(file, data):
    file.write_bytes(gzip.compress(data, 1))


@pytest.fixture
def folder(published, tmp_path):
    """The same files, to be spoilt: links that a test replaces."""
    for file in published.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def spoil(file, data):
    file.unlink()
    file.write_bytes(data)


def test_the_splits_are_the_examples_that_they_should_be(published):
    splits = import_fashion_mnist(published)
    train = unpack(splits.train, split_manifest((1, 28, 28), 55_000))
    heldout = unpack(splits.heldout, split_manifest((1, 28, 28), 1_000))
    test = unpack(splits.test, split_manifest((1, 28, 28), 10_000))
    for split, first in ((train, 0), (heldout, 59_000), (test, 0)):
        numbers = np.arange(first, first + len(split["labels"]))
        assert (split["labels"] == numbers % 10).all()
        assert (split["inputs"] == (numbers % 251)[:, None, None, None]).all()


def test_an_absent_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: there is no such file"):
        import_fashion_mnist(folder)


def test_a_file_that_is_not_gzip_is_named(folder):
    spoil(folder / "train-labels-idx1-ubyte.gz", b"<html>not found</html>")
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz: cannot be read as a gzip file"):
        import_fashion_mnist(folder)


def test_a_download_that_was_cut_is_named(folder):
    file = folder / "train-images-idx3-ubyte.gz"
    spoil(file, file.read_bytes()[:-1000])
    with pytest.raises(DataError, match="cannot be read as a gzip file"):
        import_fashion_mnist(folder)


def test_a_file_of_other_things_is_refused(folder):
    file = folder / "train-labels-idx1-ubyte.gz"
    spoil(file, (folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(DataError, match="not an idx file of 60000 bytes.*0000080100002710"):
        import_fashion_mnist(folder)


@pytest.mark.parametrize(("change", "found"), [(-1, "10007"), (1, "more")])
def test_a_file_of_another_length_is_refused(folder, change, found):
    data = idx(np.zeros(10_000, np.uint8))
    data = data + b"\0" if change > 0 else data[:-1]
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    write(folder / "t10k-labels-idx1-ubyte.gz", data)
    with pytest.raises(DataError, match=f"10008 bytes were expected when unpacked, there are {found}"):
        import_fashion_mnist(folder)


def test_an_impossible_label_is_refused(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    write(folder / "t10k-labels-idx1-ubyte.gz", idx(np.full(10_000, 10, np.uint8)))
    with pytest.raises(DataError, match="has a label 10"):
        import_fashion_mnist(folder)


def test_a_split_is_packed_as_its_manifest_says():
    inputs, labels = np.arange(12, dtype=np.uint8).reshape(3, 4), np.array([0, 1, 2], np.uint8)
    tensors = unpack(pack_split(inputs, labels), split_manifest((4,), 3))
    assert (tensors["inputs"] == inputs).all()
    assert (tensors["labels"] == labels).all()
