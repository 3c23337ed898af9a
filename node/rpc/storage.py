"""The methods about what this node keeps."""

from deepblock import api
from deepblock.cid import Cid
from deepblock.codec import Malformed
from node.fetch import NotAvailable
from node.rpc.registry import InvalidParams, NotFound, method
from node.rpc.services import Services


@method("model_pin")
async def model_pin(node: Services, model: Cid) -> api.Pinned:
    """Keeps a model, or any other file, until it is unpinned; fetches it first if it is not here."""
    try:
        await node.keeper.pin(model)
    except NotAvailable as error:
        raise NotFound(f"{error}, so it cannot be kept") from None
    except Malformed as error:
        raise InvalidParams(str(error)) from None
    return model_pins(node)


@method("model_unpin")
def model_unpin(node: Services, model: Cid) -> api.Pinned:
    """Keeps a file no longer than any other of its kind."""
    node.keeper.unpin(model)
    return model_pins(node)


@method("model_pins")
def model_pins(node: Services) -> api.Pinned:
    """What this node was asked to keep, and how full its block store is."""
    return api.Pinned(node.keeper.pinned(), node.keeper.stored, node.keeper.quota)
