"""The rules of the house, as functions from a module to what is wrong with it."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

LEVELS = {"deepblock": 0, "consensus": 1, "node": 2}
"""Arrows run one way: node → consensus → deepblock."""

HEAVY = {"llvmlite", "numba", "torch"}
"""What costs the daemon 200 MB and more than a second."""

TORCH_ROOMS = ("deepblock.exact", "deepblock.training", "node.jobs.perform", "node.jobs.worker")
"""Where torch and Numba may be imported. The daemon loads none of them: `node.jobs.worker` is another process."""

TORCH_ON_DEMAND = ("deepblock.commands.replay",)
"""A command in a process of its own, which loads torch when it runs and not when it is imported."""

P2P_ROOM = "node.p2p"
"""The one door to trio."""

# fmt: off
PURE_IMPORTS = {
    "bisect", "collections", "dataclasses", "enum", "functools", "hashlib",
    "heapq", "itertools", "math", "operator", "types", "typing",
}
# fmt: on
"""All that consensus may use of others: no clock, no randomness, no I/O, no logging, no floats."""

PURE_MATH = {"ceil", "comb", "floor", "gcd", "isqrt", "lcm", "prod"}
"""What of `math` gives integers for integers."""

IMPURE_CALLS = {"__import__", "breakpoint", "complex", "eval", "exec", "float", "input", "open", "print"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Module:
    name: str
    """Dotted; of a package, its `__init__`: the package's name."""
    text: str

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    def within(self, *rooms: str) -> bool:
        return any(is_within(self.name, room) for room in rooms)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """Every imported module with its line, also inside functions. `from a import b` may mean a.b too."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def arrows_run_one_way(module: Module) -> Iterator[str]:
    for line, name in module.imports:
        level = LEVELS.get(name.partition(".")[0])
        if level is not None and level > LEVELS[module.package]:
            yield f"line {line}: {module.package} imports {name}"
        if is_within(name, "tests"):
            yield f"line {line}: imports from the tests"


def imports_are_absolute(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"line {node.lineno}: a relative import"


def consensus_imports_nothing_impure(module: Module) -> Iterator[str]:
    if module.package != "consensus":
        return
    for line, name in module.imports:
        if name.partition(".")[0] not in PURE_IMPORTS | {"consensus", "deepblock"}:
            yield f"line {line}: imports {name}"


def consensus_counts_in_integers(module: Module) -> Iterator[str]:
    if module.package != "consensus":
        return
    for node in module.nodes:
        match node:
            case ast.Constant(value=float() | complex(), lineno=line):
                yield f"line {line}: the number {node.value}"
            case ast.BinOp(op=ast.Div(), lineno=line) | ast.AugAssign(op=ast.Div(), lineno=line):
                yield f"line {line}: a division that gives a float"
            case ast.BinOp(op=ast.Pow(), right=ast.UnaryOp(op=ast.USub()), lineno=line):
                yield f"line {line}: a power that gives a float"
            case ast.Attribute(value=ast.Name(id="math"), attr=attr, lineno=line) if attr not in PURE_MATH:
                yield f"line {line}: math.{attr}"
            case ast.ImportFrom(module="math", names=names, lineno=line):
                yield from (f"line {line}: math.{name.name}" for name in names if name.name not in PURE_MATH)


def consensus_is_synchronous_and_touches_nothing(module: Module) -> Iterator[str]:
    if module.package != "consensus":
        return
    for node in module.nodes:
        match node:
            case ast.AsyncFunctionDef(lineno=line) | ast.AsyncFor(lineno=line) | ast.AsyncWith(lineno=line):
                yield f"line {line}: async"
            case ast.Call(func=ast.Name(id=name), lineno=line) if name in IMPURE_CALLS:
                yield f"line {line}: calls {name}()"
            case ast.Global(lineno=line):
                yield f"line {line}: global state"


def consensus_catches_by_name(module: Module) -> Iterator[str]:
    if module.package != "consensus":
        return
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = (
                {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {""}
            )
            if caught & {"", "Exception", "BaseException"}:
                yield f"line {node.lineno}: catches everything, bugs too"


def torch_stays_in_its_rooms(module: Module) -> Iterator[str]:
    if module.within(*TORCH_ROOMS, *TORCH_ON_DEMAND):
        return
    for line, name in module.imports:
        if name.partition(".")[0] in HEAVY:
            yield f"line {line}: imports {name}"
        elif module.package != "deepblock" and any(is_within(name, room) for room in TORCH_ROOMS):
            yield f"line {line}: imports {name}, and torch with it"


def trio_stays_behind_the_door(module: Module) -> Iterator[str]:
    if module.within(P2P_ROOM):
        return
    for line, name in module.imports:
        if name.partition(".")[0] in {"anyio", "libp2p", "multiaddr", "trio"}:
            yield f"line {line}: imports {name}"


def files_and_functions_fit_in_a_head(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{lines} lines; at most {MAX_FILE_LINES}"
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {length} lines; at most {MAX_FUNCTION_LINES}"


RULES: list[Callable[[Module], Iterator[str]]] = [
    arrows_run_one_way,
    imports_are_absolute,
    consensus_imports_nothing_impure,
    consensus_counts_in_integers,
    consensus_is_synchronous_and_touches_nothing,
    consensus_catches_by_name,
    torch_stays_in_its_rooms,
    trio_stays_behind_the_door,
    files_and_functions_fit_in_a_head,
]
