"""The equation of an Ed25519 signature without the cofactor, asked of libraries. What else rule X3 wants stands before
it, in `keys.verify`.

OpenSSL is the reference. libsodium gives the same answers in about half of the time, and lets other threads run
meanwhile. But there are releases of it that hold the equation only up to the cofactor (PyNaCl 1.6.2 brings one that
does not), and a node with one of those would part from its network at the first signature that holds only so. So
libsodium is asked three known questions when this is loaded, and where one answer is not the rule's, OpenSSL answers
in its place.
"""

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

Equation = Callable[[bytes, bytes, bytes], bool]
"""Whether s·B − h·A encodes to exactly R, of a key A (32 bytes, as libsodium does not look), a signature R ‖ s (64) and
a message (any bytes). Only asked where s < L, and A and R are reduced and of large order."""


def by_openssl(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def by_libsodium(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return False
    return True


MIXED_KEY: Final = bytes.fromhex("57f9b25c7869fb84734dfb93b2d33bd391c87715e04bbab001e90704adb3a389")
OTHER_KEY: Final = bytes.fromhex("1af4668bdba78058c90fdb0a8daabf4f708bd4b98ed822e9cf9238da09c1ec48")
QUESTIONS: Final = (
    (
        MIXED_KEY,
        "f2e9ae1649e5508b0c787dc1c638ce73f939c32192c2c460a3f3af2caa4f861b"
        "b14b2a97de6c11cca988b6bba3276c1377fb215ad1bf0f469c22bba9f9294a02",
        b"deepblock 9",
        True,
    ),
    (
        MIXED_KEY,
        "f2e9ae1649e5508b0c787dc1c638ce73f939c32192c2c460a3f3af2caa4f861b"
        "f0b02a59d67e90f7402e14dd984daaa4e3fb78dd83b9304a795a88f10fef7607",
        b"deepblock 3",
        False,
    ),
    (
        OTHER_KEY,
        "1fc31d9e766bc3627f95214b0c693da475668c390cf7edad4b7fcf7524be401a"
        "78f46384e0610db94da40ab594ce5ccaaf574d878a45cd5aee3fc4423c231003",
        b"deepblock",
        False,
    ),
)
"""Key, signature, message, and the rule's answer: a key of mixed order whose signature holds, one whose signature holds
only with the cofactor, and an R of mixed order for which that is so."""


def is_without_cofactor(equation: Equation) -> bool:
    """Whether it answers as the rule does where libraries part."""
    return all(
        equation(key, bytes.fromhex(signature), message) is answer
        for key, signature, message, answer in QUESTIONS
    )


def chosen() -> Equation:
    return by_libsodium if is_without_cofactor(by_libsodium) else by_openssl


holds: Final = chosen()
