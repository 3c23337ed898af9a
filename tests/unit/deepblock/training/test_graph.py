"""Recorded steps, without a CUDA device: recorders of the CPU take the place of CUDA graphs."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepblock.blockstore import Blockstore
from deepblock.exact import attention, convolution, grid, layers, product, tokens
from deepblock.exact.compiled import kernel
from deepblock.exact.elementwise import sgd_
from deepblock.exact.ways import Way, for_matrices
from deepblock.spec import (
    RATE_ONE,
    Attention,
    Conv2d,
    Embedding,
    Flatten,
    GroupNorm,
    LayerNorm,
    Linear,
    MaxPool,
    Positions,
    ReLU,
    Residual,
)
from deepblock.tensors import pack, split_manifest
from deepblock.training import features, graph
from deepblock.training.state import CPU, Work, derive_state, load_state
from deepblock.training.step import Trainer, run_segments
from tests.gpu_check import Eager
from tests.rpc_parts import DIGITS, HELDOUT, TRAIN
from tests.vectors.exact import session

SEED = bytes(range(32))


class Again:
    """Does the function again, after a run that leaves its marks."""

    def record(self, function):
        function()
        return function


class Tape(TorchDispatchMode):
    """As CUDA graphs do it: a list of operations on the memory that they met, in which all numbers of Python's are
    constants. It refuses what would wait for a device."""

    def __init__(self):
        super().__init__()
        self._done = []

    def record(self, function):
        before = torch.equal
        torch.equal = lambda x, y: False  # nothing on a GPU asks, but quantise_in_tensors on a CPU does
        try:
            with self:
                function()
        finally:
            torch.equal = before
        return self._replay

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in ASKING:
            raise RuntimeError(f"{func} waits for the device")
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        met = {x.untyped_storage().data_ptr() for x in tensors((args, kwargs))}
        new = [x.untyped_storage().data_ptr() not in met for x in tensors(out)]
        self._done.append((func, args, kwargs, out, new))
        return out

    def _replay(self):
        for func, args, kwargs, out, new in self._done:
            again = func(*args, **kwargs)
            for place, values, is_new in zip(tensors(out), tensors(again), new, strict=True):
                if is_new:  # else a view, or changed in place already
                    place.copy_(values)


ASKING = (
    torch.ops.aten.item.default,
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten._unique2.default,
)


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Wrong(Again):
    """Leaves other bits: of the weights, or only of the momentum."""

    def __init__(self, change):
        self.change = change

    def record(self, function):
        return lambda: (function(), self.change())


class Raising:
    def record(self, function):
        function()
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def files(tmp_path):
    store = Blockstore(tmp_path)
    for split in (TRAIN, HELDOUT):
        store.put_file(split)
    features._shelf.cache_clear()
    return store


SHORT = dict(segments=3, steps=4, batch=5, lr_high=RATE_ONE // 10, lr_low=RATE_ONE // 30)


def perceptron(files):
    return replace(DIGITS, layers=(Flatten(), Linear(12), ReLU(), Linear(10)), **SHORT)


def convolutional(files):
    found = (Conv2d(4, 3, 1, 1), GroupNorm(2), ReLU(), MaxPool(2), Conv2d(6, 3, 2, 1), Flatten(), Linear(10))
    return replace(DIGITS, layers=found, **SHORT)


def transformer(files):
    """Of texts of 5 letters out of 7."""
    shape, count = (5,), 20
    drawn = torch.randint(0, 7, (count, 6), generator=torch.Generator().manual_seed(1)).byte().numpy()
    text = {"inputs": drawn[:, 1:], "labels": drawn[:, :-1]}
    split = files.put_file(pack(text, split_manifest(shape, count, shape)))
    block = Residual((LayerNorm(), Attention(2)), ())
    found = (Embedding(7, 8), Positions(), block, LayerNorm(), Linear(7))
    sizes = dict(n_train=count, n_heldout=count, train=split, heldout=split)
    shapes = dict(input_shape=shape, input_zero=0, input_span=1, classes=7)
    return replace(DIGITS, layers=found, **shapes, **sizes, **SHORT)


def transferred(files):
    """With frozen layers, whose features are kept."""
    work, others = session.load("transfer")
    for cid in (work.spec.train, work.spec.heldout, work.spec.start.weights):
        files.put_file(others.get_file(cid, 1 << 30))
    return replace(work.spec, **SHORT)


TASKS = (perceptron, convolutional, transformer, transferred)


def states(trainer, files, start=0, state=None, upto=3):
    quiet = (lambda index, cid: None, lambda done, total: None, lambda: False)
    return run_segments(trainer, files, start, state, upto, *quiet)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """What torch does of a step where there is no kernel, and nobody asks for the largest number of a tensor."""

    def switch():
        monkeypatch.setattr(kernel, "ON", False)
        for module in (attention, grid, layers, product, tokens):
            monkeypatch.setattr(module, "peak_of", lambda x: None)
        for module in (convolution, layers, product):
            monkeypatch.setattr(module, "for_matrices", lambda bits, device: Way.FLOAT64)
        monkeypatch.setattr(convolution, "for_planes", lambda bits, x: Way.FLOAT64)

    return switch


@pytest.mark.parametrize("make", TASKS)
@pytest.mark.parametrize("recorder", [Again, Tape])
def test_recorded_sessions_have_the_same_bits(files, make, recorder, as_on_a_gpu, monkeypatch):
    """Across segments, page by page of batches, and from a stored state, whose tensors are others."""
    work = Work(make(files), SEED, None)
    wanted = states(Trainer(work, files, CPU), files)
    features._shelf.cache_clear()
    monkeypatch.setattr(graph, "DRAWN", 3 * work.spec.batch)
    if recorder is Tape:
        as_on_a_gpu()
    trainer = Trainer(work, files, CPU, recorder())
    assert states(trainer, files) == wanted
    assert (trainer.recorded.refused, trainer.recorded.replayed) == (None, 11)
    trainer = Trainer(work, files, CPU, recorder())
    assert states(trainer, files, upto=1) == wanted[:1]
    assert states(trainer, files, 1, wanted[0]) == wanted[1:]
    assert (trainer.recorded.refused, trainer.recorded.replayed) == (None, 3 + 7)


def rate_as_a_number(trainer):
    compute = trainer.compute
    trainer.compute = lambda state, indices, lr: compute(state, indices, float(lr))


def other_indices(trainer):
    compute = trainer.compute
    trainer.compute = lambda state, indices, lr: compute(state, torch.from_numpy(indices.numpy().copy()), lr)


@pytest.mark.parametrize("mistake", [rate_as_a_number, other_indices])
def test_what_is_taken_for_constant_is_noticed_at_once(files, mistake, as_on_a_gpu, monkeypatch):
    monkeypatch.setattr(__name__ + ".ASKING", ())
    work = Work(perceptron(files), SEED, None)
    wanted = states(Trainer(work, files, CPU), files)
    as_on_a_gpu()
    trainer = Trainer(work, files, CPU, Tape())
    mistake(trainer)
    assert states(trainer, files) == wanted
    assert trainer.recorded.refused == "a replay's bits are not the step's"


def test_a_step_that_asks_the_device_is_not_recorded(files, as_on_a_gpu):
    as_on_a_gpu()
    work = Work(perceptron(files), SEED, None)
    wanted = states(Trainer(work, files, CPU), files)
    trainer = Trainer(work, files, CPU, Tape())
    rate_as_a_number(trainer)
    assert states(trainer, files) == wanted
    assert "waits for the device" in trainer.recorded.refused


@pytest.mark.parametrize("which", ["weights", "momentum"])
def test_wrong_bits_are_never_used(files, which):
    """Even if it is one bit, that of a zero's sign."""
    work = Work(perceptron(files), SEED, None)
    wanted = states(Trainer(work, files, CPU), files)
    trainer, state = Trainer(work, files, CPU), derive_state(work, files, CPU)
    number = getattr(state, which)
    trainer.step(state, 0)
    zero = int((number == 0).nonzero()[0])
    trainer, state = (
        Trainer(work, files, CPU, Wrong(lambda: number[zero].neg_())),
        derive_state(work, files, CPU),
    )
    number = getattr(state, which)
    for step in range(4):
        trainer.step(state, step)
    assert trainer.recorded.refused == "a replay's bits are not the step's"
    assert trainer.recorded.replayed == 0
    after = load_state(work.spec, files, wanted[0])
    assert torch.equal(state.weights, after.weights)
    assert torch.equal(state.momentum, after.momentum)


def test_a_second_replay_is_checked_too(files):
    work = Work(perceptron(files), SEED, None)
    state, runs = derive_state(work, files, CPU), []
    change = Wrong(lambda: (runs.append(None), state.weights.add_(len(runs) - 1.0)))
    trainer = Trainer(work, files, CPU, change)
    trainer.step(state, 0)
    assert len(runs) == 2
    assert trainer.recorded.refused is not None


@pytest.mark.parametrize("recorder", [Raising, Eager])
def test_what_cannot_be_recorded_is_tried_once(files, recorder, monkeypatch):
    work = Work(perceptron(files), SEED, None)
    wanted = states(Trainer(work, files, CPU), files)
    tries = []
    record = recorder.record
    monkeypatch.setattr(recorder, "record", lambda *of: (tries.append(None), record(*of))[1])
    trainer = Trainer(work, files, CPU, recorder())
    assert states(trainer, files, upto=1) == wanted[:1]
    assert states(trainer, files, 1, wanted[0]) == wanted[1:]
    assert len(tries) == 1
    assert trainer.recorded.refused is not None


def test_another_error_than_torch_s_leaves_the_state_as_the_step_did(files):
    class Broken:
        def record(self, function):
            function()
            raise KeyError("a bug")

    work = Work(perceptron(files), SEED, None)
    state, eager = (derive_state(work, files, CPU) for _ in range(2))
    Trainer(work, files, CPU).step(eager, 0)
    with pytest.raises(KeyError):
        Trainer(work, files, CPU, Broken()).step(state, 0)
    assert torch.equal(state.weights, eager.weights)


def test_there_is_no_recording_on_a_cpu(files):
    assert Trainer(Work(perceptron(files), SEED, None), files, CPU).recorded is None


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("lr", [0.1, 1 / 3, 2.0**-12, 1.0 - 2.0**-24])
def test_a_rate_in_a_tensor_has_the_same_bits(lr, kernels, monkeypatch):
    monkeypatch.setattr(kernel, "ON", kernels)
    rate = torch.tensor(lr)
    draw = torch.Generator().manual_seed(2)
    start = [torch.randn(1000, generator=draw) for _ in range(3)]
    found = []
    for each in (rate.item(), rate):
        weights, momentum, gradient = (x.clone() for x in start)
        sgd_(weights, momentum, gradient, each, 0.9, 0.001)
        found.append(weights)
    assert torch.equal(*found)


class Log:
    """In place of torch.cuda: what was done with it, in order."""

    def __init__(self, fails=False):
        self.done, self.on, self.fails = [], "here", fails

    @contextmanager
    def device(self, device):
        yield

    def current_stream(self):
        return Stream(self, self.on)

    def Stream(self, device):
        return Stream(self, "aside")

    @contextmanager
    def stream(self, stream):
        before, self.on = self.on, stream.name
        try:
            yield
        finally:
            self.on = before

    def CUDAGraph(self):
        return SimpleNamespace(replay=lambda: self.done.append("replay"))

    @contextmanager
    def graph(self, graph, stream, capture_error_mode):
        self.on = stream.name
        yield  # and as in torch, the stream stays if the end of a capture raises
        if self.fails:
            raise RuntimeError("capture failed")
        self.done.append("captured")
        self.on = "here"


@dataclass
class Stream:
    log: Log
    name: str

    def wait_stream(self, other):
        self.log.done.append(f"{self.name} waits for {other.name}")


@pytest.mark.parametrize("fails", [False, True])
def test_a_cuda_graph_is_made_as_torch_says(fails, monkeypatch):
    """Warm-ups aside, between waits, and then the capture. (What CUDA makes of it only a device can tell.)"""
    log = Log(fails)
    graph._aside.cache_clear()
    monkeypatch.setattr(torch, "cuda", log)
    recorder = graph.CudaGraphs(torch.device("cuda"))
    waits = ["aside waits for here", *["run aside"] * graph.WARM_UPS, "here waits for aside", "run aside"]
    if fails:
        with pytest.raises(RuntimeError, match="capture failed"):
            recorder.record(lambda: log.done.append(f"run {log.on}"))
        assert log.done == waits
    else:
        recorder.record(lambda: log.done.append(f"run {log.on}"))()
        assert log.done == [*waits, "captured", "replay"]
    graph._aside.cache_clear()
    assert log.on == "here"


class Seen(Exception):
    """So that nobody compares bits where there are none."""


class Numbers(TorchFunctionMode):
    """Refuses tensors made of the host's numbers and copied, which no `Watch` sees on "meta"."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.tensor, torch.as_tensor) or isinstance(args[0], torch.Tensor), func
        return func(*args, **(kwargs or {}))


class Watch(TorchDispatchMode):
    """Lets nothing pass that a CUDA graph could not hold: no tensors of the host, no masks as indices. On "meta" all
    else that asks for a number raises by itself."""

    def record(self, function):
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            self,
            Numbers(),
        ):  # to see what operations are made of
            function()
        raise Seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tensors((args, kwargs, out)):
            assert tensor.device.type == "meta", func
        if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_):
            assert all(index.dtype != torch.bool for index in tensors(args[1])), "a mask"
        return out


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: x[0].item(),
        lambda x: bool(x[0] > 0),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: x[x > 0],
        lambda x: x.index_put_([x > 0], x[0]),
        lambda x: x * torch.ones(()),
        lambda x: torch.tensor(1.0, device=x.device),
        lambda x: torch.as_tensor(1.0, device=x.device),
        lambda x: torch.from_numpy(np.ones(1)).to(x.device),
    ],
)
def test_what_no_graph_could_hold_is_seen(bad):
    x = torch.empty(3, device="meta")
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
        Watch().record(lambda: bad(x))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", session.NAMES)
@pytest.mark.parametrize("room", [features.ROOM, 0])
def test_all_of_a_step_can_be_recorded(name, bits, room, monkeypatch):
    """On torch's device "meta", by the ways of CUDA; with frozen features kept, and computed each time."""
    cuda = torch.device("cuda")
    for module in (convolution, layers, product):
        monkeypatch.setattr(module, "for_matrices", lambda bits, device: for_matrices(bits, cuda))
    monkeypatch.setattr(features, "ROOM", room)
    work, files = session.load(name)
    work = replace(work, spec=replace(work.spec, bits=bits))
    device = torch.device("meta")
    trainer, state = Trainer(work, files, device, Watch()), derive_state(work, files, device)
    with torch.no_grad():
        trainer.eagerly(state, 0)  # its tensors are then ones that may be changed in that mode
    with pytest.raises(Seen):
        trainer.step(state, 0)
