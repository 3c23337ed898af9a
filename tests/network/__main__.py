"""`python -m tests.network NAME …`: each a measurement on real nodes, minutes long, that prints what it found."""

import importlib
import sys
import tempfile
from pathlib import Path

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if not path.stem.startswith("_") and not path.stem.endswith("_parts")
)


def main() -> None:
    unknown = [name for name in sys.argv[1:] if name not in NAMES]
    if unknown or not sys.argv[1:]:
        sys.exit(f"python -m tests.network NAME …, of {', '.join(NAMES)}")
    for name in sys.argv[1:]:
        print(f"--- {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            importlib.import_module(f"tests.network.{name}").main(Path(folder))


if __name__ == "__main__":
    main()
