"""JSON-RPC 2.0 without the transport: a request's bytes in, the answer's bytes out (https://www.jsonrpc.org).

Strict where JSON libraries are not: no NaN, no number beyond float64, no name twice in an object.
"""

import asyncio
import json
import math
from typing import Any, Final

import structlog

from consensus.errors import RuleError
from deepblock import api
from node.rpc.registry import METHODS, RpcFault

log = structlog.get_logger("rpc")

MAX_BATCH: Final = 64
"""Requests in a batch."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INTERNAL_ERROR: Final = -32603


async def answer(services: Any, request: bytes) -> bytes | None:
    """The answer to a request or a batch; None where only notifications came, which have no answer."""
    await asyncio.sleep(0)  # who sends many requests at once takes turns with everybody else
    try:
        message = _parse(request)
    except ValueError as error:
        return _write(failure(None, PARSE_ERROR, f"not JSON: {error}"))
    if not isinstance(message, list):
        single = await _answer_one(services, message)
        return None if single is None else _write(single)
    if not 1 <= len(message) <= MAX_BATCH:
        text = f"a batch of {len(message)} requests; 1 to {MAX_BATCH} are allowed"
        return _write(failure(None, INVALID_REQUEST, text))
    answers = []
    for item in message:
        single = await _answer_one(services, item)
        if single is not None:
            answers.append(single)
        await asyncio.sleep(0)  # a batch must not hold up the chain
    return _write(answers) if answers else None


def failure(id_: Any, code: int, message: str, data: Any = None) -> dict[str, Any]:
    """An answer with an error object."""
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": id_, "error": error}


async def _answer_one(services: Any, message: Any) -> dict[str, Any] | None:
    problem = _what_is_wrong(message)
    if problem is not None:
        id_ = message.get("id") if isinstance(message, dict) else None
        return failure(id_ if _is_id(id_) else None, INVALID_REQUEST, problem)
    id_, name = message.get("id"), message["method"]
    try:
        if name not in METHODS:
            raise RpcFault(METHOD_NOT_FOUND, f"there is no method {name!r}; rpc.discover lists them")
        result = await METHODS[name].call(services, message.get("params", []))
        found = {"jsonrpc": "2.0", "id": id_, "result": result}
    except RpcFault as fault:
        found = failure(id_, fault.code, fault.message, fault.data)
    except RuleError as error:
        fields = {key: str(value) for key, value in vars(error).items()}
        found = failure(id_, api.REFUSED, str(error), {"rule": type(error).__name__, **fields})
    except Exception:  # a bug of ours must not end the connection, and must not stay unseen
        log.exception("rpc_failed", method=name)
        found = failure(id_, INTERNAL_ERROR, f"{name} failed inside the node; its log says why")
    return found if "id" in message else None


def _what_is_wrong(message: Any) -> str | None:
    """Why a message is not a request object, or None."""
    if not isinstance(message, dict):
        return "a request is an object"
    if message.get("jsonrpc") != "2.0":
        return 'a request says "jsonrpc": "2.0"'
    if not isinstance(message.get("method"), str):
        return "a request names its method, a string"
    if not isinstance(message.get("params", []), list | dict):
        return "params are an array or an object"
    if not _is_id(message.get("id")):
        return "an id is a string, a number or null"
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int | float | None) and not isinstance(value, bool)


def _parse(request: bytes) -> Any:
    """Raises ValueError."""

    def real(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text[:20]} is beyond what a number can hold")
        return value

    def whole(text: str) -> int:
        real(text)
        return int(text)

    def constant(text: str) -> float:
        raise ValueError(f"{text} is no JSON")

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("an object has the same name twice")
        return found

    try:
        return json.loads(
            request.decode("utf-8-sig"),
            parse_int=whole, parse_float=real, parse_constant=constant, object_pairs_hook=members,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not of UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _write(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
