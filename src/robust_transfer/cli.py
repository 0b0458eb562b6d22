"""The command `robust-transfer`: what was made, whether it can be believed, and what the config comes to."""

import argparse
import json
import sys
from itertools import groupby
from pathlib import Path

from robust_transfer.errors import UserError


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="robust-transfer", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("summary", help="what was made, where to look, and what it says of the papers' claims")
    commands.add_parser("claims", help="what the results say of the papers' claims, study by study")
    table = commands.add_parser("table", help="a table that was made, as it can be read or set")
    table.add_argument("name", metavar="STUDY/TABLE", help="e.g. davchev/table1")
    table.add_argument("--latex", action="store_true", help="as LaTeX, with the rules of booktabs")
    audit = commands.add_parser("audit", help="check every result against its card")
    audit.add_argument("--repair", action="store_true", help="take damaged outputs away, so that they are made anew")
    config = commands.add_parser("config", help="every value of the config, and the layer that it came from")
    config.add_argument("path", nargs="?", help="a part of the config, e.g. davchev.attacks; all unless given")
    config.add_argument("--configfile", "--configfiles", type=Path, nargs="+", action="extend", default=[])
    config.add_argument("--config", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    config.add_argument("--json", action="store_true", help="print {path: {value, layer, switch}}")
    schema = commands.add_parser("schema", help="the JSON schema of the config, with which an editor completes it")
    schema.add_argument(
        "--write", action="store_true", help="write it and the pages of the same source in this project"
    )
    options = parser.parse_args()
    try:
        if options.command == "config":
            sys.exit(_config(options.path, options.configfile, options.config, options.json))
        if options.command == "schema":
            sys.exit(_schema(options.write))
        if options.command == "claims":
            sys.exit(_claims(options.results))
        if options.command == "table":
            sys.exit(_table(options.results / "tables" / options.name, options.latex))
        sys.exit(_summary(options.results) if options.command == "summary" else _audit(options.results, options.repair))
    except UserError as error:
        sys.exit(str(error))


def _summary(results: Path) -> int:
    from robust_transfer.plan import freeze
    from robust_transfer.plan.graph import ENDINGS

    plan = freeze.thaw(freeze.newest(results))
    made = [product for product in plan.products.values() if (results / f"{product.stem}.json").exists()]
    nodes = sum((results / node.card).exists() for node in plan.nodes.values())
    print(f"{nodes} of {len(plan.nodes)} nodes are made, and {len(made)} of {len(plan.products)} tables, figures and")
    print("pages of verdicts:")
    for (folder, kind), group in groupby(made, lambda product: (str(Path(product.stem).parent), product.kind)):
        names = [Path(product.stem).name for product in group]
        chosen = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        print(f"  {results / folder}/{chosen}.{{{','.join(ENDINGS[kind])}}}")
    print(f"Where each number came from: the nodes column of the .parquet, then {results}/<kind>/<node>/card.json;")
    print("`robust-transfer audit` checks all of it. What to run is said in config.yaml.")
    return _claims(results) if (results / "claims.parquet").exists() else 0


def _claims(results: Path) -> int:
    import pandas as pd

    from robust_transfer.claims.verdicts import screen

    path = results / "claims.parquet"
    if not path.exists():
        raise UserError(f"{path} is not made yet; `snakemake --cores all {path.with_suffix('.csv')}` makes it")
    print("\nWhat the papers claim, held against what was measured here:")
    print("\n".join(screen(pd.read_parquet(path), str(results / "claims"))))
    return 0


def _table(stem: Path, as_latex: bool) -> int:
    card = stem.with_name(f"{stem.name}.json")
    if not card.is_file():
        raise UserError(f"there is no {stem} yet; make it with `snakemake --cores all {stem}.csv`")
    if as_latex:
        import pandas as pd

        from robust_transfer.store import read_card
        from robust_transfer.tables.layout import latex

        print(latex(pd.read_parquet(f"{stem}.parquet"), read_card(card)["spec"]))
    else:
        print(Path(f"{stem}.md").read_text(encoding="utf-8"))
    return 0


def _audit(results: Path, wants_repair: bool) -> int:
    from robust_transfer import audit

    all_of_it = audit.Audit(results)
    damages = list(all_of_it.damages())
    count = len(all_of_it.folders), len(all_of_it.product_cards)
    for finding in damages:
        print(f"damaged: {finding.what}")
    for remark in all_of_it.remarks():
        print(f"note: {remark}")
    print(f"root of all cards: {all_of_it.root}")
    print(f"{count[0]} nodes and {count[1]} tables, figures and verdicts audited: {len(damages)} damaged")
    if damages and wants_repair:
        missing = audit.repair(damages)
        print("The damaged files are taken away. This makes just these anew:\n")
        print("  snakemake --cores all " + " ".join(map(str, missing)))
        return 0
    if damages:
        print("`robust-transfer audit --repair` takes them away and says how to make just these anew.")
    return 1 if damages else 0


def _config(path: str | None, configfiles: list[Path], assignments: list[str], as_json: bool) -> int:
    from robust_transfer.plan.effective import as_lines, narrowed
    from robust_transfer.plan.layers import of_user
    from robust_transfer.studies import effective

    found = effective(of_user(Path("config.yaml"), configfiles, assignments), Path("workflow"))
    if path:
        found = narrowed(found, path)
    if as_json:
        shown = {item.path: {"value": item.value, "layer": item.layer, "switch": item.switch} for item in found}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print("\n".join(as_lines(found)))
    return 0


def _schema(wants_files: bool) -> int:
    from robust_transfer.reference import pages, schema

    if wants_files:
        for path, text in pages.files(Path()).items():
            path.write_text(text, encoding="utf-8")
    else:
        print(schema.as_text(schema.schema()), end="")
    return 0
