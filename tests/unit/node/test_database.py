"""LevelDB behind its thin wall: batches, order, and sentences for what can go wrong."""

import shutil
import subprocess
import sys

import pytest

from node.errors import StartError
from node.storage.database import Batch, Database, DatabaseCorrupt


def test_what_is_written_is_there_after_reopening(tmp_path):
    batch = Batch()
    batch.put(b"a1", b"one")
    batch.put(b"a2", b"two")
    batch.put(b"b1", b"other")
    with Database(tmp_path / "db") as database:
        database.write(batch)
    with Database(tmp_path / "db") as database:
        assert database.get(b"a1") == b"one"
        assert database.get(b"a3") is None
        assert list(database.items(b"a")) == [(b"1", b"one"), (b"2", b"two")]
        assert list(database.items(b"")) == [(b"a1", b"one"), (b"a2", b"two"), (b"b1", b"other")]


def test_the_last_word_in_a_batch_counts(tmp_path):
    with Database(tmp_path / "db") as database:
        batch = Batch()
        batch.put(b"kept", b"1")
        batch.delete(b"kept")
        batch.set(b"kept", b"2")
        batch.put(b"gone", b"1")
        batch.set(b"gone", None)
        database.write(batch)
        assert database.get(b"kept") == b"2"
        assert database.get(b"gone") is None


def test_a_batch_is_written_whole_or_not_at_all(tmp_path):
    with Database(tmp_path / "db") as database:
        batch = Batch()
        batch.put(b"first", b"1")
        batch.put(b"second", "no bytes")
        with pytest.raises(TypeError):
            database.write(batch)
        assert database.get(b"first") is None


def test_a_second_node_on_the_same_folder_is_told_so(tmp_path):
    with Database(tmp_path / "chain"):
        program = (
            "import sys, pathlib\n"
            "from node.errors import StartError\n"
            "from node.storage.database import Database\n"
            "try:\n    Database(pathlib.Path(sys.argv[1]))\n"
            "except StartError as error:\n    print(error)"
        )
        said = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "chain")],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    assert said.strip() == (
        f"{tmp_path} is in use by another deepblock-node; stop it, or give this one another --data-dir"
    )


def test_a_folder_that_cannot_be_used_is_not_said_to_be_in_use(tmp_path):
    """Though its name, deepblock, has a lock in it."""
    folder = tmp_path / "deepblock"
    (folder / "LOCK").mkdir(parents=True)
    with pytest.raises(StartError, match="cannot open the database in .*deepblock: IO error"):
        Database(folder)


def test_a_path_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "chain"):
        with pytest.raises(StartError, match="cannot open the database in .*: (Not a dir|File exists)"):
            Database(path)


def filled(path, count=2_000):
    batch = Batch()
    for number in range(count):
        batch.put(b"k%05d" % number, b"value %d" % number * 10)
    with Database(path) as database:
        database.write(batch)
    with Database(path):
        pass  # the log of the first opening becomes a table in the second


def test_a_flipped_bit_is_noticed_and_never_a_value(tmp_path):
    filled(tmp_path / "good")
    [table] = [file.name for file in (tmp_path / "good").glob("*.ldb")]
    size = (tmp_path / "good" / table).stat().st_size
    noticed = 0
    for place in range(100, size - 100, size // 12):
        folder = tmp_path / str(place)
        shutil.copytree(tmp_path / "good", folder)
        data = bytearray((folder / table).read_bytes())
        data[place] ^= 4
        (folder / table).write_bytes(data)
        try:
            with Database(folder) as database:
                for number in range(2_000):
                    assert database.get(b"k%05d" % number) == b"value %d" % number * 10
        except DatabaseCorrupt as error:
            noticed += 1
            assert str(folder) in str(error) and "b'" not in str(error)
            with Database(folder) as database, pytest.raises(DatabaseCorrupt):
                list(database.items(b""))
    assert noticed > 6


def test_a_damaged_manifest_is_a_sentence(tmp_path):
    filled(tmp_path / "db")
    for file in (tmp_path / "db").glob("MANIFEST-*"):
        file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(StartError, match="damaged") as caught:
        Database(tmp_path / "db")
    assert "b'" not in str(caught.value)


def test_a_database_without_its_file_current_is_damaged_and_left_as_it_is(tmp_path):
    """LevelDB alone would open it empty, and delete the tables."""
    filled(tmp_path / "db")
    (tmp_path / "db" / "CURRENT").unlink()
    before = sorted(file.name for file in (tmp_path / "db").iterdir())
    with pytest.raises(StartError, match="damaged .its file CURRENT is missing.; move that folder away"):
        Database(tmp_path / "db")
    assert sorted(file.name for file in (tmp_path / "db").iterdir()) == before
