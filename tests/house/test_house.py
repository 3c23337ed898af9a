"""The house: who may import whom, and what the rules may not touch. Each rule is shown to be able to fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import rules
from tests.house.rules import HEAVY, LEVELS, RULES, TORCH_ROOMS, Module

ROOT = Path(__file__).parents[2]


def read(file: Path) -> Module:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return Module(".".join(parts).removesuffix(".__init__"), file.read_text())


MODULES = [read(file) for package in LEVELS for file in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_is_in_order(rule):
    assert [f"{module.name}: {problem}" for module in MODULES for problem in rule(module)] == []


def test_the_walk_has_seen_every_package():
    assert {module.package for module in MODULES} == set(LEVELS)


@pytest.mark.parametrize("package", LEVELS)
def test_every_package_says_what_lives_there(package):
    readme = ROOT / package / "README.md"
    assert readme.exists(), f"{package} has no README.md"
    assert len(readme.read_text()) > 500


LIGHT = [module.name for module in MODULES if not module.within(*TORCH_ROOMS)]


def test_nothing_outside_its_rooms_loads_torch():
    """Imports all that the daemon and the commands are made of, in one process."""
    code = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module(name)
    for heavy in {HEAVY}:
        if heavy in sys.modules:
            sys.exit(f"{{name}} loads {{heavy}}")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


BAD = [
    (rules.arrows_run_one_way, "deepblock.types", "import consensus.header"),
    (rules.arrows_run_one_way, "deepblock.types", "from node import chain"),
    (rules.arrows_run_one_way, "consensus.header", "from node.chain import Chain"),
    (rules.arrows_run_one_way, "consensus.header", "def f():\n    import node"),
    (rules.arrows_run_one_way, "node.app", "from tests.conftest import x"),
    (rules.imports_are_absolute, "consensus.header", "from . import seal"),
    (rules.imports_are_absolute, "consensus.header", "from .seal import x"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "import time"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "from random import choice"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "import os.path"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "import logging"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "def f():\n    import torch"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "from asyncio import Lock"),
    (rules.consensus_imports_nothing_impure, "consensus.header", "import structlog"),
    (rules.consensus_counts_in_integers, "consensus.header", "x = 0.5"),
    (rules.consensus_counts_in_integers, "consensus.header", "x = 1e3"),
    (rules.consensus_counts_in_integers, "consensus.header", "x = a / b"),
    (rules.consensus_counts_in_integers, "consensus.header", "x /= 2"),
    (rules.consensus_counts_in_integers, "consensus.header", "x = 2 ** -12"),
    (rules.consensus_counts_in_integers, "consensus.header", "x = math.log(2)"),
    (rules.consensus_counts_in_integers, "consensus.header", "from math import sqrt"),
    (rules.consensus_is_synchronous_and_touches_nothing, "consensus.header", "async def f(): pass"),
    (rules.consensus_is_synchronous_and_touches_nothing, "consensus.header", "x = float(1)"),
    (rules.consensus_is_synchronous_and_touches_nothing, "consensus.header", "open('x')"),
    (rules.consensus_is_synchronous_and_touches_nothing, "consensus.header", "print('x')"),
    (rules.consensus_is_synchronous_and_touches_nothing, "consensus.header", "def f():\n    global x"),
    (rules.consensus_catches_by_name, "consensus.header", "try: f()\nexcept Exception: pass"),
    (rules.consensus_catches_by_name, "consensus.header", "try: f()\nexcept (KeyError, BaseException): pass"),
    (rules.consensus_catches_by_name, "consensus.header", "try: f()\nexcept: pass"),
    (rules.torch_stays_in_its_rooms, "node.app", "import torch"),
    (rules.torch_stays_in_its_rooms, "node.app", "from numba.core import types"),
    (rules.torch_stays_in_its_rooms, "deepblock.tensors", "from torch.nn import Module"),
    (rules.torch_stays_in_its_rooms, "consensus.ensemble", "from deepblock.exact.grid import x"),
    (rules.torch_stays_in_its_rooms, "node.miner", "def f():\n    from deepblock import training"),
    (rules.torch_stays_in_its_rooms, "node.app", "from node.jobs.worker import main"),
    (rules.trio_stays_behind_the_door, "node.app", "import trio"),
    (rules.trio_stays_behind_the_door, "deepblock.client", "from libp2p import new_host"),
    (rules.files_and_functions_fit_in_a_head, "node.app", "x = 1\n" * 401),
    (rules.files_and_functions_fit_in_a_head, "node.app", "def f():\n" + "    x = 1\n" * 60),
]


@pytest.mark.parametrize(("rule", "name", "text"), BAD)
def test_a_rule_sees_what_breaks_it(rule, name, text):
    assert list(rule(Module(name, text)))


GOOD = [
    ("node.app", "import consensus.header\nfrom deepblock.cid import Cid\nx = 0.5 / 2"),
    ("consensus.header", "from math import isqrt\nimport math\nx = math.prod([1]) // 2 + 2 ** 8"),
    ("consensus.header", "try: f()\nexcept (KeyError, ValueError): pass"),
    ("deepblock.exact.grid", "import torch"),
    ("deepblock.commands.replay", "def f():\n    import torch"),
    ("node.jobs.worker", "from deepblock.training import session"),
    ("node.p2p.host", "import trio"),
    ("node.torchlight", "import trio_like"),
    ("node.app", "x = 1\n" * 400),
]


@pytest.mark.parametrize(("name", "text"), GOOD)
def test_what_is_allowed_passes(name, text):
    module = Module(name, text)
    assert [problem for rule in RULES for problem in rule(module)] == []


def test_every_rule_has_been_shown_to_fail():
    assert {rule for rule, _, _ in BAD} == set(RULES)
