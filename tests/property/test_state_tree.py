"""However a state came about, its root is that of a tree built from scratch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.state_tree import update
from deepblock.state_proof import EMPTY
from tests.unit.consensus.test_state_tree import Tree, reference

KEYS = st.integers(0, 30).map(lambda number: b"key %d" % number)
VALUES = st.binary(max_size=3)
CHANGES = st.dictionaries(KEYS, VALUES | st.none(), max_size=12)


def apply(items: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    return {key: value for key, value in {**items, **changes}.items() if value is not None}


@given(st.lists(CHANGES, max_size=8))
@settings(max_examples=150)
def test_any_history_gives_the_root_of_what_is_there(history):
    tree, items = Tree(), {}
    for changes in history:
        items = apply(items, changes)
        assert tree.change(changes) == reference(items)


@given(st.dictionaries(KEYS, VALUES, max_size=25), st.randoms(use_true_random=False))
@settings(max_examples=75)
def test_the_order_does_not_matter(items, shuffle):
    tree = Tree()
    order = list(items)
    shuffle.shuffle(order)
    for key in order:
        tree.change({key: items[key]})
    assert tree.root == reference(items)


@given(st.dictionaries(KEYS, VALUES, max_size=25), CHANGES)
@settings(max_examples=100)
def test_taking_changes_back_leads_to_the_earlier_root(items, changes):
    tree = Tree()
    before = tree.change(items)
    tree.change(changes)
    assert tree.change({key: items.get(key) for key in changes}) == before


@given(st.dictionaries(KEYS, VALUES, max_size=25), CHANGES)
@settings(max_examples=75)
def test_nothing_is_read_but_the_old_tree_and_nothing_new_is_missing(items, changes):
    """The new root can be walked to every leaf through what was there and what `update` says is new."""
    root, nodes = update(EMPTY, items, {}.__getitem__)
    root, fresh = update(root, changes, nodes.__getitem__)
    nodes = {**nodes, **fresh}
    leaves, waiting = 0, [bytes(root)]
    while waiting:
        name = waiting.pop()
        if name == EMPTY:
            continue
        node = nodes[name]
        if node[:1] == b"\x00":
            leaves += 1
        else:
            waiting += [node[1:33], node[33:65]]
    assert leaves == len(apply(items, changes))
