"""Whatever is signed, and whatever is changed in it: libsodium says what OpenSSL says."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from deepblock import ed25519
from deepblock.ed25519 import by_libsodium, by_openssl
from deepblock.keys import Wallet, verify

SECRETS = st.binary(min_size=32, max_size=32)


@given(SECRETS, st.binary(max_size=300))
@settings(max_examples=100)
def test_what_is_signed_holds(secret, message):
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(message)
    key = Wallet(secret).key
    assert by_openssl(key, signature, message)
    assert by_libsodium(key, signature, message)
    assert verify(key, signature, message)


@given(SECRETS, st.binary(max_size=100), st.integers(0, 95), st.integers(1, 255))
@settings(max_examples=300)
def test_a_changed_byte_gets_the_same_answer(secret, message, place, change):
    signed = bytearray(Wallet(secret).key + Ed25519PrivateKey.from_private_bytes(secret).sign(message))
    signed[place] ^= change
    key, signature = bytes(signed[:32]), bytes(signed[32:])
    assert by_libsodium(key, signature, message) is by_openssl(key, signature, message) is False
    assert verify(key, signature, message) is False


@given(SECRETS, st.binary(min_size=64, max_size=64), st.binary(max_size=100))
@settings(max_examples=200)
def test_any_bytes_as_signature_or_key_get_the_same_answer(secret, signature, message):
    for key in (Wallet(secret).key, secret):
        answers = []
        for equation in (by_libsodium, by_openssl):
            with pytest.MonkeyPatch.context() as here:
                here.setattr(ed25519, "holds", equation)
                answers.append(verify(key, signature, message))
        assert answers[0] is answers[1]
