"""What a person sees of a node: the status, and the log."""

import asyncio
import io
import json
import logging
import sys
from dataclasses import replace

import pytest
import structlog

from deepblock.codec import cid_of
from node import log as log_module
from node import terminal
from node.log import SCREEN, Screen, configure
from node.peers import Row
from node.terminal import Terminal, line, report, snapshot
from tests.rpc_parts import Parts


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path)


class Tty(io.StringIO):
    def isatty(self):
        return True


class Err:
    """What the test has written to stderr so far."""

    def __init__(self, capsys):
        self._capsys, self._text = capsys, ""

    def getvalue(self):
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys):
    yield Err(capsys)
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
        handler.close()
    structlog.reset_defaults()
    SCREEN.live = False


# --- the status --------------------------------------------------------------------------------------------


def test_the_line_of_a_node_at_its_genesis(parts):
    assert (
        line(snapshot(parts.services), 200) == "block 0 digits │ training ░░░░░░░░░░░░   0% │ 0 peers │ 0 DBK"
    )


def test_the_line_of_a_node_that_earns(parts):
    for _ in range(4):
        parts.grow(loss=90_000_000)
    parts.status = replace(parts.status, height=5, task=cid_of(parts.params.base_tasks[0]), step=6, steps=12)
    parts.rows = [Row("12D3KooWA", None, "in", 5.0, 0.0, None, None)]
    assert line(snapshot(parts.services), 200) == (
        "block 4 digits loss 0.2500 83.3% │ training ██████░░░░░░  50% │ 1 peer "
        "│ 50 DBK +50 maturing │ 12.0 blocks/min"
    )


def test_a_node_that_catches_up_or_does_not_mine_says_so(parts):
    parts.sync = replace(parts.sync, state="blocks", height=40, target=1280, percent=3.125, eta=61.5)
    assert "blocks 40/1,280, 3%, 0:01:02 left" in line(snapshot(parts.services), 200)
    parts.sync = replace(parts.sync, state="synced")
    parts.status = replace(parts.status, mining=False)
    assert "not mining" in line(snapshot(parts.services), 200)


@pytest.mark.parametrize("width", [0, 1, 10, 40])
def test_the_line_never_wraps(parts, width):
    assert len(line(snapshot(parts.services), width)) <= max(1, width)


def test_the_report_is_plain_fields(parts):
    parts.grow(loss=90_000_000)
    found = report(snapshot(parts.services))
    assert (found["height"], found["loss"], found["immature_dbk"]) == (1, 0.25, "25")
    json.dumps(found)


def test_without_a_terminal_the_status_is_logged_now_and_then(parts, stderr, monkeypatch):
    monkeypatch.setattr(terminal, "REPORT", 0.01)
    configure(parts.folder)
    run_for(Terminal(parts.services), 0.2)
    assert stderr.getvalue().count("status: status height=0 task=digits") >= 2
    assert "\x1b" not in stderr.getvalue()


def test_on_a_terminal_log_lines_stay_above_the_status(parts, stderr, monkeypatch):
    tty = Tty()
    monkeypatch.setattr(sys, "stderr", tty)
    configure(parts.folder)
    assert SCREEN.live

    async def scenario():
        task = asyncio.create_task(Terminal(parts.services).run())
        await asyncio.sleep(0.05)
        structlog.get_logger("miner").info("block_mined", height=1, loss=0.5, correct=9, examples=10)
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(scenario())
    seen = on_screen(tty.getvalue())
    assert len(seen) == 1 and seen[0].endswith(
        "mined block 1: held-out loss 0.5000, 9 of 10 right"
    )  # the status itself is gone at the end
    assert tty.getvalue().count("block 0 digits") >= 2  # and was drawn again below the log line


def test_the_screen_without_a_status_writes_plain_text(stderr):
    Screen().write("a line\n")
    assert stderr.getvalue() == "a line\n"


# --- the log -----------------------------------------------------------------------------------------------


def test_events_are_lines_for_people_and_json_in_the_file(parts, stderr):
    configure(parts.folder)
    log = structlog.get_logger("p2p")
    log.debug("unheard")
    log.info("peer_up", peer="12D3KooWNvSZnPi3RrhrTwEY4LuuBeB6K6facKUCJcyWG1aoDd2p", addr=None, outbound=True)
    log.warning("peer_fault", peer="x", reason="sent\x1b[31m 'rubbish'")
    people = stderr.getvalue().splitlines()
    assert [text[9:] for text in people] == [
        "peer 12D3Ko…aoDd2p connected",
        "warning p2p: peer_fault peer=x reason=\"sent\\u001b[31m 'rubbish'\"",
    ]
    first = json.loads((parts.folder / "node.log").read_text().splitlines()[0])
    assert first["event"] == "peer_up" and first["level"] == "info" and first["logger"] == "deepblock.p2p"
    assert first["peer"].startswith("12D3KooWNvSZ") and first["outbound"] is True


def test_json_lines_on_stderr_when_asked(parts, stderr):
    configure(parts.folder, level="debug", as_json=True)
    structlog.get_logger("chain").debug("block", height=3, id=parts.chain.head.id)
    found = json.loads(stderr.getvalue())
    assert (found["event"], found["height"], found["id"]) == ("block", 3, str(parts.chain.head.id))


def test_a_traceback_is_kept(parts, stderr):
    configure(parts.folder)
    try:
        raise KeyError("gone")
    except KeyError:
        structlog.get_logger("rpc").exception("rpc_failed", method="chain_head")
    assert "error rpc: rpc_failed method=chain_head" in stderr.getvalue()
    assert "KeyError: 'gone'" in stderr.getvalue()
    assert "KeyError" in json.loads((parts.folder / "node.log").read_text())["exception"]


def test_libraries_are_heard_from_warning_on(parts, stderr):
    configure(parts.folder, level="debug")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("it %s", "burns")
    assert "chatter" not in stderr.getvalue()
    assert "warning some.library: it burns" in stderr.getvalue()


def test_a_phrase_whose_fields_are_absent_falls_back_to_the_fields(parts, stderr):
    configure(parts.folder)
    structlog.get_logger("chain").info("block", height=3)
    assert stderr.getvalue().endswith("chain: block height=3\n")


def test_every_phrase_is_short():
    assert all(len(phrase) < 100 for phrase in log_module.PHRASES.values())


def run_for(part, seconds):
    async def scenario():
        task = asyncio.create_task(part.run())
        await asyncio.sleep(seconds)
        task.cancel()

    asyncio.run(scenario())


def on_screen(written):
    """The lines that a terminal shows after `written`: a carriage return and an erasure clear the last one."""
    lines = [""]
    for piece in written.replace("\r\x1b[2K", "\0").replace("\n", "\1"):
        for character in piece:
            if character == "\0":
                lines[-1] = ""
            elif character == "\1":
                lines.append("")
            else:
                lines[-1] += character
    return [text for text in lines if text]
