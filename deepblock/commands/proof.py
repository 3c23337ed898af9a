"""prove and verify-proof: what an address holds, shown to somebody who has nothing but a header."""

import json
from argparse import Namespace
from dataclasses import dataclass

from pydantic import TypeAdapter

from deepblock import api
from deepblock.amounts import format_dbk
from deepblock.cid import Cid
from deepblock.codec import decode
from deepblock.commands.chain import parse_address, table
from deepblock.commands.context import CommandError, Context, parse_cid
from deepblock.disk import write_whole
from deepblock.primitives import Address, Motes
from deepblock.state_proof import FalseProof, account_key, check_proof
from deepblock.types import Account

PROOF = TypeAdapter(api.StateProof)
MAX_FILE = 1 << 20
"""Bytes: a proof has at most 257 nodes of 130 digits."""


@dataclass(frozen=True, slots=True)
class Shown:
    """`height`: of the last block whose transactions are counted. `header`: the CID of the next one's, which commits to
    it."""

    address: Address
    balance: Motes
    nonce: int
    height: int
    header: Cid


def prove(context: Context, options: Namespace) -> int:
    address = parse_address(options.address) if options.address else context.wallet().address
    proof = context.client.state_get_proof(address)
    write_whole(options.output, PROOF.dump_json(proof, indent=1) + b"\n")
    rows = [
        ("file", str(options.output)),
        ("shows", f"what {address} held after block {proof.header.height - 1:,}"),
        ("header", f"{proof.header.cid} of block {proof.header.height:,}"),
        ("check it", f"deepblock verify-proof {options.output} --header {proof.header.cid}"),
    ]
    context.show(proof, table(rows))
    return 0


def verify_proof(context: Context, options: Namespace) -> int:
    """Raises CommandError where the file is no proof, proves nothing, or is of another header."""
    proof = _read(options)
    header = proof.header
    if options.header and header.cid != parse_cid(options.header, "a header"):
        raise CommandError(f"{options.file} is about header {header.cid}, not {options.header}")
    try:
        value = None if proof.value is None else bytes.fromhex(proof.value)
        nodes = [bytes.fromhex(node) for node in proof.nodes]
        check_proof(header.state_root, account_key(proof.address), value, nodes)
    except (FalseProof, ValueError) as error:
        raise CommandError(f"{options.file} proves nothing: {error}") from None
    account = Account() if value is None else decode(Account, value)
    shown = Shown(proof.address, account.balance, account.nonce, header.height - 1, header.cid)
    trust = "the one that you named" if options.header else "compare it with one that you trust (--header)"
    rows = [
        ("address", str(shown.address)),
        (
            "held",
            f"{format_dbk(shown.balance)} DBK after block {shown.height:,}; {shown.nonce:,} transactions sent",
        ),
        ("header", f"{shown.header} of block {header.height:,}: {trust}"),
    ]
    context.show(shown, table(rows))
    return 0


def _read(options: Namespace) -> api.StateProof:
    """As `prove` writes it, or as a node answers `state_getProof`."""
    with options.file.open("rb") as file:
        data = file.read(MAX_FILE)
    try:
        found = json.loads(data)
        answer = found["result"] if isinstance(found, dict) and "result" in found else found
        return PROOF.validate_json(json.dumps(answer))
    except (ValueError, RecursionError):
        raise CommandError(f"{options.file} is no proof; `deepblock prove -o FILE` writes one") from None
