"""Canonical DAG-CBOR of frozen dataclasses: what is hashed, sent and stored (protocol: Encoding).

A dataclass is a map from field names to values; its type hints are its schema. Decoding is strict: the bytes
must be exactly those that encoding the result gives again, so every value has one encoding and one CID
(https://ipld.io/specs/codecs/dag-cbor/spec/).

The encoder is written out below because it *defines* the canonical bytes, and because the schema says what a
general library has to guess: which bytes are links. Untrusted input is parsed by libipld.

| hint                                   | DAG-CBOR                                     |
|----------------------------------------|----------------------------------------------|
| bool, str, None                        | the same                                     |
| U8 U16 U32 U64, I64                    | integer, within its range                    |
| U128                                   | 16 bytes, big-endian                         |
| bytes; a subclass of it with SIZE      | byte string; of that length                  |
| Cid                                    | link (tag 42)                                |
| tuple[T, ...]                          | list                                         |
| dataclass                              | map; a `kind: ClassVar[str]` is stored too   |
| X | None; A | B (dataclasses, by kind) | null or X; the one whose kind it says        |
"""

import dataclasses
import functools
import struct
import types
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import libipld
from pydantic import GetCoreSchemaHandler, model_serializer, model_validator
from pydantic_core import CoreSchema, core_schema

from deepblock.cid import Cid, cid_of_block

MAX_SIZE = 1 << 20
"""Bytes, unless a caller says otherwise."""
_MAX_REASON = 200
"""Characters. A reason quotes what was sent, and is logged and kept; whoever sent it must not choose its length."""


class Malformed(ValueError):
    """The bytes are not the canonical encoding of such a value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Integer:
    """The range of an integer field. `text`: written as a decimal string in JSON (beyond 2^53, JavaScript lies)."""

    low: int
    high: int
    text: bool = False
    wide: bool = False

    def check(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is not between {self.low} and {self.high}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        number: CoreSchema = core_schema.int_schema(strict=True)
        if self.text:
            digits = core_schema.str_schema(pattern=r"^(0|-?[1-9][0-9]{0,38})$")
            number = core_schema.union_schema(
                [number, core_schema.chain_schema([digits, core_schema.int_schema()])]
            )
        serialization = core_schema.to_string_ser_schema(when_used="json") if self.text else None
        return core_schema.no_info_after_validator_function(self.check, number, serialization=serialization)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        if self.text:
            return {"type": "string", "pattern": "^-?[0-9]+$"}
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


U8 = Annotated[int, Integer(0, 2**8 - 1)]
U16 = Annotated[int, Integer(0, 2**16 - 1)]
U32 = Annotated[int, Integer(0, 2**32 - 1)]
U64 = Annotated[int, Integer(0, 2**64 - 1)]
I64 = Annotated[int, Integer(-(2**63), 2**63 - 1)]
U128 = Annotated[int, Integer(0, 2**128 - 1, text=True, wide=True)]


class Tagged:
    """A member of a union, which its `kind` names: in JSON it is shown with it, as in DAG-CBOR."""

    __slots__ = ()
    kind: ClassVar[str]

    @model_serializer(mode="wrap")
    def _with_kind(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"kind": self.kind, **fields(self)}

    @model_validator(mode="before")
    @classmethod
    def _without_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("kind") != cls.kind:
            raise ValueError(f"kind {value.get('kind')!r} in place of {cls.kind!r}")
        return {name: item for name, item in value.items() if name != "kind"}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        found: dict[str, Any] = handler.resolve_ref_schema(handler(schema))
        found["properties"] = {"kind": {"const": cls.kind}, **found.get("properties", {})}
        found["required"] = ["kind", *found.get("required", [])]
        return found


def kind_of(value: Any) -> Any:
    """For pydantic's Discriminator: which member of a union JSON, or an instance, is."""
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


class Kept:
    """A structure that is hashed and sent: its encoding is made once, and stays with it."""


T = TypeVar("T")
Encoder = Callable[[Any], bytes]
Decoder = Callable[[Any], Any]


def encode(value: Any) -> bytes:
    """The canonical bytes of a dataclass instance. Raises ValueError where a field is out of its range."""
    return _schema(type(value))[0](value)  # type: ignore[arg-type]  # mypy: a class is not Hashable


def decode(cls: type[T], data: bytes, max_size: int = MAX_SIZE) -> T:
    """Rule X1. The `cls` that `data` is the canonical encoding of. Raises Malformed."""
    if len(data) > max_size:
        raise Malformed(f"{cls.__name__}: {len(data)} bytes, more than {max_size}")
    try:
        value = _schema(cls)[1](libipld.decode_dag_cbor(bytes(data)))  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed(f"{cls.__name__}: {str(error)[:_MAX_REASON]}") from None
    if encode(value) != data:
        raise Malformed(f"{cls.__name__}: not the canonical encoding")
    return value  # type: ignore[no-any-return]


def cid_of(value: Any) -> Cid:
    """Rule X2. The id of a dataclass instance: the CID of its canonical bytes."""
    return cid_of_block(encode(value))


# --- the encoding itself ---------------------------------------------------------------------------------------


def _head(major: int, number: int) -> bytes:
    """The first bytes of an item, in the fewest bytes (RFC 8949, section 3)."""
    major <<= 5
    if number < 24:
        return _BYTES[major | number]
    if number < 2**8:
        return _BYTES[major | 24] + _BYTES[number]
    if number < 2**16:
        return struct.pack(">BH", major | 25, number)
    if number < 2**32:
        return struct.pack(">BI", major | 26, number)
    return struct.pack(">BQ", major | 27, number)


def _bytes(value: bytes) -> bytes:
    return _head(2, len(value)) + value


def _text(value: str) -> bytes:
    data = value.encode()
    return _head(3, len(data)) + data


_BYTES = tuple(bytes((number,)) for number in range(256))
_LINK = bytes.fromhex("d82a582500")  # tag 42, a byte string of 37, the multibase prefix 'identity'


@functools.cache
def _schema(hint: Any) -> tuple[Encoder, Decoder]:
    """How values of a type hint are written and read."""
    origin = get_origin(hint)
    if origin is Annotated:
        bounds = next((note for note in hint.__metadata__ if isinstance(note, Integer)), None)
        return _integer(bounds) if bounds else _schema(hint.__origin__)
    if origin is tuple:
        return _list(*_schema(get_args(hint)[0]))
    if origin in (Union, types.UnionType):
        return _union(get_args(hint))
    if dataclasses.is_dataclass(hint):
        return _map(hint)  # type: ignore[arg-type]
    if hint is Cid:
        return _LINK.__add__, Cid
    if hint is bool:
        return (lambda value: b"\xf5" if value else b"\xf4"), _instance(bool)
    if hint is str:
        return _text, _instance(str)
    if hint is bytes:
        return _bytes, _instance(bytes)
    if isinstance(hint, type) and issubclass(hint, bytes):
        return _head(2, hint.SIZE).__add__, hint  # type: ignore[attr-defined]
    raise TypeError(f"no DAG-CBOR schema for {hint!r}")


def _instance(cls: type) -> Decoder:
    def read(value: Any) -> Any:
        if type(value) is not cls:
            raise ValueError(f"{type(value).__name__} in place of {cls.__name__}")
        return value

    return read


def _integer(bounds: Integer) -> tuple[Encoder, Decoder]:
    if bounds.wide:
        return _wide_integer(bounds)
    number, low, high = _instance(int), bounds.low, bounds.high

    def write(value: int) -> bytes:
        if not low <= value <= high:
            bounds.check(value)
        return _head(0, value) if value >= 0 else _head(1, -1 - value)

    def read(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        return bounds.check(number(value))

    return write, read


def _wide_integer(bounds: Integer) -> tuple[Encoder, Decoder]:
    def write(value: int) -> bytes:
        return _bytes(bounds.check(value).to_bytes(16, "big"))

    def read(value: Any) -> int:
        if not isinstance(value, bytes) or len(value) != 16:
            raise ValueError("a 128-bit integer is not 16 bytes")
        return int.from_bytes(value, "big")

    return write, read


def _list(write_item: Encoder, read_item: Decoder) -> tuple[Encoder, Decoder]:
    def write(value: tuple[Any, ...]) -> bytes:
        return b"".join((_head(4, len(value)), *map(write_item, value)))

    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise ValueError(f"{type(value).__name__} in place of a list")
        return tuple(map(read_item, value))

    return write, read


def _map(cls: type) -> tuple[Encoder, Decoder]:
    hints = get_type_hints(cls, include_extras=True)
    fields = {field.name: _schema(hints[field.name]) for field in dataclasses.fields(cls)}
    kind = getattr(cls, "kind", None)
    names = sorted(
        [*fields, "kind"] if kind else fields, key=lambda name: (len(name.encode()), name.encode())
    )
    head, keys = _head(5, len(names)), frozenset(names)
    writers = {"kind": _text, **{name: write for name, (write, _) in fields.items()}}
    entries = [(_text(name), name, writers[name]) for name in names]
    readers = [(name, read) for name, (_, read) in fields.items()]

    def write(value: Any) -> bytes:
        pieces = [head]
        for key, name, write in entries:
            pieces += key, write(getattr(value, name))
        return b"".join(pieces)

    def keep(value: Any) -> bytes:
        kept: dict[str, Any] = vars(value)
        if "encoding" not in kept:
            kept["encoding"] = write(value)
        return kept["encoding"]  # type: ignore[no-any-return]

    def read(value: Any) -> Any:
        if type(value) is not dict or value.keys() != keys:
            found = sorted(map(str, value)) if type(value) is dict else type(value).__name__
            raise ValueError(f"{cls.__name__} has the fields {names}, not {found}")
        if kind and value["kind"] != kind:
            raise ValueError(f"kind {value['kind']!r} in place of {kind!r}")
        return cls(*[read(value[name]) for name, read in readers])

    return (keep if issubclass(cls, Kept) else write), read


def _union(members: tuple[Any, ...]) -> tuple[Encoder, Decoder]:
    if types.NoneType in members:
        rest = [member for member in members if member is not types.NoneType]
        inner = rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007  (the members are values here)
        inner_write, inner_read = _schema(inner)
        return (
            lambda value: b"\xf6" if value is None else inner_write(value),
            lambda value: None if value is None else inner_read(value),
        )
    by_kind = {member.kind: _schema(member) for member in members}

    def read(value: Any) -> Any:
        found = value.get("kind") if type(value) is dict else None
        if not isinstance(found, str) or found not in by_kind:
            raise ValueError(f"kind {found!r} is none of {sorted(by_kind)}")
        return by_kind[found][1](value)

    return (lambda value: by_kind[value.kind][0](value)), read
