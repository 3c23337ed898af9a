"""The methods about sessions that won no block."""

from deepblock import api
from deepblock.cid import Cid
from node.rpc.registry import NotFound, method
from node.rpc.services import Services, held_out


@method("session_list")
def session_list(node: Services) -> tuple[api.SessionInfo, ...]:
    """The shares that this node knows: those that wait for a block to carry them, and those of the last blocks."""
    return tuple(
        api.SessionInfo(
            id=known.share.id,
            height=known.share.header.height,
            parent=known.share.header.parent,
            miner=known.share.header.miner,
            task=known.share.header.task,
            task_name=node.chain.specs[known.share.header.task].name,
            held_out=held_out(node, known.share.header.task, known.share.seal.score),
            state=known.state,
            carrier=known.carrier,
        )
        for known in node.shares.known()
    )


@method("session_get")
def session_get(node: Services, share: Cid) -> api.SessionInfo:
    """One of them, by its id."""
    for found in session_list(node):
        if found.id == share:
            return found
    raise NotFound(f"there is no session {share} here that won no block")
