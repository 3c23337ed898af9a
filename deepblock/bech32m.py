"""Bech32m (BIP-350): text for addresses that survives being read aloud. One typing error is always noticed."""

from typing import Final

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M: Final = 0x2BC830A3


def _feedback(top: int) -> int:
    """What the five bits that are shifted out flip."""
    check = 0
    for bit, generator in enumerate(_GENERATOR):
        check ^= generator if top >> bit & 1 else 0
    return check


_FEEDBACK: Final = tuple(map(_feedback, range(32)))


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _FEEDBACK[check >> 25]
    return check


def _expanded(prefix: str) -> list[int]:
    return [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]


def encode(prefix: str, data: bytes) -> str:
    """`prefix`, '1', the data in groups of five bits, six letters of checksum."""
    bits = int.from_bytes(data, "big") << (-8 * len(data) % 5)
    count = -(-8 * len(data) // 5)
    groups = [bits >> 5 * (count - 1 - index) & 31 for index in range(count)]
    remainder = _polymod(_expanded(prefix) + groups + [0] * 6) ^ _BECH32M
    checksum = [remainder >> 5 * (5 - index) & 31 for index in range(6)]
    return prefix + "1" + "".join(_ALPHABET[group] for group in groups + checksum)


def decode(prefix: str, text: str) -> bytes:
    """The data of `text`. Raises ValueError with what is wrong with it."""
    if text != text.lower():
        raise ValueError(f"{text!r}: an address is written in small letters")
    if not text.startswith(prefix + "1"):
        raise ValueError(f"{text!r}: an address begins with {prefix}1")
    letters = text[len(prefix) + 1 :]
    if len(letters) < 6 or len(text) > 90 or any(letter not in _ALPHABET for letter in letters):
        raise ValueError(f"{text!r}: not the letters of an address")
    groups = [_ALPHABET.index(letter) for letter in letters]
    if _polymod(_expanded(prefix) + groups) != _BECH32M:
        raise ValueError(f"{text!r}: the checksum does not match; is a letter mistyped?")
    bits = 0
    for group in groups[:-6]:
        bits = bits << 5 | group
    size, padding = divmod(5 * (len(groups) - 6), 8)
    if padding > 4 or bits & ((1 << padding) - 1):
        raise ValueError(f"{text!r}: padding is not zero")
    return (bits >> padding).to_bytes(size, "big")
