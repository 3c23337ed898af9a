import math
from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from deepblock.cid import RAW, cid_of_block
from deepblock.codec import Malformed, decode, encode
from deepblock.primitives import Hash32
from deepblock.spec import (
    GELU,
    RATE_ONE,
    Attention,
    AvgPool,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupedConv2d,
    GroupNorm,
    LayerNorm,
    Linear,
    MaxPool,
    Positions,
    ReLU,
    Residual,
    SpecError,
    Start,
    TaskSpec,
    check_bounds,
    data_files,
    forward_macs,
    frozen_macs,
    heldout_labels,
    label_shape,
    ln_micro,
    parameter_count,
    parameters,
    placed,
    segment_macs,
    session_macs,
    started_parameters,
    step_bytes,
    trained_count,
    trained_parameters,
)

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
        ({"layers": (LayerNorm(),), "input_shape": (10,)}, "training multiplies nothing"),
    ],
)
def test_bounds(change, complaint):
    with pytest.raises(SpecError, match=complaint):
        check_bounds(replace(CNN, **change), min_train=4096)


RESNET = replace(
    CNN,
    layers=(
        Conv2d(out=8, kernel=3, stride=1, padding=1),
        GroupNorm(groups=4),
        ReLU(),
        Residual(
            layers=(
                Conv2d(out=16, kernel=3, stride=2, padding=1),
                GroupNorm(groups=8),
                GELU(),
                GroupedConv2d(out=16, kernel=3, stride=1, padding=1, groups=16),
                GroupNorm(groups=8),
            ),
            shortcut=(AvgPool(size=2), Conv2d(out=16, kernel=1, stride=1, padding=0)),
        ),
        GlobalAvgPool(),
        LayerNorm(),
        Linear(out=10),
    ),
)

TOKENS, WIDTH = 12, 8
TRANSFORMER = replace(
    CNN,
    input_shape=(TOKENS,),
    input_zero=0,
    input_span=1,
    classes=50,
    layers=(
        Embedding(vocabulary=60, features=WIDTH),
        Positions(),
        Residual(layers=(LayerNorm(), Attention(heads=2)), shortcut=()),
        Residual(layers=(LayerNorm(), Linear(out=32), GELU(), Linear(out=WIDTH)), shortcut=()),
        Linear(out=50),
    ),
)


def test_a_residual_network():
    assert [place.after for place in placed(RESNET)] == [
        *[(8, 28, 28)] * 3,
        (16, 14, 14),
        (16,),
        (16,),
        (10,),
    ]
    assert {name: shape for name, shape in parameters(RESNET).items() if name.startswith("3.")} == {
        "3.layers.0.weight": (16, 8, 3, 3),
        "3.layers.0.bias": (16,),
        "3.layers.1.weight": (16,),
        "3.layers.1.bias": (16,),
        "3.layers.3.weight": (16, 1, 3, 3),
        "3.layers.3.bias": (16,),
        "3.layers.4.weight": (16,),
        "3.layers.4.bias": (16,),
        "3.shortcut.1.weight": (16, 8, 1, 1),
        "3.shortcut.1.bias": (16,),
    }
    first, plane = 9 * 8 * 28 * 28, 14 * 14
    rest = plane * (9 * 8 * 16 + 9 * 16 + 8 * 16) + 160
    assert forward_macs(RESNET) == first + rest
    assert segment_macs(RESNET) == 16 * 64 * (2 * first + 3 * rest)
    check_bounds(RESNET, min_train=4096)


def test_a_transformer():
    assert [place.after for place in placed(TRANSFORMER)] == [*[(TOKENS, WIDTH)] * 4, (TOKENS, 50)]
    shapes = parameters(TRANSFORMER)
    assert shapes["0.weight"] == (60, WIDTH) and shapes["1.weight"] == (TOKENS, WIDTH)
    assert {name: shape for name, shape in shapes.items() if name.startswith("2.layers.1")} == {
        "2.layers.1.in_proj_weight": (3 * WIDTH, WIDTH),
        "2.layers.1.in_proj_bias": (3 * WIDTH,),
        "2.layers.1.out_proj.weight": (WIDTH, WIDTH),
        "2.layers.1.out_proj.bias": (WIDTH,),
    }
    pairs = TOKENS * (TOKENS + 1) // 2
    attention = 4 * TOKENS * WIDTH * WIDTH + 2 * pairs * WIDTH
    assert forward_macs(TRANSFORMER) == attention + TOKENS * WIDTH * (2 * 32 + 50)
    assert segment_macs(TRANSFORMER) == 16 * 64 * 3 * forward_macs(
        TRANSFORMER
    )  # every product has an input gradient
    assert label_shape(TRANSFORMER) == (TOKENS,)
    assert heldout_labels(TRANSFORMER) == 2_000 * TOKENS
    check_bounds(TRANSFORMER, min_train=4096)


def test_the_first_layer_with_weights_has_no_input_gradient():
    block = Residual(layers=(ReLU(), Linear(out=10)), shortcut=(Linear(out=10),))
    spec = replace(CNN, input_shape=(6,), layers=(ReLU(), block, Linear(out=10)))
    assert segment_macs(spec) == 16 * 64 * (3 * 100 + 2 * 120)
    spec = replace(TRANSFORMER, input_shape=(TOKENS, WIDTH), layers=(Attention(heads=2), Linear(out=50)))
    assert segment_macs(spec) == 16 * 64 * (3 * forward_macs(spec) - 3 * TOKENS * WIDTH * WIDTH)


@pytest.mark.parametrize("spec", [RESNET, TRANSFORMER], ids=["residual", "transformer"])
def test_blocks_have_one_encoding_and_readable_json(spec):
    assert decode(TaskSpec, encode(spec)) == spec
    adapter = TypeAdapter(TaskSpec)
    assert adapter.validate_json(adapter.dump_json(spec)) == spec


def test_a_residual_in_a_residual_cannot_be_said():
    inner = {"kind": "residual", "layers": [{"kind": "relu"}], "shortcut": []}
    adapter = TypeAdapter(TaskSpec)
    said = adapter.dump_python(RESNET, mode="json")
    said["layers"][3]["layers"].append(inner)
    with pytest.raises(ValidationError, match="residual"):
        adapter.validate_python(said)
    nested = Residual(layers=(Residual(layers=(ReLU(),), shortcut=()),), shortcut=())
    with pytest.raises((KeyError, Malformed)):
        decode(TaskSpec, encode(replace(RESNET, layers=(nested, *RESNET.layers))))


def test_memory_grows_with_the_batch_and_with_the_pairs_of_tokens():
    assert step_bytes(replace(TRANSFORMER, batch=128)) < 2 * step_bytes(TRANSFORMER)
    longer = replace(TRANSFORMER, input_shape=(8 * TOKENS,))
    assert step_bytes(longer) > 10 * step_bytes(TRANSFORMER)


PLANE, FEATURES = (3, 8, 8), (TOKENS, WIDTH)


@pytest.mark.parametrize(
    ("shape", "layers", "complaint"),
    [
        (PLANE, (GroupNorm(groups=2),), "the channels do not make 2 groups"),
        (PLANE, (GroupNorm(groups=0),), "the channels do not make 0 groups"),
        (FEATURES, (GroupNorm(groups=2),), "needs .channels, height, width"),
        (PLANE, (LayerNorm(),), "needs .features,. or"),
        (PLANE, (AvgPool(size=3),), "squares of 3 do not fill"),
        ((3,), (GlobalAvgPool(),), "needs .channels, height, width"),
        (PLANE, (GroupedConv2d(out=6, kernel=3, stride=1, padding=1, groups=2),), "2 groups for 6 outputs"),
        (PLANE, (GroupedConv2d(out=4, kernel=3, stride=1, padding=1, groups=3),), "3 groups for 4 outputs"),
        (
            PLANE,
            (GroupedConv2d(out=3, kernel=9, stride=1, padding=0, groups=3),),
            "larger than the padded plane",
        ),
        (FEATURES, (Attention(heads=3),), "the features do not make 3 heads"),
        (FEATURES, (Attention(heads=0),), "the features do not make 0 heads"),
        ((TOKENS,), (Attention(heads=1),), "needs .tokens, features"),
        (PLANE, (Positions(),), "needs .tokens, features"),
        (FEATURES, (Embedding(vocabulary=9, features=8),), "needs .tokens,"),
        (PLANE, (Residual(layers=(), shortcut=()),), "layer 0 .residual. has no layers"),
        (
            PLANE,
            (Residual(layers=(Conv2d(out=4, kernel=1, stride=1, padding=0),), shortcut=()),),
            r"layer 0 .residual. adds shapes of \(4, 8, 8\) and \(3, 8, 8\)",
        ),
        (PLANE, (Residual(layers=(Linear(out=2),), shortcut=()),), "layer 0.layers.0 .linear. cannot follow"),
    ],
)
def test_shapes_that_do_not_fit(shape, layers, complaint):
    with pytest.raises(SpecError, match=complaint):
        placed(replace(CNN, input_shape=shape, layers=layers))


def tokens(*layers, **changes):
    return replace(TRANSFORMER, layers=(Embedding(vocabulary=60, features=WIDTH), *layers), **changes)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (replace(TRANSFORMER, input_span=2), "layer 0 .embedding. needs bytes as they are"),
        (
            tokens(Flatten(), Linear(out=TOKENS), Embedding(vocabulary=9, features=50)),
            "layer 3 .embedding. needs bytes",
        ),
        (
            replace(TRANSFORMER, layers=(Embedding(vocabulary=257, features=50),)),
            "vocabulary of layer 0 is 257",
        ),
        (replace(TRANSFORMER, layers=(Embedding(vocabulary=0, features=50),)), "vocabulary of layer 0 is 0"),
        (tokens(Linear(out=51)), r"the last layer gives \(12, 51\)"),
        (tokens(Linear(out=2**19), GELU(), LayerNorm(), Linear(out=50)), "model's size"),
        (
            tokens(*[Residual(layers=(GELU(), GELU()), shortcut=())] * 22),
            "number of layers, with those in residuals, is 67",
        ),
        (tokens(Attention(heads=1), Linear(out=50), input_shape=(2**15,)), "the numbers a batch has to keep"),
        (
            tokens(Linear(out=50), batch=2**16, bits=16, input_shape=(128,)),
            "layer 1 sums 8388608 products of 16-bit",
        ),
        (
            tokens(Linear(out=50), input_shape=(2**16,), n_heldout=200, batch=1),
            "number of held-out labels is 13107200",
        ),
        (
            replace(
                CNN, input_shape=(2**11, 2**5, 2**5), layers=(GroupNorm(groups=1),), n_train=9, n_heldout=9
            ),
            "a group of layer 0 is 2097152",
        ),
    ],
)
def test_bounds_of_blocks(spec, complaint):
    with pytest.raises(SpecError, match=complaint):
        check_bounds(spec, min_train=1)


def test_ln_micro():
    assert [ln_micro(n) for n in (1, 2, 10)] == [0, 693147, 2302585]
    assert all(ln_micro(n) == round(1e6 * math.log(n)) for n in range(1, 257))


# --- start weights and frozen layers --------------------------------------------------------------------


def started(layers, frozen):
    return replace(CNN, n_heldout=1_000, start=Start(cid_of_block(b"weights", RAW), layers, frozen))


def test_what_a_started_task_trains():
    assert data_files(CNN) == (CNN.train, CNN.heldout)
    assert (CNN.frozen, started_parameters(CNN), trained_parameters(CNN)) == (0, {}, parameters(CNN))
    spec = started(layers=7, frozen=3)
    assert data_files(spec) == (CNN.train, CNN.heldout, spec.start.weights)
    assert parameters(spec) == parameters(CNN)
    assert started_parameters(spec).keys() == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert trained_parameters(spec).keys() == {"3.weight", "3.bias", "7.weight", "7.bias"}
    assert (parameter_count(spec), trained_count(spec)) == (parameter_count(CNN), 4640 + 15690)
    assert step_bytes(CNN) - step_bytes(spec) == 160 * 24
    check_bounds(spec, min_train=4096)
    adapter = TypeAdapter(TaskSpec)
    assert adapter.validate_json(adapter.dump_json(spec)) == spec
    assert decode(TaskSpec, encode(spec)) == spec


def test_frozen_layers_are_not_in_the_cost():
    first, second, last = 9 * 16 * 28 * 28, 144 * 32 * 14 * 14, 15680
    for spec, frozen, macs in (
        (started(7, 0), 0, 2 * first + 3 * second + 3 * last),
        (started(7, 3), first, 2 * second + 3 * last),
        (started(7, 7), first + second, 2 * last),
    ):
        assert forward_macs(spec) == first + second + last
        assert frozen_macs(spec) == frozen
        assert session_macs(spec) == 32 * 16 * 64 * macs


@pytest.mark.parametrize(
    ("layers", "frozen", "complaint"),
    [
        (0, 0, "the number of layers that have start weights is 0, not between 1 and 8"),
        (9, 0, "the number of layers that have start weights is 9"),
        (3, 4, "the number of frozen layers is 4, not between 0 and 3"),
        (8, 8, "no layer has weights to train, with 8 of 8 frozen"),
        # Who keeps what frozen layers give checks for less than a tenth; who computes it each time does not.
        (
            7,
            7,
            "checking costs 4167794176 MACs .* of a session's 34321989632; 762 examples could be held out",
        ),
    ],
)
def test_starts_that_cannot_be(layers, frozen, complaint):
    with pytest.raises(SpecError, match=complaint):
        check_bounds(started(layers, frozen), min_train=4096)


def test_start_weights_for_layers_without_weights():
    layers = (ReLU(), *CNN.layers)
    with pytest.raises(SpecError, match="none of the first 1 layers has weights to start from"):
        check_bounds(replace(started(1, 0), layers=layers), min_train=4096)
