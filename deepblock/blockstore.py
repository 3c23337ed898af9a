"""A folder of IPLD blocks: models, states, data sets, and whatever else is named by a CID.

Each block is a file of its own, `<two characters>/<cid>`, as in Kubo's flatfs. Several processes may use one
folder at once: a block appears whole or not at all, and two writers of one CID write the same bytes. What is
read is hashed again, so a damaged disk gives an error and never other bytes. (What is read for others may have been
hashed before.)
"""

import os
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from os.path import exists
from pathlib import Path
from typing import Protocol

from deepblock import unixfs
from deepblock.cid import DAG_CBOR, Cid, cid_of_block
from deepblock.codec import Malformed
from deepblock.disk import write_whole

MAX_BLOCK = 1 << 20
"""Bytes. No block is larger (protocol: a body, the largest of our own, has half of that)."""
_ABANDONED = 3600
"""Seconds after which a half-written file must be of a process that died."""
_REMEMBERED = 1 << 14
"""Blocks of which is known how their files were when they were hashed."""

_Stamp = tuple[int, int, int]


class Missing(LookupError):
    """The block `cid` is not here."""

    def __init__(self, cid: Cid) -> None:
        super().__init__(cid)
        self.cid = cid

    def __str__(self) -> str:
        return f"block {self.cid} is not in the store"


class Corrupt(Missing):
    """The file of block `cid` had other bytes. It is removed, so that the block can be fetched again."""

    def __str__(self) -> str:
        return f"block {self.cid} was damaged on disk and has been removed"


class Files(Protocol):
    """Where whole files are kept: all that training needs to know about storage."""

    def get_file(self, cid: Cid, max_size: int) -> bytes: ...

    def put_file(self, data: bytes) -> Cid: ...


class Blockstore:
    """The blocks in the folder `path`, which is made if need be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path / "unfinished"
        self._hashed: dict[Cid, _Stamp] = {}
        self._unfinished.mkdir(parents=True, exist_ok=True)
        for file in self._unfinished.iterdir():
            with suppress(FileNotFoundError):  # another process may finish it just now
                if file.stat().st_mtime < time.time() - _ABANDONED:
                    file.unlink()

    # Blocks

    def put_block(self, data: bytes, codec: int = DAG_CBOR) -> Cid:
        """Keep a block of at most 1 MiB. On return it is on the disk, even if the power fails now."""
        cid = cid_of_block(data, codec)
        self.put_verified(cid, data)
        return cid

    def put_verified(self, cid: Cid, data: bytes) -> None:
        """The same for a block that was compared with its CID already."""
        if len(data) > MAX_BLOCK:
            raise ValueError(f"a block of {len(data)} bytes; the most is {MAX_BLOCK}")
        if not self.has(cid):
            self._write(self._file(cid), data)
            with suppress(FileNotFoundError):  # removed just now
                self._remember(cid, _stamp(os.stat(self._name(cid))))

    def get_block(self, cid: Cid, afresh: bool = True) -> bytes:
        """The block's bytes. Raises Missing, or Corrupt.

        `afresh`: hashed in any case. Otherwise it is enough that this object has hashed it before and its file has not
        changed since: for whoever gives it to somebody who hashes it, which costs as much as sending it.
        """
        try:
            with open(self._name(cid), "rb", buffering=0) as file:
                facts = os.fstat(file.fileno())
                # room for the most would cost more than the reading
                data = file.read(min(facts.st_size, MAX_BLOCK + 1))
        except FileNotFoundError:
            raise Missing(cid) from None
        stamp = _stamp(facts)
        if afresh or self._hashed.get(cid) != stamp:
            if cid_of_block(data, cid.codec) != cid:
                self.remove_block(cid)
                raise Corrupt(cid)
            self._remember(cid, stamp)
        return data

    def has(self, cid: Cid) -> bool:
        """Whether the block is here (of a file: its topmost block; see `missing`)."""
        return exists(self._name(cid))  # not by a Path, which costs more than the look: many are asked for

    # Files of any size, as UnixFS trees of blocks

    def put_file(self, data: bytes) -> Cid:
        """Keep a file. Its topmost block is written last: where it is here, the rest was too."""
        cid, blocks = unixfs.split_file(data)
        for block_cid, block in blocks.items():
            self.put_block(block, block_cid.codec)
        return cid

    def get_file(self, cid: Cid, max_size: int) -> bytes:
        """The file's bytes. Raises Missing, Corrupt, or Malformed: too long, or laid out in another way."""
        return b"".join(self.read_file(cid, max_size))

    def read_file(self, cid: Cid, max_size: int | None = None) -> Iterator[bytes]:
        """The file's bytes, piece by piece. Raises like `get_file`, when it comes to it."""
        for part in self._walk(self._whole(cid, max_size)):
            block = self.get_block(part.cid)
            if not unixfs.parts(part, block):
                yield block

    def missing(self, cid: Cid, max_size: int | None = None) -> list[Cid]:
        """What to fetch to have the file `cid`: its blocks that are not here. Ask again once they are, until
        none is named: what lies below a block is known when it is here. A DAG-CBOR block is one alone.

        Raises Malformed like `get_file`, as early as it can be known.
        """
        if cid.codec == DAG_CBOR:
            return [] if self.has(cid) else [cid]
        try:
            file = self._whole(cid, max_size)
        except Missing:
            return [cid]
        known = dict.fromkeys(part.cid for part in self._walk(file))
        return [part for part in known if not self.has(part)]  # asked last: reading may have found damage

    def remove(self, cid: Cid, but: Container[Cid] = ()) -> None:
        """Remove a block and, if it is a file's, those below it, even if another file shares them: `but` for these. Of
        a file whose topmost block is not here, nothing is known, and nothing removed."""
        if not self.has(cid):
            return
        for gone in self.tree(cid):
            if gone not in but:
                self.remove_block(gone)

    def remove_block(self, cid: Cid) -> None:
        """Remove this block alone."""
        self._hashed.pop(cid, None)
        self._file(cid).unlink(missing_ok=True)

    def tree(self, cid: Cid) -> list[Cid]:
        """The block `cid` and, if it is a file's, those below it, as far as what names them is here."""
        return list(dict.fromkeys((cid, *(part.cid for part in self.parts(cid)))))

    def parts(self, cid: Cid) -> list[unixfs.Part]:
        """The pieces of a file in order, as far as what names them is here."""
        known: list[unixfs.Part] = []
        with suppress(Missing, Malformed):
            known.extend(self._walk(self._whole(cid, None)))
        return known

    def all(self) -> Iterator[tuple[Cid, os.stat_result]]:
        """Every block with its file's facts, in no order."""
        for folder in self._path.iterdir():
            if folder == self._unfinished or not folder.is_dir():
                continue
            for file in folder.iterdir():
                with suppress(ValueError, FileNotFoundError):  # not ours; removed just now
                    yield Cid.parse(file.name), file.stat()

    def _whole(self, cid: Cid, max_size: int | None) -> unixfs.Part:
        file = unixfs.whole(cid, self.get_block(cid))
        if max_size is not None and file.size > max_size:
            raise Malformed(f"file {cid} has {file.size} bytes; at most {max_size} were expected")
        return file

    def _walk(self, part: unixfs.Part) -> Iterator[unixfs.Part]:
        """`part` and all below it, in order. What is below a block that is not here remains unknown."""
        yield part
        if part.height > 0:
            with suppress(Missing):
                for child in unixfs.parts(part, self.get_block(part.cid)):
                    yield from self._walk(child)

    # The folder

    def _remember(self, cid: Cid, stamp: _Stamp) -> None:
        if len(self._hashed) >= _REMEMBERED:
            self._hashed.clear()
        self._hashed[cid] = stamp

    def _file(self, cid: Cid) -> Path:
        return Path(self._name(cid))

    def _name(self, cid: Cid) -> str:
        text = str(cid)
        return f"{self._path}/{text[-3:-1]}/{text}"  # all CIDs begin alike, and the last character has 3 bits

    def _write(self, file: Path, data: bytes) -> None:
        try:
            self._write_once(file, data)
        except FileNotFoundError:  # somebody has taken the folder away meanwhile
            self._write_once(file, data)

    def _write_once(self, file: Path, data: bytes) -> None:
        self._unfinished.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, data, mode=0o600, aside=self._unfinished)


def _stamp(facts: os.stat_result) -> _Stamp:
    """Another one wherever the file was written again."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
