"""how trainings went: loss, learning rate and accuracies by epoch, as a figure"""

import argparse
from pathlib import Path

from robust_transfer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, and where to."""
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="a trained model: its id, or a part that is its alone")
    parser.add_argument("-o", "--output", type=Path, default=Path("curves.png"), help="png, svg or pdf (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Draw them."""
    import pandas as pd

    from robust_transfer import store
    from robust_transfer.figures.history import draw
    from robust_transfer.stages.job import HISTORY
    from robust_transfer.stages.node import KINDS

    if options.output.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"{options.output} is no .png, .svg or .pdf; name one with -o")
    trained = [kind for kind, about in KINDS.items() if HISTORY in about.beside]
    histories = {}
    for folder in [store.find(options.results, name, trained) for name in options.nodes]:
        if not (folder / HISTORY).is_file():
            raise UserError(f"{folder} has no {HISTORY}: it was made before they were kept, or it was deleted")
        histories[folder.name] = pd.read_csv(folder / HISTORY)
    figure = draw(histories)
    with store.replacing(options.output) as temporary:
        figure.savefig(temporary, format=options.output.suffix[1:], dpi=150)
    print(f"{options.output} shows {', '.join(histories)}")
    return 0
