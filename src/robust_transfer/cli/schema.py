"""the JSON schema of the config, with which an editor completes it"""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whether files are to be written."""
    parser.add_argument(
        "--write", action="store_true", help="write it and the pages of the same source in this project"
    )


def run(options: argparse.Namespace) -> int:
    """Print it, or write all that is generated from it."""
    from robust_transfer.reference import pages, schema

    if options.write:
        for path, text in pages.files(Path()).items():
            path.write_text(text, encoding="utf-8")
    else:
        print(schema.as_text(schema.schema()), end="")
    return 0
