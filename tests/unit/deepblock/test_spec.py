import math
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from deepblock.cid import RAW, cid_of_block
from deepblock.codec import decode, encode
from deepblock.spec import (
    RATE_ONE,
    Conv2d,
    Flatten,
    Linear,
    MaxPool,
    ReLU,
    SpecError,
    TaskSpec,
    check_bounds,
    forward_macs,
    ln_micro,
    parameter_count,
    parameters,
    placed,
    session_macs,
)
from deepblock.types import Hash32

CNN = TaskSpec(
    name="fashion",
    input_shape=(1, 28, 28),
    input_zero=73,
    input_span=90,
    classes=10,
    layers=(
        Conv2d(out=16, kernel=3, stride=1, padding=1),
        ReLU(),
        MaxPool(size=2),
        Conv2d(out=32, kernel=3, stride=1, padding=1),
        ReLU(),
        MaxPool(size=2),
        Flatten(),
        Linear(out=10),
    ),
    init_seed=Hash32(bytes(32)),
    train=cid_of_block(b"train", RAW),
    heldout=cid_of_block(b"heldout", RAW),
    n_train=55_000,
    n_heldout=2_000,
    segments=32,
    steps=16,
    batch=64,
    lr_high=RATE_ONE // 20,
    lr_low=RATE_ONE // 100,
    momentum=RATE_ONE // 2,
    decay=0,
    bits=16,
)


def test_shapes_and_cost():
    assert [place.after for place in placed(CNN)] == [
        *[(16, 28, 28)] * 2,
        (16, 14, 14),
        *[(32, 14, 14)] * 2,
        (32, 7, 7),
        (1568,),
        (10,),
    ]
    assert parameters(CNN) == {
        "0.weight": (16, 1, 3, 3),
        "0.bias": (16,),
        "3.weight": (32, 16, 3, 3),
        "3.bias": (32,),
        "7.weight": (10, 1568),
        "7.bias": (10,),
    }
    assert parameter_count(CNN) == 160 + 4640 + 15690
    first, second, last = 9 * 16 * 28 * 28, 144 * 32 * 14 * 14, 15680
    assert forward_macs(CNN) == first + second + last
    assert session_macs(CNN) == 32 * 16 * 64 * (2 * first + 3 * second + 3 * last)
    check_bounds(CNN, min_train=4096)


def test_stride_and_padding():
    layers = (Conv2d(out=4, kernel=5, stride=3, padding=2), Flatten(), Linear(out=10))
    assert [place.after for place in placed(replace(CNN, layers=layers))] == [(4, 10, 10), (400,), (10,)]


def test_one_encoding_and_readable_json():
    assert decode(TaskSpec, encode(CNN)) == CNN
    adapter = TypeAdapter(TaskSpec)
    assert adapter.validate_json(adapter.dump_json(CNN)) == CNN
    assert adapter.dump_python(CNN, mode="json")["layers"][:2] == [
        {"kind": "conv2d", "out": 16, "kernel": 3, "stride": 1, "padding": 1},
        {"kind": "relu"},
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bits": 5}, "bits is 5, not between 6 and 16"),
        ({"bits": 17}, "bits is 17"),
        ({"steps": 1}, "steps is 1"),
        ({"segments": 1}, "segments is 1"),
        ({"batch": 0}, "batch is 0"),
        ({"lr_low": (RATE_ONE >> 12) - 1}, "lr_low is 1048575, not between 1048576"),
        ({"lr_high": RATE_ONE // 200}, "lr_high"),
        ({"classes": 1}, "classes is 1"),
        ({"input_span": 0}, "input_span is 0"),
        ({"input_shape": ()}, "input dimensions is 0"),
        ({"n_train": 4095}, "n_train is 4095, not between 4096"),
        ({"n_heldout": 0}, "n_heldout is 0"),
        ({"n_heldout": 2_600}, "checking costs"),
        ({"classes": 11}, r"the last layer gives \(10,\)"),
        ({"layers": (Linear(out=10),)}, "layer 0 .linear. cannot follow"),
        ({"layers": (MaxPool(size=3), Flatten(), Linear(out=10))}, "squares of 3 do not fill"),
        ({"layers": (Conv2d(out=1, kernel=3, stride=1, padding=3),)}, "padding 3 < kernel"),
        ({"layers": (Conv2d(out=1, kernel=29, stride=1, padding=0),)}, "larger than the padded plane"),
        ({"layers": (Flatten(),), "classes": 784 // 4, "input_shape": (196,)}, "no layer has weights"),
        ({"layers": (Flatten(), Linear(out=0), Linear(out=10))}, "outputs of layer 1 is 0"),
        ({"layers": (Flatten(), Linear(out=2**15), Linear(out=10))}, "model's size in bytes"),
        ({"batch": 60_000}, "more than float64 holds"),
        ({"batch": 60_000, "bits": 12}, "the numbers a batch has to keep"),
        ({"name": ""}, "name's length"),
    ],
)
def test_bounds(change, complaint):
    with pytest.raises(SpecError, match=complaint):
        check_bounds(replace(CNN, **change), min_train=4096)


def test_ln_micro():
    assert [ln_micro(n) for n in (1, 2, 10)] == [0, 693147, 2302585]
    assert all(ln_micro(n) == round(1e6 * math.log(n)) for n in range(1, 257))
