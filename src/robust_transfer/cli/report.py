"""one HTML file of claims, tables, figures, audit and run times, in which each number shows where it comes from"""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where it goes, and what is left out."""
    parser.add_argument("-o", "--output", type=Path, help="the file (RESULTS/report.html)")
    parser.add_argument("--no-audit", action="store_true", help="leave out the audit, which reads every file")


def run(options: argparse.Namespace) -> int:
    """Write it, and say where it is."""
    from robust_transfer import pace, report

    path = options.output or options.results / report.NAME
    report.write(options.results, path, audited=not options.no_audit)
    print(f"{path} ({pace.in_bytes(path.stat().st_size)}) opens in any browser")
    return 0
