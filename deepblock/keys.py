"""Ed25519 keys, the rule for signatures, and the wallet file (protocol: Ledger)."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deepblock import ed25519
from deepblock.disk import write_whole
from deepblock.primitives import Address, PublicKey, Signature
from deepblock.transactions import Payload, Transaction, signing_bytes

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_SMALL_ORDER_Y: Final = (
    0,
    1,
    _P - 1,
    int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    ),
    int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    ),
)
"""The y of the eight points whose order divides 8 (x and its sign do not matter)."""
_REFUSED_POINTS: Final = frozenset(
    (y | sign << 255).to_bytes(32, "little") for y in (*_SMALL_ORDER_Y, *range(_P, 2**255)) for sign in (0, 1)
)
"""All the encodings whose y is not reduced, or whose point is of small order: 48 of them."""


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Rule X3. Whether `signature` (64 bytes, R ‖ s) over `message` is by `key` (32 bytes).

    RFC 8032 without the cofactor, and stricter, so that every library that follows the rule agrees: s < L;
    the key and R are canonical encodings (y < p) and of large order; s·B − h·A encodes to exactly R.
    """
    if len(key) != PublicKey.SIZE or len(signature) != Signature.SIZE:
        return False
    if int.from_bytes(signature[32:], "little") >= _L:
        return False
    if key in _REFUSED_POINTS or signature[:32] in _REFUSED_POINTS:
        return False
    return ed25519.holds(key, signature, message)


class WalletError(Exception):
    """A wallet file that can't be used; the text names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """One key pair. `secret`: the 32-byte seed of RFC 8032, never shown by `repr`: logs and tracebacks travel."""

    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls(os.urandom(32))

    @property
    def key(self) -> PublicKey:
        return PublicKey(Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw())

    @property
    def address(self) -> Address:
        return self.key.address

    def sign(self, payload: Payload) -> Transaction:
        signature = Ed25519PrivateKey.from_private_bytes(self.secret).sign(signing_bytes(payload))
        return Transaction(payload, Signature(signature))

    def save(self, path: Path) -> None:
        """Written so that only the owner can read it. Never over another wallet: raises WalletError."""
        text = json.dumps({"address": str(self.address), "secret": self.secret.hex()}, indent=2) + "\n"
        try:
            write_whole(path, text.encode(), mode=0o600, over=False)
        except FileExistsError:
            raise WalletError(f"{path} exists already; move it away first, it may hold money") from None
        except OSError as error:
            raise WalletError(f"cannot write a wallet to {path}: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            fields = json.loads(path.read_text())
            wallet = cls(bytes.fromhex(fields["secret"]))
            named = Address.parse(fields["address"])
            derived = wallet.address
        except FileNotFoundError:
            raise WalletError(f"there is no wallet at {path}; `deepblock keys new` makes one") from None
        except OSError as error:
            raise WalletError(f"cannot read the wallet {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WalletError(f"{path} is not a wallet file ({error}); restore it from your copy") from None
        if named != derived:
            raise WalletError(
                f"{path} names {named}, but its secret belongs to {derived}; restore it from your copy"
            )
        return wallet

    @classmethod
    def load_or_new(cls, path: Path) -> Self:
        if not path.exists():
            cls.new().save(path)
        return cls.load(path)
