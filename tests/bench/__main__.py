"""`make bench`, or `python -m tests.bench [NAME …] [--json [FILE]]`."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import structlog

from tests.bench import audits, blocks, breakdown, memory, p2p, rpc, steps
from tests.bench.table import Row, lines, machine

BENCHMARKS: dict[str, Callable[[], Iterator[Row]]] = {
    "steps": steps.measure,
    "breakdown": breakdown.measure,
    "audits": audits.measure,
    "blocks": blocks.measure,
    "rpc": rpc.measure,
    "memory": memory.measure,
    "p2p": p2p.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, beside baselines.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default"
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="also into FILE; without one, only JSON"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")

    facts, rows = machine(), []

    def measured() -> Iterator[Row]:
        for name in arguments.names or BENCHMARKS:
            for row in BENCHMARKS[name]():
                rows.append(row)
                yield row

    for line in lines(facts, measured()):
        if arguments.json != "-":
            print(line, flush=True)
    if arguments.json:
        text = json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
        if arguments.json == "-":
            sys.stdout.write(text)
        else:
            Path(arguments.json).write_text(text)
    return 0


if __name__ == "__main__":
    structlog.configure(  # stdout is the table's
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    sys.exit(main())
