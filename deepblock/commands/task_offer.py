"""An offer in rows, for people."""

from typing import Final

from deepblock import api
from deepblock.amounts import format_dbk
from deepblock.commands.chain import table
from deepblock.commands.task import hours
from deepblock.sponsor.offer import Offer

GIGA: Final = 10**9

SMALL: Final = 8
"""Sessions that count so many times less than they could are worth a word."""


def describe_offer(found: Offer) -> str:
    spec, quote = found.spec, found.quote
    splits = f"{spec.n_train:,} examples to train on, {spec.n_heldout:,} held out"
    rows = [
        ("task", f"{spec.name}, {quote.task}"),
        ("data", f"{splits}; {list(spec.input_shape)}, {spec.classes} classes"),
        (
            "model",
            f"{found.parameters:,} parameters in {len(spec.layers)} layers, {_bytes(found.model_bytes)}",
        ),
        *(("note", note) for note in found.notes),
        ("session", f"{quote.session_macs:,} MACs: {found.passes:.2f} passes over the examples"),
        *_counted(quote),
        ("work", f"about {quote.sessions_per_block:,.1f} sessions for a block, of the whole network"),
        ("checking", f"{found.checking:.1%} of a session"),
        ("memory", f"{_bytes(found.training_bytes)} to train; {_bytes(found.data_bytes)} of files to fetch"),
        ("pay", f"{format_dbk(found.pay)} DBK a block, {_per_giga(found)} for 10⁹ MACs of a session"),
        ("escrow", f"{format_dbk(found.escrow)} DBK, {_spending(found)}"),
        ("target", _aim(found)),
        ("begins", _begins(found)),
        ("epochs", _epochs(quote)),
        (
            "lasts",
            f"{found.lasts:,} blocks of the chain, {hours(found.lasts * quote.block_time)}, at that share",
        ),
        (
            "ends",
            f"with the escrow, at the target, or after {quote.plateau} of its blocks without a gain of 0.1 %",
        ),
    ]
    return table(rows)


def _counted(quote: api.Quote) -> list[tuple[str, str]]:
    """What a miner thinks of sessions of this size."""
    if quote.session_macs > quote.counted_macs:
        return [
            ("counts as", f"{quote.counted_macs:,} MACs: dearer sessions win no more, so pay more for them")
        ]
    if quote.counted_macs * SMALL < quote.base_macs:
        less = f"{quote.base_macs / quote.counted_macs:,.0f} times less than one of the network's base task"
        return [("counts", f"{less}: miners will need as many; train more layers, or larger batches")]
    return []


def _per_giga(found: Offer) -> str:
    return format_dbk(found.pay * GIGA // found.quote.counted_macs)


def _spending(found: Offer) -> str:
    """Half of a block's pay is for the shares that it carries, and stays where there are fewer than places for them."""
    most = f"{2 * found.blocks:,}"
    return f"for {found.blocks:,} blocks, or up to {most} while few shares are carried; the rest comes back"


def _aim(found: Offer) -> str:
    if found.target_loss is None:
        return "none"
    return (
        f"a held-out loss of {found.target_loss:.4f}; the rules compare losses, so the accuracy may be "
        "higher or lower when it closes"
    )


def _begins(found: Offer) -> str:
    time = hours(found.blocks_to_wait * found.quote.block_time)
    signals = f"{found.quote.signals_needed} of {found.quote.signal_window} blocks signal its data"
    return f"at height {found.starts_at:,} at the earliest ({time}), once {signals}"


def _epochs(quote: api.Quote) -> str:
    time = hours(quote.epoch * quote.block_time)
    rivals = f"{len(quote.rivals):,} other tasks" if len(quote.rivals) != 1 else "one other task"
    return f"of {quote.epoch} blocks, {time}; at most every second one, of which {quote.share:.0%} beside {rivals}"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
