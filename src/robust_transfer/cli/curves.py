"""how trainings went: loss, learning rate and accuracies by epoch, as a figure"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from robust_transfer.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, and where to."""
    parser.add_argument("nodes", nargs="+", metavar="NODE", help="a trained model: its id, or a part that is its alone")
    parser.add_argument("-o", "--output", type=Path, default=Path("curves.png"), help="png, svg or pdf (%(default)s)")
    help_ = "write event files for TensorBoard into a folder, instead of a figure"
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help=help_)


def run(options: argparse.Namespace) -> int:
    """Draw or export them."""
    import pandas as pd

    from robust_transfer import store
    from robust_transfer.stages.job import HISTORY
    from robust_transfer.stages.node import KINDS

    if options.output.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"{options.output} is no .png, .svg or .pdf; name one with -o")
    trained = [name for name, kind in KINDS.items() if HISTORY in kind.beside]
    histories = {}
    for folder in [store.find(options.results, name, trained) for name in options.nodes]:
        if not (folder / HISTORY).is_file():
            raise UserError(f"{folder} has no {HISTORY}: it was made before they were kept, or it was deleted")
        histories[folder.name] = pd.read_csv(folder / HISTORY)
    if options.tensorboard:
        export(histories, options.tensorboard)
        print(
            f"{options.tensorboard} has {', '.join(histories)}; `tensorboard --logdir {options.tensorboard}` shows them"
        )
        return 0
    from robust_transfer.figures.history import draw

    figure = draw(histories)
    with store.replacing(options.output) as temporary:
        figure.savefig(temporary, format=options.output.suffix[1:], dpi=150)
    print(f"{options.output} shows {', '.join(histories)}")
    return 0


def export(histories: Mapping[str, "pd.DataFrame"], folder: Path) -> None:
    """Write event files: of each model one run, of each column of its history one scalar, an epoch a step.

    Raises:
        UserError: where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("TensorBoard is not installed; `pip install tensorboard` adds it to this environment") from None
    for name, frame in histories.items():
        with SummaryWriter(str(folder / name)) as writer:
            for row in frame.to_dict("records"):
                for column in [c for c in frame if c != "epoch" and row[c] == row[c]]:  # not a number: not measured
                    writer.add_scalar(column, row[column], int(row["epoch"]))
