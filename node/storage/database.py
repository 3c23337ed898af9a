"""LevelDB, opened so that it never answers wrong bytes: checksums are verified on every read (libraries.md: with
the defaults 37 of 40 flipped bits came back as silent wrong values)."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import plyvel

from node.errors import StartError


class DatabaseCorrupt(StartError):
    """A stored value does not match its checksum, or is missing. The node can neither start nor go on with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"the database in {path} is damaged ({what}); move that folder away: the node fetches the chain again"
        )


class Batch:
    """Writes that happen together or not at all."""

    def __init__(self) -> None:
        self.writes: dict[bytes, bytes | None] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self.writes[key] = value

    def delete(self, key: bytes) -> None:
        self.writes[key] = None

    def set(self, key: bytes, value: bytes | None) -> None:
        """Puts, or deletes where the value is None."""
        self.writes[key] = value


class Database:
    """An open LevelDB in `path`. Raises StartError with what to do where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.glob("MANIFEST-*")) and not (path / "CURRENT").exists():
                # LevelDB would begin a new database here, and delete the tables of the old one.
                raise DatabaseCorrupt(path, "its file CURRENT is missing")
            self._db = plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                bloom_filter_bits=10,
                lru_cache_size=8 << 20,  # this and two write buffers are what it grows to in memory
                write_buffer_size=4 << 20,
            )
        except OSError as error:
            if "IO error: lock" in str(error):
                raise StartError(
                    f"{path.parent} is in use by another deepblock-node; stop it, or give this one another --data-dir"
                ) from None
            raise StartError(f"cannot open the database in {path}: {_plain(error)}") from None
        except plyvel.CorruptionError as error:
            raise DatabaseCorrupt(path, _plain(error)) from None

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None where there is none. Raises DatabaseCorrupt."""
        try:
            return self._db.get(key, verify_checksums=True)  # type: ignore[no-any-return]
        except plyvel.CorruptionError as error:
            raise DatabaseCorrupt(self.path, _plain(error)) from None

    def is_empty(self) -> bool:
        """Whether it holds no key at all."""
        return next(self.items(b""), None) is None

    def write(self, batch: Batch, *, sync: bool = True) -> None:
        """The whole batch. When it returns, a synced one has survived a power cut."""
        with self._db.write_batch(transaction=True, sync=sync) as pending:
            for key, value in batch.writes.items():
                if value is None:
                    pending.delete(key)
                else:
                    pending.put(key, value)

    def items(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys (without the prefix) and values, in order of the keys."""
        try:
            with self._db.iterator(prefix=prefix, verify_checksums=True) as found:
                for key, value in found:
                    yield key[len(prefix) :], value
        except plyvel.CorruptionError as error:
            raise DatabaseCorrupt(self.path, _plain(error)) from None

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(error: Exception) -> str:
    """The reason alone, in words; plyvel hands on those of LevelDB as bytes."""
    words = getattr(error, "strerror", None) or error.args[0]
    return words.decode(errors="replace") if isinstance(words, bytes) else str(words)
