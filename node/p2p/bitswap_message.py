"""One message of bitswap 1.2.0 (https://specs.ipfs.tech/bitswap-protocol/): bytes in, values out, no I/O.

    message   = {1: wantlist, 3: block*, 4: presence*}         block    = {1: prefix of the CID, 2: data}
    wantlist  = {1: want*, 2: full}                            presence = {1: CID, 2: 0 = have, 1 = have not}
    want      = {1: CID, 2: priority, 3: cancel, 4: 0 = the block, 1 = whether it is there, 5: say if it is not}

Everything is counted while it is read, so that a message costs no more than its limits say, whatever is in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deepblock import protobuf
from deepblock.cid import DAG_CBOR, DAG_PB, RAW, Cid, cid_of_block
from deepblock.codec import Malformed

MAX_MESSAGE: Final = 4 << 20
"""Bytes (of the specification)."""
MAX_WANTS: Final = 1_024
"""Wants that are read of one message, and kept of one peer; the rest is ignored."""
MAX_CID: Final = 256
"""Bytes of a CID of another shape than ours. It is only ever sent back."""
_MAX_FIELDS: Final = 16 * MAX_WANTS
"""Of a message, those inside others too."""
_PREFIXES: Final = {bytes((1, codec, 0x12, 32)): codec for codec in (RAW, DAG_PB, DAG_CBOR)}


@dataclass(frozen=True, slots=True)
class Want:
    """`cid`: of any shape. `have`: only whether it is there. `tell`: say so if it is not. `cancel`: no longer."""

    cid: bytes
    have: bool = False
    tell: bool = False
    cancel: bool = False

    def encode(self) -> bytes:
        flags = ((3, self.cancel), (4, self.have), (5, self.tell))
        return (
            protobuf.string(1, self.cid)
            + protobuf.number(2, 1)
            + b"".join(protobuf.number(field, 1) for field, flag in flags if flag)
        )


@dataclass(frozen=True, slots=True)
class Message:
    """`full`: the wants replace all earlier ones. `blocks`: of the shapes that we know, the CID computed from the
    data; `strange`: how many others there were. `presences`: whether the sender has the block of that name."""

    wants: tuple[Want, ...] = ()
    full: bool = False
    blocks: tuple[tuple[Cid, bytes], ...] = ()
    presences: tuple[tuple[bytes, bool], ...] = ()
    strange: int = 0

    def encode(self) -> bytes:
        """With its length in front."""
        wantlist = b"".join(protobuf.string(1, want.encode()) for want in self.wants)
        if self.full:
            wantlist += protobuf.number(2, 1)
        parts = [protobuf.string(1, wantlist)] if wantlist else []
        for cid, data in self.blocks:
            inner = protobuf.string(1, cid[:4]) + protobuf.head(2, len(data))
            parts += [protobuf.head(3, len(inner) + len(data)), inner, data]  # copied once, at the end
        for name, here in self.presences:
            parts.append(protobuf.string(4, protobuf.string(1, name) + protobuf.number(2, not here)))
        return b"".join((protobuf.varint(sum(map(len, parts))), *parts))


def decode(body: bytes | bytearray) -> Message:
    """A message without its length. Each block is copied once, out of it. Raises Malformed."""
    return _Reader().message(memoryview(body))


class _Reader:
    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def message(self, body: memoryview) -> Message:
        wants: list[Want] = []
        blocks: list[tuple[Cid, bytes]] = []
        presences: list[tuple[bytes, bool]] = []
        full, strange = False, 0
        for field, value in self._fields(body):
            match field, value:
                case 1, memoryview():
                    full = self._wantlist(value, wants) or full
                case 3, memoryview():
                    if block := self._block(value):
                        blocks.append(block)
                    else:
                        strange += 1
                case 4, memoryview():
                    presences.append(self._presence(value))
                case 2, memoryview():  # a block without a prefix, of version 1.0
                    strange += 1
        return Message(tuple(wants), full, tuple(blocks), tuple(presences), strange)

    def _wantlist(self, body: memoryview, wants: list[Want]) -> bool:
        """Appends to `wants`; whether the list is a full one."""
        full = False
        for field, value in self._fields(body):
            if field == 1 and isinstance(value, memoryview):
                if len(wants) == MAX_WANTS:
                    break
                wants.append(self._want(value))
            elif field == 2:
                full = bool(value)
        return full

    def _want(self, body: memoryview) -> Want:
        values = dict(self._fields(body))
        return Want(
            _cid(values.get(1)), have=values.get(4) == 1, tell=bool(values.get(5)), cancel=bool(values.get(3))
        )

    def _block(self, body: memoryview) -> tuple[Cid, bytes] | None:
        values = dict(self._fields(body))
        prefix, view = values.get(1), values.get(2, memoryview(b""))
        if not isinstance(prefix, memoryview) or not isinstance(view, memoryview):
            return None
        if (codec := _PREFIXES.get(bytes(prefix))) is None:
            return None
        data = bytes(view)
        return cid_of_block(data, codec), data

    def _presence(self, body: memoryview) -> tuple[bytes, bool]:
        values = dict(self._fields(body))
        return _cid(values.get(1)), values.get(2, 0) == 0

    def _fields(self, body: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        for field in protobuf.fields(body):
            self._left -= 1
            if self._left < 0:
                raise Malformed(f"a bitswap message of more than {_MAX_FIELDS} fields")
            yield field


def _cid(value: int | memoryview | None) -> bytes:
    if not isinstance(value, memoryview) or len(value) > MAX_CID:
        raise Malformed(f"a bitswap message names no CID of at most {MAX_CID} bytes")
    return bytes(value)
