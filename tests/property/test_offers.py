"""Descriptions that strangers wrote: the rules take them or refuse them, whatever is in them, and never fall over."""

from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.difficulty import cost
from consensus.errors import InvalidTransaction
from consensus.market import check_description, max_session_macs
from consensus.schedule import stride
from deepblock import spec as room
from deepblock.spec import Linear, Residual, Start, session_macs
from tests.unit.consensus.market_parts import OFFERED
from tests.unit.consensus.parts import PARAMS, named

SMALL = st.sampled_from((0, 1, 2, 3, 4, 7, 16, 255))
PLAIN = st.one_of(
    *(
        st.builds(kind, *(SMALL for _ in fields(kind)))
        for kind in vars(room).values()
        if isinstance(kind, type) and hasattr(kind, "kind") and kind is not Residual
    )
)
LAYERS = st.lists(
    PLAIN | st.builds(Residual, *(st.lists(PLAIN, max_size=2).map(tuple) for _ in fields(Residual)))
)
STARTS = st.none() | st.builds(Start, st.just(named("weights")), SMALL, SMALL)


@given(
    layers=LAYERS,
    head=st.booleans(),
    shape=st.lists(SMALL, max_size=4),
    numbers=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("classes", "n_heldout", "segments", "steps", "batch", "bits"), SMALL)
    ),
    start=STARTS,
    pay=st.integers(1, 2**64 - 1),
)
@settings(max_examples=300)
def test_any_description_is_taken_or_refused(layers, head, shape, numbers, start, pay):
    stack = (*layers, Linear(3)) if head else tuple(layers)
    spec = replace(OFFERED, layers=stack, input_shape=tuple(shape), start=start, **numbers)
    try:
        check_description(PARAMS, spec)
    except InvalidTransaction:
        return
    assert 0 < cost(PARAMS, spec) <= session_macs(spec) <= max_session_macs(PARAMS)
    assert stride(PARAMS, spec, pay) >= 1


def test_some_are_taken():
    check_description(PARAMS, OFFERED)
