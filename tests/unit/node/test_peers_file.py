"""peers.json: what is written is read again, and what is damaged stops nobody."""

import asyncio
import json

import pytest

from node.peers import file as rooms
from node.peers.file import Ban, Known, PeerFile, Remembered
from tests.unit.node.peers_parts import IDS, addr_of

SOME = Remembered(
    (Known(addr_of(IDS[1]), 1_800_000_000), Known(addr_of(IDS[2]), None)),
    (addr_of(IDS[1]),),
    (Ban(IDS[3], 1_800_000_000, "a false block"),),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "peers.json"


def test_what_is_written_is_read_again(path):
    assert PeerFile(path, "a network").read() == Remembered()
    PeerFile(path, "a network").write(SOME)
    assert PeerFile(path, "a network").read() == SOME
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_written_when_there_is_something_new(path):
    file = PeerFile(path, "a network")
    file.write(Remembered())
    assert not path.exists(), "an empty book is no file"
    file.write(SOME)
    path.unlink()
    file.write(SOME)
    assert not path.exists()
    file.write(Remembered())
    assert path.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\xff\xfe", b"[]", b"null", b"{}", b'{"network": "a network", "addresses": 5}', b"[" * 100_000,
        b'{"network": "a network", "addresses": [{"addr": 5, "worked": null}]}', b"0" * (rooms.MAX_FILE + 1),
        json.dumps({"addresses": []}).encode(),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_damaged_file_is_set_aside(path, text, capsys):
    path.write_bytes(text)
    assert PeerFile(path, "a network").read() == Remembered()
    assert not path.exists()
    assert path.with_name("peers.json.aside").read_bytes() == text


def test_a_file_of_another_network_is_set_aside(path):
    PeerFile(path, "another network").write(SOME)
    assert PeerFile(path, "a network").read() == Remembered()
    assert path.with_name("peers.json.aside").exists()


def test_a_file_that_cannot_be_read_or_written_stops_nobody(path):
    path.mkdir()
    file = PeerFile(path, "a network")
    assert file.read() == Remembered()
    file.write(SOME)
    assert path.is_dir()


def test_it_is_kept_while_the_node_runs_and_when_it_ends(path, monkeypatch):
    monkeypatch.setattr(rooms, "SAVE_EVERY", 0.01)
    now = SOME

    async def scene():
        nonlocal now
        file = PeerFile(path, "a network")
        keeping = asyncio.create_task(file.keep(lambda: now))
        while not path.exists():
            await asyncio.sleep(0.01)
        assert PeerFile(path, "a network").read() == SOME
        monkeypatch.setattr(rooms, "SAVE_EVERY", 1_000)
        await asyncio.sleep(0.1)
        now = Remembered()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert PeerFile(path, "a network").read() == Remembered()

    asyncio.run(scene())
