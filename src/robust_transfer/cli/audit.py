"""check every result against its card"""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be done about damage."""
    parser.add_argument("--repair", action="store_true", help="take damaged outputs away, so that they are made anew")


def run(options: argparse.Namespace) -> int:
    """Print every finding; 1 where something is damaged and stays so."""
    from robust_transfer import audit

    all_of_it = audit.Audit(options.results)
    damages = list(all_of_it.damages())
    count = len(all_of_it.folders), len(all_of_it.product_cards)
    for finding in damages:
        print(f"damaged: {finding.what}")
    for remark in all_of_it.remarks():
        print(f"note: {remark}")
    print(f"root of all cards: {all_of_it.root}")
    print(f"{count[0]} nodes and {count[1]} tables, figures and verdicts audited: {len(damages)} damaged")
    if damages and options.repair:
        missing = audit.repair(damages)
        print("The damaged files are taken away. This makes just these anew:\n")
        print("  snakemake --cores all " + " ".join(map(str, missing)))
        return 0
    if damages:
        print("`robust-transfer audit --repair` takes them away and says how to make just these anew.")
    return 1 if damages else 0
