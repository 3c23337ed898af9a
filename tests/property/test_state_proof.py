"""Proofs of random states: what is there is shown, what is not there too, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.state_tree import prove, update
from deepblock.primitives import Hash32
from deepblock.state_proof import EMPTY, FalseProof, check_proof

KEYS = st.integers(0, 40).map(lambda number: b"a%d" % number)
STATES = st.dictionaries(KEYS, st.binary(max_size=8), max_size=30)


def tree(state: dict[bytes, bytes]):
    root, nodes = update(EMPTY, state, lambda name: b"")
    return root, nodes.__getitem__


@given(STATES, KEYS)
@settings(max_examples=300)
def test_a_proof_shows_what_is_there_and_no_other_value(state, key):
    root, read = tree(state)
    nodes = prove(root, key, read)
    value = state.get(key)
    check_proof(root, key, value, nodes)
    for other in (None, b"", b"another", (value or b"") + b"!"):
        if other != value:
            with pytest.raises(FalseProof):
                check_proof(root, key, other, nodes)


@given(STATES.filter(len), KEYS, st.data())
@settings(max_examples=300)
def test_a_proof_with_anything_changed_shows_nothing(state, key, data):
    root, read = tree(state)
    nodes = list(prove(root, key, read))
    at = data.draw(st.integers(0, len(nodes) - 1))
    node = bytearray(nodes[at])
    node[data.draw(st.integers(0, 64))] ^= 1 << data.draw(st.integers(0, 7))
    changed = [*nodes[:at], bytes(node), *nodes[at + 1 :]]
    wrong = [changed, nodes[:-1], [*nodes, nodes[-1]], nodes[1:], [nodes[0][:-1], *nodes[1:]]]
    for made in wrong:
        for value in (state.get(key), None, b"x"):
            with pytest.raises(FalseProof):
                check_proof(root, key, value, made)
    with pytest.raises(FalseProof):
        check_proof(Hash32(b"\x07" * 32), key, state.get(key), nodes)


def test_in_an_empty_state_there_is_nothing():
    check_proof(EMPTY, b"key", None, prove(EMPTY, b"key", lambda name: b""))
    with pytest.raises(FalseProof, match="no such key"):
        check_proof(EMPTY, b"key", b"value", ())
