import json

import numpy as np
import pytest
import safetensors.numpy

from deepblock.tensors import Malformed, file_size, header_for, pack, unpack

MANIFEST = {"b": ("F32", (2, 3)), "a": ("U8", (5,)), "c/d": ("I64", ())}
TENSORS = {
    "a": np.arange(5, dtype=np.uint8),
    "b": np.arange(6, dtype=np.float32).reshape(2, 3) - 2,
    "c/d": np.array(-(2**40)),
}


def test_round_trip():
    data = pack(TENSORS, MANIFEST)
    assert len(data) == file_size(MANIFEST)
    for name, tensor in unpack(data, MANIFEST).items():
        np.testing.assert_array_equal(tensor, TENSORS[name])
        assert not tensor.flags.writeable


def test_the_safetensors_library_reads_it():
    for name, tensor in safetensors.numpy.load(pack(TENSORS, MANIFEST)).items():
        np.testing.assert_array_equal(tensor, TENSORS[name])


def test_header():
    header = header_for({"w": ("F32", (2,))})
    assert header == (56).to_bytes(
        8, "little"
    ) + b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(56)
    assert list(json.loads(header_for(MANIFEST)[8:])) == ["a", "b", "c/d"]


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf, -0.0])
def test_values_that_have_no_place(worst):
    good = pack(TENSORS, MANIFEST)
    bad = TENSORS | {"b": TENSORS["b"].copy()}
    bad["b"][1, 1] = worst
    with pytest.raises(Malformed, match="b holds"):
        pack(bad, MANIFEST)
    with pytest.raises(Malformed, match="b holds"):
        unpack(good.replace(TENSORS["b"].tobytes(), bad["b"].tobytes()), MANIFEST)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data.replace(b"F32", b"I32"),
        lambda data: (2**60).to_bytes(8, "little") + data[8:],
        lambda data: b"\x80\x04\x95" + data,  # a pickle
    ],
)
def test_other_bytes(spoil):
    with pytest.raises(Malformed):
        unpack(spoil(pack(TENSORS, MANIFEST)), MANIFEST)


def test_other_tensors():
    with pytest.raises(Malformed, match="the tensors are"):
        pack({"a": TENSORS["a"]}, MANIFEST)
    with pytest.raises(Malformed, match=r"a is uint8 \(6,\), not U8 \(5,\)"):
        pack(TENSORS | {"a": np.zeros(6, np.uint8)}, MANIFEST)
