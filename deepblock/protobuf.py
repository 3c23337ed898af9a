"""Protocol buffers, as far as IPFS needs them: numbers and byte strings in numbered fields
(https://protobuf.dev/programming-guides/encoding/). Reading is lazy: who reads a stranger's message stops where it
has had enough, and nothing was built of the rest.
"""

from collections.abc import Iterator
from typing import Final, TypeVar

from deepblock.codec import Malformed

B = TypeVar("B", bytes, memoryview)

_MAX_VARINT: Final = 10
"""Bytes: 64 bits, as a negative number takes."""


def varint(value: int) -> bytes:
    """A number from 0 on, seven bits a byte, the low ones first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A field with a number."""
    return varint(field << 3) + varint(value)


def string(field: int, value: bytes) -> bytes:
    """A field with bytes, or with a message inside."""
    return head(field, len(value)) + value


def head(field: int, length: int) -> bytes:
    """What stands before the bytes of such a field."""
    return varint(field << 3 | 2) + varint(length)


def fields(message: B) -> Iterator[tuple[int, int | B]]:
    """The fields of a message in order, with their values: numbers, or bytes; parts of the same memory where `message`
    is a view. Raises Malformed, at others too."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        value, at = read_varint(message, at)
        match key & 7:
            case 0:
                yield key >> 3, value
            case 2 if at + value <= len(message):
                yield key >> 3, message[at : at + value]
                at += value
            case _:
                raise Malformed("not a protocol buffer of numbers and byte strings")


def read_varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next thing does. Raises Malformed."""
    value = 0
    for shift, byte in enumerate(message[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise Malformed("not a protocol buffer: a number does not end")
