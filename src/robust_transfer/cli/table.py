"""a table that was made, as it can be read or set, or kept beside those of other configs

Exit status: 0, or 3 where it is not what the config of today asks for; then its first lines say so.
"""

import argparse
from pathlib import Path

from robust_transfer.cli import present
from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which table, and how."""
    present.arguments(parser)
    parser.add_argument(
        "name", metavar="STUDY/TABLE", help="e.g. davchev/table1, or a kept one: davchev/table1.<12 hex>"
    )
    parser.add_argument("--latex", action="store_true", help="as LaTeX, with the rules of booktabs")
    parser.add_argument("--keep", action="store_true", help="keep a copy under the name of its content")
    parser.add_argument("--kept", action="store_true", help="list the kept copies")


def run(options: argparse.Namespace) -> int:
    """Print it, or what is kept of it."""
    from robust_transfer.results import kept
    from robust_transfer.store import read_card, read_whole

    stem = options.results / "tables" / options.name
    card = stem.with_name(f"{stem.name}.json")
    if not card.is_file():
        raise UserError(f"there is no {stem} yet; make it with `snakemake --cores all {stem}.csv`")
    if options.keep:
        print(f"{kept.keep(stem)} stays when {stem} is made anew")
        return 0
    if options.kept:
        plain = kept.content_name(read_card(card))
        for path, of_path in kept.of(stem).items():
            print(f"{path.name}: {of_path['spec']['measured']}" + ", as the plain name" * path.name.endswith(plain))
        return 0
    whole = read_whole(card)
    remarks = present.remarks(options, f"tables/{options.name}")
    begin = "%" if options.latex else ">"
    print("".join(f"{begin} {line}\n" for line in [*remarks, ""] if remarks), end="")
    if options.latex:
        import pandas as pd

        from robust_transfer.tables.layout import latex

        print(latex(pd.read_parquet(f"{stem}.parquet"), whole["spec"]))
    else:
        print(Path(f"{stem}.md").read_text(encoding="utf-8"))
    return 3 if remarks else 0
