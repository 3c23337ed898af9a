"""Fraud proofs: accusations of shares that blocks carry (protocol: Audit and fraud).

A false share does not make its carrier false; a FraudProof transaction takes back what it was paid. So whoever is idle
replays the carried shares that it never heard of, and accuses those that are false. A block with an untrue accusation
is false itself: a miner carries none that this node has not redone.
"""

from collections.abc import Iterator
from dataclasses import replace

import structlog

from consensus.audit import step_number
from consensus.errors import Fraud, RuleError
from deepblock.cid import Cid
from deepblock.keys import Wallet
from deepblock.transactions import FraudProof, Transaction
from deepblock.types import Share
from node.auditor import AuditFailed, Auditor, DataMissing
from node.chain import Chain
from node.mempool import Mempool
from node.pipeline import Pipeline

log = structlog.get_logger("proofs")

REMEMBERED = 4096
"""Blocks, shares and accusations that were looked at."""


class Proofs:
    """Judges the accusations that wait, and makes them. `wallet`: signs them, and pays their fees."""

    def __init__(
        self, chain: Chain, auditor: Auditor, mempool: Mempool, pipeline: Pipeline, wallet: Wallet
    ) -> None:
        self._chain = chain
        self._auditor = auditor
        self._mempool = mempool
        self._pipeline = pipeline
        self._wallet = wallet
        self._looked_at: dict[Cid, bool] = {}
        """By id, and whether an accusation that is one of them is true."""

    def hold(self, transaction: Transaction) -> bool:
        """Whether a body may have this transaction: an accusation only where it is known to be true."""
        return not isinstance(transaction.payload, FraudProof) or self._looked_at.get(transaction.id, False)

    async def look(self) -> bool:
        """Audits one thing: an accusation that waits, else a carried share. False: there was nothing to do."""
        for transaction in self._mempool.pending():
            payload = transaction.payload
            if isinstance(payload, FraudProof) and transaction.id not in self._looked_at:
                self._note(transaction.id, await self._is_true(payload))
                return True
        for height, share in self._unheard():
            self._note(share.id)
            await self._replay(share, height)
            return True
        return False

    # --- inside --------------------------------------------------------------------------------------------

    def _note(self, id_: Cid, true: bool = False) -> None:
        self._looked_at[id_] = true
        while len(self._looked_at) > REMEMBERED:
            del self._looked_at[next(iter(self._looked_at))]

    async def _is_true(self, proof: FraudProof) -> bool:
        try:
            await self._auditor.audit_accusation(self._chain.head.id, proof)
        except (Fraud, DataMissing, AuditFailed) as error:
            log.info("accusation_not_carried", share=str(proof.share), reason=str(error))
            return False
        return True

    def _unheard(self) -> Iterator[tuple[int, Share]]:
        """What the last blocks carry and this node has not looked at, with the carrier's height; the newest first.
        Their pay is still to come, so it can be taken back."""
        head = self._chain.head.height
        for height in range(head, max(0, head - self._chain.params.maturity), -1):
            id_ = self._chain.id_at(height)
            if id_ is None or id_ in self._looked_at:  # so that an idle node reads each body once
                continue
            block = self._chain.block(id_)
            body = self._chain.body(block) if block else None
            if body is None:
                continue
            for share in body.shares:
                if share.id not in self._looked_at and not self._auditor.is_audited(share):
                    yield height, share
            self._note(id_)

    async def _replay(self, share: Share, height: int) -> None:
        try:
            await self._auditor.audit_share(share, None)
        except Fraud as fraud:
            await self._accuse(share, height, fraud)
        except (DataMissing, AuditFailed) as error:
            log.info("share_not_replayed", share=str(share.id), reason=str(error))

    async def _accuse(self, share: Share, height: int, fraud: Fraud) -> None:
        step = step_number(len(share.seal.states), fraud.step)
        log.warning("false_share_carried", share=str(share.id), height=height, reason=str(fraud))
        if step is None:
            return
        params, wallet = self._chain.params, self._wallet
        nonce = self._mempool.next_nonce(wallet.address, self._chain.state())
        proof = FraudProof(self._chain.network, wallet.key, nonce, 0, share.id, height, step)
        while proof.fee < (least := params.fee_per_byte * wallet.sign(proof).size):
            proof = replace(proof, fee=least)
        transaction = wallet.sign(proof)
        self._note(transaction.id, True)
        try:
            self._pipeline.submit_transaction(transaction, "own")
        except RuleError as error:  # another was faster, or there is no money for the fee
            log.info("accusation_not_sent", share=str(share.id), reason=str(error))
