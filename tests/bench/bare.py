"""Servers that only send bytes: what there is to compare a node with. `python -m tests.bench.bare http|tcp FILE`."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from aiohttp import web

from tests.bench.table import ROOT


@contextmanager
def bare(kind: str, file: Path) -> Iterator[int]:
    """A process that serves `file` on a port of the loopback: 'http' to each POST, 'tcp' to each connection."""
    words = [sys.executable, "-m", __name__, kind, str(file)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _http(data: bytes) -> int:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=data, content_type="application/json")

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


async def _tcp(data: bytes) -> int:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def _serve(kind: str, data: bytes) -> None:
    port = await (_http if kind == "http" else _tcp)(data)
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], Path(sys.argv[2]).read_bytes()))
