"""The norm has numbers: each rule stands in one row of consensus/README.md and in the docstring of what holds it."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "consensus" / "README.md").read_text()

ROW = re.compile(r"^\| ([A-Z]\d+) \| .+ \| `([\w.]+)` \|$", re.MULTILINE)
LOOKS_LIKE_A_ROW = re.compile(r"^\| *[A-Z]+\d+ *\|", re.MULTILINE)
HOLDS = re.compile(r"Rule ([A-Z]\d+)\. [^ ]")
MENTION = re.compile(r"\b[Rr]ules? ([A-Z]\d+)\b")


def documented(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    """Every function and class with a docstring, by its dotted place."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            here = f"{place}.{child.name}"
            if text := ast.get_docstring(child):
                yield here, text
            yield from documented(child, here)


FILES = sorted(file for package in ("consensus", "deepblock") for file in (ROOT / package).rglob("*.py"))
DOCSTRINGS = [
    (place, text)
    for file in FILES
    for place, text in documented(
        ast.parse(file.read_text()), ".".join(file.relative_to(ROOT).with_suffix("").parts)
    )
]
HELD = [(found[1], place) for place, text in DOCSTRINGS if (found := HOLDS.match(text))]
ROWS = [
    (rule, place if place.startswith("deepblock.") else f"consensus.{place}")
    for rule, place in ROW.findall(README)
]


def test_every_rule_has_one_row_and_one_holder_and_they_name_each_other():
    assert sorted(HELD) == sorted(ROWS)
    for listed in (HELD, ROWS):
        assert [rule for rule, times in Counter(rule for rule, _ in listed).items() if times > 1] == []


def test_no_row_and_no_docstring_is_overlooked():
    assert len(LOOKS_LIKE_A_ROW.findall(README)) == len(ROWS) > 60
    inside = [place for place, text in DOCSTRINGS if re.search(r"\bRule [A-Z]\d+\.", text)]
    assert sorted(inside) == sorted(place for _, place in HELD), "a number stands at the beginning, alone"


def test_each_letter_is_counted_from_one():
    numbers: dict[str, list[int]] = {}
    for rule, _ in ROWS:
        numbers.setdefault(rule[0], []).append(int(rule[1:]))
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_what_is_mentioned_exists():
    known = {rule for rule, _ in ROWS}
    mentioned = {rule for file in FILES for rule in MENTION.findall(file.read_text())}
    rows = {rule for rule in re.findall(r"\b([A-Z]\d+)\b", README) if rule[0] in "ABCDEFGHLNRSTWX"}
    assert (mentioned | rows) - known == set()
