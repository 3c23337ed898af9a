"""Those who claim training that was not done, or not by them: they look for tickets that cost less than a session."""

from collections.abc import Iterator
from typing import ClassVar, Final

from consensus.difficulty import cost
from consensus.seal import GATE_PASSED, limit, ticket
from consensus.task import bar
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.types import Block, Body, Header, Score, Seal, Share
from node.lab import training
from node.lab.honest import Honest, Session
from node.lab.peer import Peer
from node.lab.training import named
from node.lab.world import SPEC

TRIES: Final = 32
"""Free tickets that are tried at a time: more find more blocks, and all are found out."""

GLUED: Final = 8
"""One header in so many gets a false seal, from each gluer."""


class Forger(Honest):
    """Audits nobody, lest it finds its own."""

    def audit(self, block: Block, body: Body) -> None:
        pass

    def audit_share(self, share: Share) -> None:
        pass

    def audit_idly(self) -> None:
        pass

    def good(self, header: Header, seal: Seal) -> bool:
        """Whether the seal would give a block on the head, or a share."""
        ratio = 1 if header.parent == self.parent() else self.params.share_ratio
        spec = self.ledger.spec(header.parent, header.task)
        return ticket(header, seal) < limit(header.difficulty, GATE_PASSED, cost(self.params, spec), ratio)

    def thin_air(self, attempt: int, count: int) -> tuple[Cid, ...]:
        """States that nobody computed."""
        return tuple(named(b"%d/%d/%d/%d" % (self.number, self.nonce, attempt, i)) for i in range(count))


class Faker(Forger):
    """One segment ends in a state out of thin air; those after it are trained from there, as an audit of the last
    would show. So the first ticket of a header costs a segment less, and each further one what comes after the false
    segment."""

    stopped_by = "audits that draw the segment, accusations, fraud proofs against carried shares"
    after: ClassVar[int] = 0
    """Segments after the false one."""

    def duration(self, header: Header, spec: TaskSpec) -> float:
        return super().duration(header, spec) * (spec.segments - 1) / spec.segments

    def finish(self, session: Session) -> None:
        header = session.header
        spec, task = (
            self.ledger.spec(header.parent, header.task),
            self.ledger.task(header.parent, header.task),
        )
        false = spec.segments - self.after
        honest = training.run(header, task, 1, false - 1, ())
        for _ in range(1 if self.after else TRIES):
            self.nonce += 1
            states = training.run(header, task, false + 1, spec.segments, honest + self.thin_air(0, 1))
            seal = training.seal_of(header, spec, task, states)
            if self.good(header, seal):
                break
        self.offer(session, seal)
        if (
            header.parent == self.parent()
            and not self.good(header, seal)
            and 0 < self.after < spec.segments - 1
        ):
            again = Session(header, session.body, self.world.now, self.after / self.power)
            self.session = again
            self.world.after(again.takes, self._end, again)


class FakerOfFirst(Faker):
    """Trains from a first state that nobody computed."""

    after = SPEC.segments - 1


class FakerOfLastButOne(Faker):
    """Invents the last state but one, again and again: a ticket then costs one segment."""

    after = 1


class FakerOfLast(Faker):
    """Invents the last state, again and again: a ticket then costs nothing."""


class Grinder(Forger):
    """Trains honestly; where the session loses, claims the loss that the gate asks for, or shuffles the states before
    the last but one until the ticket wins."""

    stopped_by = "the score is computed in every audit, and shuffled states do not follow from each other"

    def offer(self, session: Session, seal: Seal) -> None:
        header = session.header
        if header.parent == self.parent() and not self.wins(header, seal):
            seal = self._ground(header, seal)
        super().offer(session, seal)

    def _ground(self, header: Header, seal: Seal) -> Seal:
        task = self.ledger.task(header.parent, header.task)
        spec = self.ledger.spec(header.parent, header.task)
        passing = Score(max(0, min(seal.score.loss, bar(spec, task) + task.offset)), 0)
        for attempt in range(TRIES):
            states = list(seal.states[:-2])
            if attempt:
                self.world.rng.shuffle(states)
            tried = Seal((*states, *seal.states[-2:]), seal.average, passing)
            if self.wins(header, tried):
                return tried
        return seal


class Thief(Forger):
    """Puts the states of others under headers of its own, until a ticket wins."""

    stopped_by = "the seed is a hash of the header, miner and all: no state follows from the thief's"

    def hear_share(self, sender: Peer, share: Share) -> None:
        super().hear_share(sender, share)
        if share.header.parent == self.parent() and self.world.rng.randrange(4) == 0:
            self._steal(share.seal)

    def _steal(self, seal: Seal) -> None:
        body = self.body(self.parent())
        for _ in range(TRIES):
            header = self.header(self.parent(), body)
            if self.wins(header, seal):
                self.offer(Session(header, body, self.world.now, 0.0), seal)
                return


class Gluer(Forger):
    """Glues false seals to headers of honest blocks and shares, so that the honest ones be refused. Its blocks carry
    others' sessions with such seals, which it proves false itself, for the prize."""

    stopped_by = (
        "verdicts hang on the id, which is of the seal too; what is proven false may be carried anew (C7), and its "
        "carrier answers for it (R7)"
    )

    def hear_block(self, sender: Peer, block: Block, body: Body) -> None:
        known = block.header.parent in self.ledger.entries
        if known and block.id not in self.tree.nodes and (seal := self._false(block.header, block.seal)):
            glued = Block(block.header, seal, self.ledger.result(block.header, seal, body)[0])
            self.world.broadcast(self, "block", glued, body)
        super().hear_block(sender, block, body)

    def hear_share(self, sender: Peer, share: Share) -> None:
        known = share.header.parent in self.ledger.entries
        if known and share.id not in self.shares and (seal := self._false(share.header, share.seal)):
            self.world.broadcast(self, "share", Share(share.header, seal))
        super().hear_share(sender, share)

    def choose(self, parent: Cid) -> Iterator[Share]:
        ours = {peer.address for peer in self.gang}
        for share in super().choose(parent):
            if share.header.miner in ours:
                yield share
            elif seal := self._glued(share.header, share.seal):
                false = Share(share.header, seal)
                self.false_shares[false.id] = len(seal.states)
                if self.ledger.judge_share(false) is None:
                    yield false

    def _false(self, header: Header, seal: Seal) -> Seal | None:
        return None if self.world.rng.randrange(GLUED) else self._glued(header, seal)

    def _glued(self, header: Header, seal: Seal) -> Seal | None:
        for attempt in range(TRIES):
            self.nonce += 1
            glued = Seal((*seal.states[:-1], *self.thin_air(attempt, 1)), seal.average, seal.score)
            if self.good(header, glued):
                return glued
        return None


class ShareSpammer(Forger):
    """Beside its honest work, floods the others with shares that nobody trained, carries some, and proves them false
    itself, for the prize."""

    stopped_by = "of each share that is heard of or carried the last segment and two more are replayed"

    def finish(self, session: Session) -> None:
        super().finish(session)
        body = self.ledger.body((), (), ())
        header = self.header(self.parent(), body)
        spec = self.ledger.spec(header.parent, header.task)
        for attempt in range(TRIES):
            states = self.thin_air(attempt, spec.segments)
            share = Share(header, Seal(states, named(b"average", *states), Score(1, 0)))
            if self.ledger.judge_share(share) is None:
                self.world.broadcast(self, "share", share)
                self.shares[share.id] = share
                self.false_shares[share.id] = spec.segments
                return
