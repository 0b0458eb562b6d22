"""Make one node, table or figure: `python -m robust_transfer.run <stage> <node id or study/name>`.

Started by the rules of the workflow, or by hand. This client is light: on one machine a warm process does the work.
"""

import os
import sys

if not __package__:  # started by its path, as the rules do, so that no search path decides whose code runs
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))


def main(arguments: list[str]) -> int:
    """Have the thing made, and say how it ended, see command.make; returns the exit status.

    `warm` is the server, `bundle FILE` several things in one job of a cluster, `networks` the look at networks before
    the first job.
    """
    if arguments == ["warm"]:
        from robust_transfer.run import warm

        return warm.main()
    if arguments == ["networks"]:
        from robust_transfer.run import networks

        return networks.main()
    if arguments[:1] == ["bundle"]:
        from robust_transfer.run import bundle

        return bundle.main(arguments[1])
    try:
        if os.environ.get("ROBUST_TRANSFER_WARM") == "1":
            del os.environ["ROBUST_TRANSFER_WARM"]  # a 0 stays, by which a cluster's job knows that it is one
            from robust_transfer.run import client

            if client.available() and (status := client.ask(arguments)) is not None:
                return status
        from robust_transfer.run.command import arguments_of, make  # imports more than the client does in all

        return make(arguments_of(arguments))
    except KeyboardInterrupt:
        from robust_transfer.run.command import STOPPED, arguments_of, end

        return end(STOPPED, arguments_of(arguments), 130)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
