"""Content identifiers: the one name of a block of bytes, anywhere (https://github.com/multiformats/cid).

Only one shape of CID exists in this protocol (protocol: Encoding): version 1, SHA2-256, and one of three
codecs. So a binary CID is always 36 bytes, and comparing bytes compares content.
"""

import base64
import hashlib
from typing import Any, Final, Self

import libipld
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

RAW: Final = 0x55
"""The bytes mean nothing to IPLD: a leaf of a file."""
DAG_PB: Final = 0x70
"""An inner node of a UnixFS file."""
DAG_CBOR: Final = 0x71
"""A structure: header, body, transaction, task …"""

_SHA2_256 = b"\x12\x20"
_PREFIXES = {codec: bytes((1, codec)) + _SHA2_256 for codec in (RAW, DAG_PB, DAG_CBOR)}
_KNOWN = frozenset(_PREFIXES.values())
_TEXT_LENGTH = 59  # 'b' and 36 bytes in base32


class Cid(bytes):
    """A binary CIDv1 of 36 bytes. `str()` is its base32 form ('b…'). Raises ValueError for any other shape."""

    SIZE: Final = 36

    def __new__(cls, data: bytes) -> Self:
        if not isinstance(data, bytes):
            raise ValueError(f"a CID is bytes, not {type(data).__name__}")
        if len(data) != cls.SIZE or data[:4] not in _KNOWN:
            raise ValueError(f"not a CIDv1 of sha2-256 with codec raw, dag-pb or dag-cbor: {data[:8].hex()}…")
        return bytes.__new__(cls, data)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The CID that `text` (base32, as IPFS tools print it) names. Raises ValueError."""
        if len(text) != _TEXT_LENGTH or not text.startswith("b"):
            raise ValueError(f"not a base32 CIDv1 of {_TEXT_LENGTH} characters: {text[:70]!r}")
        cid = cls(base64.b32decode(text[1:].upper() + "======"))
        if str(cid) != text:
            raise ValueError(f"not a canonical CID: {text!r}")
        return cid

    @property
    def codec(self) -> int:
        return self[1]

    def __str__(self) -> str:
        return libipld.encode_cid(self)

    def __repr__(self) -> str:
        return f"Cid({self})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        parsed = core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed]),
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )


def cid_of_block(data: bytes, codec: int = DAG_CBOR) -> Cid:
    """The CID of one block of bytes."""
    return Cid(_PREFIXES[codec] + hashlib.sha256(data).digest())
