"""The options that name a config, for the verbs that look at the config of today, and what it comes to."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robust_transfer.studies import Present


def arguments(parser: argparse.ArgumentParser) -> None:
    """The layers that are laid over config.yaml, as Snakemake takes them."""
    parser.add_argument("--configfile", "--configfiles", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("--config", nargs="+", action="extend", default=[], metavar="KEY=VALUE")


def present(options: argparse.Namespace) -> "Present":
    """What config.yaml in this folder, with these layers over it, comes to.

    Raises:
        UserError: with every mistake in the config, a line each.
    """
    from robust_transfer.plan.layers import of_user
    from robust_transfer.studies import Present

    return Present(of_user(Path("config.yaml"), options.configfile, options.config), Path("workflow"))


def remarks(options: argparse.Namespace, stem: str) -> list[str]:
    """What is to be said beside a product that is shown, a line each: nothing where it is what the config asks for.

    Where there is no config here the screen says so: results may be read far from what made them.
    """
    from robust_transfer.results import status

    if not Path("config.yaml").exists():
        print("there is no config.yaml here: whether this is what it asks for is not known", file=sys.stderr)
        return []
    now = present(options)
    return status.remarks(status.Status(now.plan, options.results), now.values, stem)
