"""A network that is cut in two in silence, and heals: one chain again, and the lighter side's transfer is kept."""

from pathlib import Path

import pytest

from tests.functional.nodes import FAST
from tests.network.namespace_parts import why_not
from tests.network.partition import played


@pytest.mark.timeout(300)
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_two_sides_are_one_again(tmp_path: Path) -> None:
    _, _, lost = played(tmp_path, left=2, right=1, apart=10.0, network=FAST)
    assert lost == 0
