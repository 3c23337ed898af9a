"""Files that are whole or not there: nothing half-written stays, and nothing is replaced that must not be."""

import resource
from contextlib import contextmanager

import pytest

from deepblock.disk import write_whole


@contextmanager
def no_room():
    """As on a full disk: no file of this process may have more than four bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_written_and_replaced_with_its_mode(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"one", mode=0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"one", 0o600)
    write_whole(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_stays_where_it_is_not_to_be_replaced(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    for taken in (path, link):
        with pytest.raises(FileExistsError) as refused:
            write_whole(taken, b"other", over=False)
        assert refused.value.filename == str(taken)
    assert path.read_text() == "mine"
    write_whole(tmp_path / "new", b"new", over=False)
    assert sorted(tmp_path.iterdir()) == [path, link, tmp_path / "new"]


@pytest.mark.parametrize("over", [True, False])
def test_a_full_disk_leaves_nothing_and_the_error_names_the_file(tmp_path, over):
    path = tmp_path / "file"
    with no_room(), pytest.raises(OSError, match="File too large") as full:
        write_whole(path, b"more than four bytes", over=over)
    assert full.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
    write_whole(path, b"again", over=over)
    assert path.read_bytes() == b"again"


def test_it_is_written_aside_where_that_is_said(tmp_path):
    aside = tmp_path / "aside"
    with pytest.raises(FileNotFoundError) as missing:
        write_whole(tmp_path / "file", b"", aside=aside)
    assert missing.value.filename == str(tmp_path / "file")
    aside.mkdir()
    write_whole(tmp_path / "file", b"", aside=aside)
    assert list(aside.iterdir()) == []
