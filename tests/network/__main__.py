"""`python -m tests.network NAME`: one of the modules beside this one. Exit status 1 where it finds something wrong."""

import argparse
import importlib
import pkgutil
import tempfile
from pathlib import Path

import tests.network

NAMES = sorted(
    module.name for module in pkgutil.iter_modules(tests.network.__path__) if module.name != "__main__"
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.network", description=tests.network.__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument(
        "--folder", type=Path, help="where the nodes' data and logs stay; else they are removed"
    )
    arguments = parser.parse_args()
    run = importlib.import_module(f"tests.network.{arguments.name}").main
    try:
        if arguments.folder:
            run(arguments.folder)
        else:
            with tempfile.TemporaryDirectory() as folder:
                run(Path(folder))
    except AssertionError as error:
        parser.exit(1, f"{arguments.name}: {error}\n")


if __name__ == "__main__":
    main()
