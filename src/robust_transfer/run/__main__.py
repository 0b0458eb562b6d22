"""Make one node, table or figure: `python -m robust_transfer.run <stage> <node id or study/name>`.

Started by the rules of the workflow, or by hand. This client is light: on one machine a warm process does the work.
"""

import os
import sys
from pathlib import Path

if not __package__:  # started by its path, as the rules do, so that no search path decides whose code runs
    sys.path.insert(0, str(Path(__file__).parents[2]))

from robust_transfer.run.command import STOPPED, arguments_of, end, make


def main(arguments: list[str]) -> int:
    """Have the thing made, and say how it ended, see command.make; `warm` is the server; returns the exit status."""
    if arguments == ["warm"]:
        from robust_transfer.run import warm

        return warm.main()
    options = arguments_of(arguments)
    try:
        if os.environ.pop("ROBUST_TRANSFER_WARM", "0") == "1":
            from robust_transfer.run import warm

            if warm.available() and (status := warm.ask(arguments)) is not None:
                return status
        return make(options)
    except KeyboardInterrupt:
        return end(STOPPED, options, 130)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
