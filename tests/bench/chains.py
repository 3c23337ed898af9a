"""Chains whose training nobody did: every rule but the audit takes their blocks, and they cost next to nothing."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from consensus.ensemble import required_result
from consensus.seal import gate, limit, ticket
from consensus.task import bar
from consensus.template import candidate
from consensus.transition import apply_block
from deepblock.cid import RAW, Cid, cid_of_block
from deepblock.keys import Wallet
from deepblock.spec import session_macs
from deepblock.transactions import Transaction, Transfer
from deepblock.types import Block, Body, Header, Score, Seal
from node.chain import Chain

MINER = Wallet(sha256(b"miner").digest())


def grow(chain: Chain, bodies: Iterable[Body]) -> Iterator[Block]:
    """Commits a block on the head for each body, a block time after the last one, and hands it on."""
    for body in bodies:
        block = child(chain, body)
        state = chain.state()
        apply_block(chain.params, state, block, body, chain.past(block.header.parent))
        chain.commit(block, body, state.delta())
        yield block


def child(chain: Chain, body: Body) -> Block:
    """Of the head, a block time later. It is not committed."""
    below = chain.ancestry(chain.head.id)
    now = below.timestamps[0] + chain.params.block_time
    task = chain.state().schedule().current
    header = candidate(chain.params, chain.network, below, body.cid, MINER.address, 0, now, task)
    return _sealed(chain, header)


def _sealed(chain: Chain, header: Header) -> Block:
    """With states made up, one of which is changed until the ticket wins."""
    spec, task = chain.specs[header.task], chain.state().task(header.task)
    score = Score(max(0, bar(spec, task) + task.offset), spec.n_heldout)
    bound = limit(header.difficulty, gate(spec, task, score.loss), session_macs(spec))
    states = [_named(f"{header.height}/{index}") for index in range(spec.segments)]
    attempt = 0
    while True:
        states[-1] = _named(f"{header.height}/last/{attempt}")
        seal = Seal(tuple(states), _named(f"{header.height}/average"), score)
        if ticket(header, seal) < bound:
            break
        attempt += 1
    return Block(header, seal, required_result(seal, task))


def _named(text: str) -> Cid:
    """The CID of a file that nobody has."""
    return cid_of_block(text.encode(), RAW)


class Payers:
    """People who pay each other, the first to the second and so on: a transfer of each for a body."""

    def __init__(self, network: Cid, count: int) -> None:
        self._network = network
        self._wallets = [Wallet(sha256(f"payer {number}".encode()).digest()) for number in range(count)]
        self._addresses = [wallet.address for wallet in self._wallets]
        self._sent = [0] * count

    def funding(self, amount: int, miner: Wallet = MINER) -> Body:
        """`amount` motes for each of them, from a miner who has sent nothing yet."""
        transfers = (
            Transfer(self._network, miner.key, nonce, FEE, address, amount)
            for nonce, address in enumerate(self._addresses)
        )
        return Body(tuple(map(miner.sign, transfers)))

    def body(self, count: int) -> Body:
        """One transfer from each of the first `count`."""
        return Body(tuple(self._pay(number) for number in range(count)))

    def _pay(self, number: int) -> Transaction:
        wallet, to = self._wallets[number], self._addresses[number - 1]
        nonce = self._sent[number]
        self._sent[number] += 1
        return wallet.sign(Transfer(self._network, wallet.key, nonce, FEE, to, 1))


FEE = 4_000
"""Motes: enough for a transfer at 10 motes a byte."""
