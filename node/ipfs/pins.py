"""Files that this node keeps for its own sake: what it was asked to keep, and the models that it mined."""

from typing import Literal

from deepblock.cid import Cid
from node.storage import schema
from node.storage.database import Batch, Database

Why = Literal["asked", "mined"]


class Pins:
    """The pins in `database`, in memory too. One that was asked for is never collected; a mined one while there is
    room."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._why = {Cid(cid): why.decode() for cid, why in database.items(schema.PIN)}

    def __contains__(self, file: Cid) -> bool:
        return file in self._why

    def of(self, why: Why) -> tuple[Cid, ...]:
        """In no order."""
        return tuple(file for file, reason in self._why.items() if reason == why)

    def add(self, file: Cid, why: Why) -> None:
        """A file that was asked for stays so."""
        if self._why.get(file) != "asked":
            self._set(file, why)

    def remove(self, file: Cid) -> None:
        if self._why.get(file):
            self._set(file, None)

    def _set(self, file: Cid, why: Why | None) -> None:
        batch = Batch()
        batch.set(schema.PIN + file, None if why is None else why.encode())
        self._db.write(batch)
        if why is None:
            del self._why[file]
        else:
            self._why[file] = why
