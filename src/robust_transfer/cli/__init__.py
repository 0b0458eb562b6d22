"""The command `robust-transfer`: what was made, whether it can be believed, and what the config comes to.

A verb is one module here: the first line of its docstring is its help, `arguments` says what it takes, and `run` does
it and returns the exit status. What a verb shows is worked out elsewhere; here it is put on the screen.
"""

import argparse
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from robust_transfer.errors import UserError

VERBS = (
    "init",
    "plan",
    "status",
    "summary",
    "claims",
    "table",
    "trace",
    "report",
    "diff",
    "gc",
    "audit",
    "rebuild",
    "curves",
    "inspect",
    "pack",
    "verify",
    "config",
    "data",
    "schema",
)
"""The verbs, in the order in which --help lists them."""


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="robust-transfer", description=_first_line(__doc__))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in VERBS:
        verb = import_module(f"{__name__}.{name}")
        aliases = getattr(verb, "ALIASES", ())
        of_verb = verbs.add_parser(name, aliases=aliases, help=_first_line(verb.__doc__), description=verb.__doc__)
        verb.arguments(of_verb)
        of_verb.set_defaults(run=verb.run)
    options = parser.parse_args()
    try:
        sys.exit(options.run(options))
    except UserError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # `| head` has read enough; nothing more is written, at the interpreter's end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
