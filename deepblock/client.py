"""A node's JSON-RPC for Python programs: synchronous, over the standard library's HTTP, with typed answers.

client = Client.find()
print(client.chain_head().height)
data = client.fetch_file(client.model_get().model)
"""

import dataclasses
import functools
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from deepblock import api
from deepblock.cid import DAG_CBOR, Cid, cid_of_block
from deepblock.primitives import Address, Motes
from deepblock.spec import TaskSpec
from deepblock.transactions import Transaction
from deepblock.unixfs import file_cid

T = TypeVar("T")

MAX_ANSWER: Final = 64 << 20
"""Bytes of an answer; a node that sends more is not one of ours."""

NODE_FILE: Final = "node.json"
"""Where a running node says in its data folder how to reach it."""


class ClientError(Exception):
    """Base of what a client raises; the text is a sentence for people."""


class NodeUnreachable(ClientError):
    """Nothing answers at the URL."""

    def __init__(self, url: str, reason: object) -> None:
        super().__init__(
            f"no node answers at {url} ({reason}); start one with `deepblock-node run`, "
            "or name the one to ask with --rpc URL or --data-dir DIR"
        )


class NotRunning(ClientError):
    """No node runs in the data folder `folder`. `why`: what there is in place of one, perhaps nothing."""

    def __init__(self, folder: Path, why: str = "") -> None:
        super().__init__(
            f"no node runs in {folder}{why}; start it with `deepblock-node --network NAME --data-dir {folder}`"
        )
        self.folder, self.why = folder, why


class RpcError(ClientError):
    """The node says no. `code`: of JSON-RPC or `deepblock.api`; `data`: what else it says, often None."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


class BadAnswer(ClientError):
    """What answers does not speak the protocol, or sent other bytes than were asked for."""


class FileMissing(ClientError):
    """The node does not have the file."""


class FileCorrupt(ClientError):
    """The node's copy of the file is damaged."""


class Client:
    """Speaks to the node at `url`. `timeout`: seconds without any progress until it counts as unreachable."""

    def __init__(self, url: str = api.DEFAULT_URL, timeout: float = 30) -> None:
        if not url.startswith(("http://", "https://")):
            raise ClientError(f"{url!r} is not the URL of a node, such as {api.DEFAULT_URL}")
        self.url = url.rstrip("/")
        self._timeout = timeout
        # Without the system's proxies: a node is this machine or a neighbour.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def find(cls, data_dir: Path | None = None, url: str | None = None) -> Self:
        """A client for `url`; else for the node that runs in `data_dir`; else for the default port of this
        machine.

        The node of a folder is asked for its network: a killed one leaves its node.json behind, and another
        network's node may have its port by now. Raises NotRunning, or another ClientError.
        """
        if url is not None or data_dir is None:
            return cls(api.DEFAULT_URL if url is None else url)
        left = _node_file(data_dir)
        client = cls(left.rpc)
        try:
            found = client.node_info()
        except ClientError:
            if _is_alive(left.pid):
                raise
            why = f" (its {NODE_FILE} was left by process {left.pid}, which is dead)"
            raise NotRunning(data_dir, why) from None
        if found.network != left.network:
            why = f" (at {client.url}, which its {NODE_FILE} names, a node of network {found.network_name} answers)"
            raise NotRunning(data_dir, why)
        return client

    # --- methods ----------------------------------------------------------------------------------------

    def node_info(self) -> api.NodeInfo:
        return self._ask(api.NodeInfo, "node_info")

    def node_peers(self) -> tuple[api.Peer, ...]:
        return self._ask(tuple[api.Peer, ...], "node_peers")

    def node_health(self) -> api.Health:
        return self._ask(api.Health, "node_health")

    def chain_head(self) -> api.Head:
        return self._ask(api.Head, "chain_head")

    def session_list(self) -> tuple[api.SessionInfo, ...]:
        """Finished sessions that won no block, as far as the node knows them."""
        return self._ask(tuple[api.SessionInfo, ...], "session_list")

    def chain_get_block(self, block: int | Cid) -> api.BlockInfo:
        """By height on the heaviest chain, or by id."""
        return self._ask(api.BlockInfo, "chain_getBlock", block)

    def chain_get_headers(self, height: int, count: int = 16) -> tuple[api.HeaderInfo, ...]:
        return self._ask(tuple[api.HeaderInfo, ...], "chain_getHeaders", height, count)

    def state_get_account(self, address: Address) -> api.AccountInfo:
        return self._ask(api.AccountInfo, "state_getAccount", address)

    def state_get_proof(self, address: Address) -> api.StateProof:
        """To be checked by `deepblock.state_proof.check_proof`, against a header that is trusted."""
        return self._ask(api.StateProof, "state_getProof", address)

    def tx_send(self, transaction: Transaction) -> Cid:
        """The id. Raises RpcError with code `api.REFUSED` and the rule's sentence."""
        return self._ask(Cid, "tx_send", transaction)

    def tx_get(self, transaction: Cid) -> api.TransactionInfo:
        return self._ask(api.TransactionInfo, "tx_get", transaction)

    def task_list(self) -> tuple[api.TaskSummary, ...]:
        return self._ask(tuple[api.TaskSummary, ...], "task_list")

    def task_get(self, task: Cid) -> api.TaskInfo:
        return self._ask(api.TaskInfo, "task_get", task)

    def task_quote(self, spec: TaskSpec, pay: Motes | None = None) -> api.Quote:
        """For `pay` a block, or the least that is taken. Raises RpcError with code `api.REFUSED` where such a task
        cannot be opened."""
        return self._ask(api.Quote, "task_quote", spec, pay)

    def model_get(self, task: Cid | None = None, last: int = 16) -> api.ModelInfo:
        """Of the head's task unless said; `last`: how many blocks of its lineage."""
        return self._ask(api.ModelInfo, "model_get", task, last)

    def model_pin(self, model: Cid) -> api.Pinned:
        """Keeps a model, or any other file. Raises RpcError with code `api.NOT_FOUND` where nobody has it."""
        return self._ask(api.Pinned, "model_pin", model)

    def model_unpin(self, model: Cid) -> api.Pinned:
        return self._ask(api.Pinned, "model_unpin", model)

    def model_pins(self) -> api.Pinned:
        return self._ask(api.Pinned, "model_pins")

    def miner_status(self) -> api.MinerInfo:
        return self._ask(api.MinerInfo, "miner_status")

    def discover(self) -> dict[str, Any]:
        """The OpenRPC document."""
        return self._ask(dict[str, Any], "rpc.discover")

    def call(self, method: str, *params: Any) -> Any:
        """Any method: its result as JSON gives it. Raises RpcError, NodeUnreachable, BadAnswer."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": [_json(value) for value in params]}
        request = urllib.request.Request(
            f"{self.url}/", json.dumps(message).encode(), {"Content-Type": "application/json"}
        )
        try:
            answer = json.loads(self._read(request, MAX_ANSWER))
            error = answer.get("error")
            if error is None:
                return answer["result"]
            refusal = RpcError(error["code"], error["message"], error.get("data"))
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise BadAnswer(
                f"{self.url} does not speak JSON-RPC ({problem}); is it a DeepBlock node?"
            ) from None
        raise refusal

    # --- files ------------------------------------------------------------------------------------------

    def fetch_file(self, cid: Cid, max_size: int = 1 << 30) -> bytes:
        """The bytes that `cid` names, verified here. Raises FileMissing, FileCorrupt, BadAnswer,
        NodeUnreachable."""
        data = self._read(urllib.request.Request(f"{self.url}/ipfs/{cid}"), max_size)
        found = cid_of_block(data) if cid.codec == DAG_CBOR else file_cid(data)
        if found != cid:
            raise BadAnswer(f"{self.url} sent other bytes for {cid}: theirs are {found}")
        return data

    # --- inside -----------------------------------------------------------------------------------------

    def _ask(self, answer: type[T], method: str, *params: Any) -> T:
        adapter: TypeAdapter[T] = _adapter(answer)  # type: ignore[arg-type]  # a type is hashable
        try:
            return adapter.validate_json(json.dumps(self.call(method, *params)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise BadAnswer(
                f"the answer of {self.url} to {method} is of another version than this program "
                f"({where}: {first['msg']})"
            ) from None

    def _read(self, request: urllib.request.Request, max_size: int) -> bytes:
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                data: bytes = response.read(max_size + 1)
        except urllib.error.HTTPError as error:
            raise _http_error(self.url, error) from None
        except urllib.error.URLError as error:
            raise NodeUnreachable(self.url, getattr(error.reason, "strerror", None) or error.reason) from None
        except (OSError, HTTPException, ValueError) as error:
            raise NodeUnreachable(self.url, str(error) or type(error).__name__) from None
        if len(data) > max_size:
            raise BadAnswer(f"{self.url} sent more than {max_size} bytes")
        return data


@functools.cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def _json(value: Any) -> Any:
    """A parameter as JSON has it."""
    if dataclasses.is_dataclass(value):
        return TypeAdapter(type(value)).dump_python(value, mode="json")
    return str(value) if isinstance(value, bytes) else value


def _http_error(url: str, error: urllib.error.HTTPError) -> ClientError:
    """What a refusal of the server means; it says why in JSON."""
    try:
        reason = json.loads(error.read(1 << 16))["error"]
        text = reason if isinstance(reason, str) else reason["message"]
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        text = f"HTTP {error.code} {error.reason}"
    kinds: dict[int, type[ClientError]] = {404: FileMissing, 409: FileCorrupt}
    return kinds[error.code](text) if error.code in kinds else BadAnswer(f"{url} refuses: {text}")


@dataclass(frozen=True, slots=True)
class _NodeFile:
    """What of `node.json` matters here."""

    pid: int
    rpc: str
    network: Cid


def _node_file(data_dir: Path) -> _NodeFile:
    file = data_dir / NODE_FILE
    try:
        found: _NodeFile = _adapter(_NodeFile).validate_json(file.read_bytes())
    except FileNotFoundError:
        raise NotRunning(data_dir) from None
    except OSError as error:
        raise ClientError(f"{file}: {error.strerror}; name the node with --rpc URL") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise ClientError(f"{file} is not a node's ({problem}); name the node with --rpc URL") from None
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
