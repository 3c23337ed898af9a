"""Hashes, keys, addresses and amounts: what everything else is put together from."""

import hashlib
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from deepblock import bech32m
from deepblock.codec import Integer

ADDRESS_PREFIX: Final = "dbk"

DBK: Final = 10**8
"""Motes in one DBK."""

Motes = Annotated[int, Integer(0, 2**64 - 1, text=True)]
"""An amount of money; a decimal string in JSON."""


class FixedBytes(bytes):
    """Bytes of one length; hexadecimal in JSON. Raises ValueError for any other length."""

    SIZE: ClassVar[int]

    def __new__(cls, data: bytes) -> Self:
        if not isinstance(data, bytes) or len(data) != cls.SIZE:
            found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
            raise ValueError(f"{cls.__name__} is {cls.SIZE} bytes, not {found}")
        return bytes.__new__(cls, data)

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        parsed = core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed]),
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )


class Hash32(FixedBytes):
    SIZE = 32


class PublicKey(FixedBytes):
    """Ed25519 (RFC 8032)."""

    SIZE = 32

    @property
    def address(self) -> "Address":
        return Address(hashlib.sha256(self).digest()[: Address.SIZE])


class Signature(FixedBytes):
    """Ed25519 (RFC 8032)."""

    SIZE = 64


class Address(FixedBytes):
    """SHA-256(public key)[:20]; bech32m text 'dbk1…'."""

    SIZE = 20

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(bech32m.decode(ADDRESS_PREFIX, text))

    def __str__(self) -> str:
        return bech32m.encode(ADDRESS_PREFIX, self)
