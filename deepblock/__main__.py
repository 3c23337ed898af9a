"""Where the command `deepblock` begins: half a second of imports, which Ctrl-C may end like everything else."""

import signal
import sys


def main() -> int:
    try:
        from deepblock.cli import main as run

        return run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another one, while Python ends, would be a traceback
        return 130


if __name__ == "__main__":
    sys.exit(main())
