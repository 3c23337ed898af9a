"""Two seals of one session in the pool. Only the worker and the network are not real."""

import asyncio
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from consensus.errors import Fraud, RuleError
from consensus.shares import check_share
from deepblock.blockstore import Blockstore
from deepblock.codec import cid_of
from deepblock.types import Share
from node.auditor import Auditor
from node.shares import Shares
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import BOB, named
from tests.unit.node.chain_parts import open_chain
from tests.unit.node.test_proofs import Everything, Worker

FORGED = 1
"""The state of a false seal that is not the session's; its segment is 2."""


class Missing(Worker):
    """Its sample never hits the forged segment: only who asks for segment 2 alone hears of it."""

    async def audit(self, spec, seed, model, seal, segments):
        findings = await super().audit(spec, seed, model, seal, segments)
        if segments != (FORGED + 1,):
            findings = replace(findings, states={i: seal.states[i - 1] for i in segments})
        return findings


def glued(line: Line, share: Share) -> Share:
    """Another seal of the same session, with a ticket that wins as well."""
    specs = {cid_of(spec): spec for spec in line.params.base_tasks}
    for number in count():
        states = list(share.seal.states)
        states[FORGED] = named(f"forged {number}")
        other = Share(share.header, replace(share.seal, states=tuple(states)))
        try:
            check_share(line.params, line.network, other, specs.get)
        except RuleError:
            continue
        return other
    raise AssertionError("unreachable")


async def nobody(topic: str, data: bytes) -> None:
    """There is nobody to tell."""


@pytest.mark.parametrize("first", ["true", "false"])
@pytest.mark.parametrize("policy", ["sample", "headers"])
def test_of_two_seals_the_false_one_is_found_by_where_they_differ(
    tmp_path: Path, first: str, policy: str
) -> None:
    chain, database = open_chain(tmp_path)
    line = Line()
    true = line.share(miner=BOB.address)
    false = glued(line, true)
    worker = Missing({false.seal.states[FORGED]})
    blobs = Blockstore(tmp_path / "blobs")
    auditor = Auditor(chain, worker, Everything(), blobs, Everything(), lambda below: 0, policy)  # type: ignore[arg-type]
    clock = lambda: float(true.header.timestamp)  # noqa: E731
    pool = Shares(chain, auditor, blobs, nobody, clock)

    async def receive() -> None:
        for share in (true, false) if first == "true" else (false, true):
            try:
                await pool.receive(share, None)
            except Fraud:
                assert share == false and first == "true"

    asyncio.run(receive())
    states = {known.share.id: known.state for known in pool.known()}
    assert states[true.id] == "waiting"
    if policy == "headers":
        assert states[false.id] == "waiting", "nothing was replayed, so nothing is known"
    else:
        assert states[false.id].startswith("false segment 2")
    database.close()
