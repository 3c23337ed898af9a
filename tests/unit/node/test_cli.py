"""The command as a process: what people see when it cannot start, or when they change their mind."""

import signal
import socket
import subprocess
import sys

import pytest

from node.identity import Identity


def command(folder, *flags):
    return [
        *("-m", "node.cli", "run", "--network", "devnet", "--data-dir", str(folder), "--no-mine"),
        *("--p2p-host", "127.0.0.1", "--p2p-port", "0", "--rpc-port", "0", *flags),
    ]


@pytest.mark.parametrize("flag", ["--p2p-port", "--rpc-port"])
def test_a_taken_port_is_a_sentence(tmp_path, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = [sys.executable, *command(tmp_path, flag, port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("deepblock-node: ") and port in last and f"choose another {flag}" in last


@pytest.mark.parametrize("module", ["pydantic", "numpy", "node.app"])
def test_ctrl_c_while_it_loads_is_no_traceback(tmp_path, module):
    """Interrupted right after one `module` has been imported."""
    words = [sys.executable, "-X", "importtime", *command(tmp_path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        said, reached = [], None
        for line in process.stderr:
            said.append(line)
            if reached is None and line.split("|")[-1].strip() == module:
                reached = len(said)
            # Now, and again much later: the first may fall into a callback, where Python has to ignore it.
            if reached is not None and (len(said) - reached) % 300 == 0:
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert [line for line in said if not line.startswith("import time:")] == []


def test_a_bootstrap_node_in_the_folder_of_another_is_a_sentence(tmp_path):
    node = Identity(tmp_path)
    words = [
        sys.executable,
        "-m",
        "node.cli",
        "bootstrap",
        "--network",
        "devnet",
        "--data-dir",
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and len(node.key) == 32
    assert (
        done.stderr.startswith(f"deepblock-node: another node runs in {tmp_path}")
        and done.stderr.count("\n") == 1
    )
