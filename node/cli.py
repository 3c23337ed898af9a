"""The command `deepblock-node`. Loading the daemon takes a second or two: that is done inside `main`, where Ctrl-C
is no traceback."""

import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 after one plain sentence on stderr; 130 after Ctrl-C before the node has started."""
    try:
        from node.commands import execute

        return execute(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another one, while Python ends, would be a traceback
        return 130


if __name__ == "__main__":
    sys.exit(main())
