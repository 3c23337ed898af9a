"""Amounts of money as people write them: DBK with up to eight decimals. Everything else counts in motes."""

import re

from deepblock.primitives import DBK

_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,8}))?")


def parse_dbk(text: str) -> int:
    """Motes in '12.5' DBK, exactly. Raises ValueError."""
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not an amount of DBK such as 12 or 0.05 (at most 8 decimals)")
    whole, decimals = found.groups()
    return int(whole) * DBK + int((decimals or "").ljust(8, "0"))


def format_dbk(motes: int) -> str:
    """'1,250.5' for 125,050,000,000 motes: what `parse_dbk` reads, but for the commas."""
    whole, rest = divmod(motes, DBK)
    return f"{whole:,}" + (f".{rest:08}".rstrip("0") if rest else "")
