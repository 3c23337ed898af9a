"""The RPC's transport: HTTP and WebSocket on one port (aiohttp), and files by their CID.

It listens on the loopback and asks for no password, so what must be kept out are web pages: a page that
gets its own name to resolve to 127.0.0.1 is stopped by the Host header, a page of another site by its
Origin.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from socket import gaierror
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from deepblock import unixfs
from deepblock.blockstore import Blockstore, Corrupt, Missing
from deepblock.cid import DAG_CBOR, Cid
from deepblock.codec import Malformed
from node.errors import StartError
from node.rpc import methods as _methods  # noqa: F401  (methods register themselves)
from node.rpc import openrpc as _openrpc  # noqa: F401
from node.rpc import sessions as _sessions  # noqa: F401
from node.rpc import storage as _storage  # noqa: F401
from node.rpc import tasks as _tasks  # noqa: F401
from node.rpc.dispatch import INVALID_REQUEST, answer, failure
from node.rpc.services import Services

log = structlog.get_logger("rpc")

MAX_REQUEST: Final = 1 << 20
"""Bytes of a request."""
MAX_SOCKETS: Final = 64
"""WebSockets open at once."""

_LOCAL: Final = frozenset(("localhost", "127.0.0.1", "::1"))
_HINT: Final = (
    "This is the JSON-RPC of a DeepBlock node. POST to it, for example "
    '{"jsonrpc": "2.0", "id": 1, "method": "chain_head"}; the method rpc.discover lists the others.\n'
)


class Server:
    """Answers for `services` at `host`:`port` (0: any free port). `allowed_hosts`: names, besides those of
    the loopback and `host` itself, under which it may be called."""

    def __init__(
        self, services: Services, host: str = "127.0.0.1", port: int = 8645, allowed_hosts: Iterable[str] = ()
    ) -> None:
        self._services = services
        self._host, self._port = host, port
        self._allowed = _LOCAL | {
            host.strip("[]").lower(),
            *(name.strip("[]").lower() for name in allowed_hosts),
        }
        self._sockets: set[web.WebSocketResponse] = set()
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_REQUEST)
        app.router.add_get("/", self._hint, allow_head=False)
        app.router.add_post("/", self._post)
        app.router.add_get("/ws", self._websocket, allow_head=False)
        app.router.add_get("/ipfs/{cid}", self._file, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, auto_decompress=False)
        logging.getLogger("aiohttp.server").addFilter(_is_our_mistake)

    async def start(self) -> str:
        """Listens, and returns the URL. Raises StartError where the port cannot be had."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except (OSError, UnicodeError) as error:  # the latter from names that cannot be in the DNS
            await self._runner.cleanup()
            raise StartError(
                f"the RPC cannot listen on {self._host}:{self._port} ({_reason(error)}); "
                "choose another --rpc-port (0: any) or --rpc-host"
            ) from None
        host, port = self._runner.addresses[0][:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.debug("rpc_listening", url=url)
        return url

    async def stop(self) -> None:
        """Closes the port and every connection."""
        for socket in list(self._sockets):
            await socket.close(message=b"the node stops")
        await self._runner.cleanup()

    # --- who may call -----------------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if _host_name(f"//{request.headers.get('Host', '')}") not in self._allowed:
            return _refusal(403, "this node is not called by that name (Host header)")
        origin = request.headers.get("Origin")
        if origin is not None and _host_name(origin) not in self._allowed:
            return _refusal(403, "pages of other sites may not call this node (Origin header)")
        return await handler(request)

    # --- JSON-RPC ---------------------------------------------------------------------------------------

    async def _hint(self, request: web.Request) -> web.Response:
        return web.Response(text=_HINT)

    async def _post(self, request: web.Request) -> web.Response:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return _invalid(415, "a request is sent as it is, without Content-Encoding")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _invalid(413, f"a request has at most {MAX_REQUEST} bytes")
        except (web.RequestPayloadError, ConnectionError):
            return _invalid(400, "the request did not arrive whole")
        reply = await answer(self._services, body)
        if reply is None:
            return web.Response(status=204)
        return web.Response(body=reply, content_type="application/json")

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= MAX_SOCKETS:
            return _refusal(503, f"{MAX_SOCKETS} WebSockets are open, no more are allowed")
        # Uncompressed, as it stays on this machine: deflating an answer takes longer than finding it.
        socket = web.WebSocketResponse(heartbeat=30, max_msg_size=MAX_REQUEST, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            with contextlib.suppress(ConnectionError):  # hung up with answers outstanding
                async for message in socket:
                    if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                        break
                    data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
                    reply = await answer(self._services, data)
                    if reply is not None:
                        await socket.send_str(reply.decode())
        finally:
            self._sockets.discard(socket)
        return socket

    # --- files ------------------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """The bytes that a CID names: of a file, or of a block or body of the chain."""
        try:
            cid = Cid.parse(request.match_info["cid"])
        except ValueError as error:
            return _refusal(400, str(error))
        if cid.codec == DAG_CBOR:
            data = self._services.chain.raw(cid)
            if data is None:
                return _refusal(404, f"there is no block or body {cid} here")
            return web.Response(body=data, content_type="application/vnd.ipld.dag-cbor")
        # Everything is read once before the first byte is sent, while an error can still be the answer.
        try:
            size = await asyncio.to_thread(lambda: sum(map(len, _leaves(self._services.blobs, cid))))
        except Corrupt as error:
            return _refusal(409, f"the file {cid} is damaged on this node's disk: {error}")
        except Missing as error:
            return _refusal(404, f"the file {cid} is not here: {error}")
        except Malformed as error:
            return _refusal(409, f"{cid} is not a file as the protocol lays it out: {error}")
        response = web.StreamResponse()
        response.content_type = "application/octet-stream"
        response.content_length = size
        await response.prepare(request)
        leaves = _leaves(self._services.blobs, cid)
        with contextlib.suppress(ConnectionError):
            while (leaf := await asyncio.to_thread(next, leaves, None)) is not None:
                await response.write(leaf)
            await response.write_eof()
        return response


def _leaves(blobs: Blockstore, cid: Cid) -> Iterator[bytes]:
    """The pieces of a file in order, each verified. Raises Missing, Corrupt, Malformed."""
    waiting = [unixfs.whole(cid, blobs.get_block(cid))]
    while waiting:
        part = waiting.pop()
        block = blobs.get_block(part.cid)
        below = unixfs.parts(part, block)
        waiting.extend(reversed(below))
        if not below:
            yield block


def _host_name(url: str) -> str:
    """The host in a URL, lower case, without port and brackets; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _reason(error: Exception) -> str:
    """Why listening failed, in the system's words alone."""
    match error:
        case UnicodeError():
            return "not a host name"
        case gaierror():
            return str(error.strerror)
        case OSError(errno=int(number)):
            return os.strerror(number)
        case _:
            return str(error)


def _is_our_mistake(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's log is worth showing: a caller's malformed HTTP was answered, that is all."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _invalid(status: int, reason: str) -> web.Response:
    return web.json_response(failure(None, INVALID_REQUEST, reason), status=status)


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
