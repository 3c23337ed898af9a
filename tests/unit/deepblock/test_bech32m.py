"""Bech32m against the vectors of BIP-350."""

import json
from pathlib import Path

import pytest

from deepblock import bech32m

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "bech32m.json").read_text())
LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["text"][:12])
def test_text_and_data_of_the_standard(vector):
    data = bytes.fromhex(vector["data"])
    assert bech32m.encode(vector["prefix"], data) == vector["text"]
    assert bech32m.decode(vector["prefix"], vector["text"]) == data


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["text"][:12])
def test_what_the_standard_refuses_is_refused_with_the_reason(vector):
    with pytest.raises(ValueError, match=vector["why"]):
        bech32m.decode(vector["prefix"], vector["text"])


@pytest.mark.parametrize("size", range(41))
def test_every_length_comes_back(size):
    data = bytes(range(255 - size, 255))
    assert bech32m.decode("dbk", bech32m.encode("dbk", data)) == data


def test_every_single_typing_error_is_noticed():
    text = bech32m.encode("dbk", bytes(range(20)))
    for place in range(len("dbk1"), len(text)):
        for letter in LETTERS.replace(text[place], ""):
            with pytest.raises(ValueError, match="checksum"):
                bech32m.decode("dbk", text[:place] + letter + text[place + 1 :])


def test_two_swapped_letters_are_noticed():
    text = bech32m.encode("dbk", bytes(range(20)))
    for place in range(len("dbk1"), len(text) - 1):
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        if swapped != text:
            with pytest.raises(ValueError, match="checksum"):
                bech32m.decode("dbk", swapped)


def with_checksum(prefix: str, groups: list[int]) -> str:
    """Any groups of five bits with their right checksum: the one that the decoder takes."""
    body = prefix + "1" + "".join(LETTERS[group] for group in groups)
    values = bech32m._expanded(prefix) + groups + [0] * 6
    remainder = bech32m._polymod(values) ^ 0x2BC830A3
    return body + "".join(LETTERS[remainder >> 5 * (5 - place) & 31] for place in range(6))


def test_one_data_has_one_text():
    assert bech32m.decode("dbk", with_checksum("dbk", [31, 28])) == b"\xff"
    for groups in ([31, 29], [31, 28, 0], [31, 30], [0]):  # padding of ones, a superfluous group
        with pytest.raises(ValueError, match="padding"):
            bech32m.decode("dbk", with_checksum("dbk", groups))
