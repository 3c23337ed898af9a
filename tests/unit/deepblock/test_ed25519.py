"""The equation of a signature: libsodium's answers are OpenSSL's, and it is asked only where they are."""

import json
from pathlib import Path

import pytest
from nacl.exceptions import BadSignatureError

from deepblock import ed25519, keys
from deepblock.ed25519 import QUESTIONS, by_libsodium, by_openssl, is_without_cofactor

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "ed25519.json").read_text())["cases"]


@pytest.mark.parametrize("equation", [by_openssl, by_libsodium])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_the_verdict_is_the_same_whichever_library_is_asked(monkeypatch, equation, case):
    monkeypatch.setattr(ed25519, "holds", equation)
    key, message, signature = (bytes.fromhex(case[name]) for name in ("key", "message", "signature"))
    assert keys.verify(key, signature, message) is case["valid"]


def test_the_questions_are_among_the_cases_on_which_libraries_disagree():
    known = {
        (case["key"], case["signature"], case["message"], case["valid"])
        for case in CASES
        if "mixed order" in case["case"]
    }
    asked = {(key.hex(), signature, message.hex(), answer) for key, signature, message, answer in QUESTIONS}
    assert asked < known


def test_the_locked_libsodium_is_used():
    assert is_without_cofactor(by_openssl)
    assert ed25519.holds is by_libsodium


@pytest.mark.parametrize(
    "answers", [(True, True, True), (True, True, False), (True, False, True), (False,) * 3]
)
def test_a_libsodium_that_answers_otherwise_is_not_used(monkeypatch, answers):
    """One with the cofactor, in the one way or the other, or one that refuses points of mixed order."""
    replies = iter(answers)

    def other(signed, key):
        if not next(replies):
            raise BadSignatureError

    monkeypatch.setattr(ed25519, "crypto_sign_open", other)
    assert ed25519.chosen() is by_openssl
