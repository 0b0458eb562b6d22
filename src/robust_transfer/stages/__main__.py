"""Make one node, table or figure: `python -m robust_transfer.stages <stage> <node id or study/name>`.

The stage `node` is that of the node's own kind.

Started by the rules of the workflow, or by hand. Ends with 0, with 1 and one clear sentence, or with 128 + n where
signal n asked it to stop and its state is saved.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

STAGES = {
    "prepare": "prepare",
    "bring": "bring",
    "features": "features",
    "pretrain": "train",
    "transfer": "train",
    "choose": "choose",
    "craft": "craft",
    "evaluate": "evaluate",
    "certify": "certify",
    "measure": "measure",
    "gradients": "gradients",
    "displacement": "displacement",
}
PRODUCTS = {"tabulate": "table", "draw": "figure"}


def main(arguments: list[str]) -> int:
    """Parse the command line, make the thing, and turn what a user can mend into a sentence."""
    parser = argparse.ArgumentParser(prog="python -m robust_transfer.stages", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["node", *STAGES, *PRODUCTS])
    parser.add_argument("what", help="a node's id, or for tabulate and draw STUDY/NAME")
    parser.add_argument("--plan", type=Path, help="the frozen plan (default: the running Snakemake's, or the newest)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as the plan says)")
    parser.add_argument("--log", type=Path, help="file for the progress (default: the screen)")
    options = parser.parse_args(arguments)
    try:
        if os.environ.pop("ROBUST_TRANSFER_WARM", "0") == "1":
            from robust_transfer.stages import warm

            if warm.available() and (status := warm.ask(arguments)) is not None:
                return status
        return run(options)
    except KeyboardInterrupt:
        return _say("stopped by SIGINT; the same command starts again", options, 130)


def run(options: argparse.Namespace) -> int:
    """Make what the options name; see the module."""
    import logging
    from importlib import import_module

    from robust_transfer.errors import UserError
    from robust_transfer.plan import freeze

    logging.raiseExceptions = False  # a log that cannot be written any more stops nothing
    try:
        if options.log:
            options.log.parent.mkdir(parents=True, exist_ok=True)
        form = {"format": "%(asctime)s %(message)s", "datefmt": "%H:%M:%S"}
        logging.basicConfig(filename=options.log, level=logging.INFO, **form)
        path = options.plan or freeze.frozen_path() or freeze.newest(options.results)
        plan = freeze.thaw(path)
        if options.stage in PRODUCTS:
            from robust_transfer.stages import products

            product = plan.products.get(f"{PRODUCTS[options.stage]}s/{options.what}")
            if product is None:
                raise UserError(f"{options.what} is not in the plan {path}; it has {', '.join(plan.products)}")
            products.make(product, plan, path.stem, options.results)
            return 0
        from robust_transfer.stages import job

        node = plan.nodes.get(options.what)
        if options.stage == "node" and node is not None:
            options.stage = node.kind
        if node is None or node.kind != options.stage:
            raise UserError(f"{options.stage} {options.what} is not in the plan {path}; `snakemake -n` shows what is")
        stage = import_module(f"robust_transfer.stages.{STAGES[options.stage]}").run
        threads = options.threads or plan.origin["machine"]["threads"]
        job.make(stage, node, plan, path.stem, options.results, threads)
        return 0
    except UserError as error:
        return _say(str(error), options, 1)
    except MemoryError:
        return _say("out of memory; lower batch_size or ask for more", options, 1)
    except Exception as error:
        from robust_transfer.store import is_full
        from robust_transfer.training.signals import Interrupted

        if isinstance(error, Interrupted):
            return _say(f"{error}; the same command continues", options, error.exit_status)
        if is_full(error):
            return _say(f"no space is left ({error}); make room on that disk and start again", options, 1)
        raise


def _say(sentence: str, options: argparse.Namespace, status: int) -> int:
    """Tell screen and log how it ended; returns the exit status."""
    sentence = f"{options.stage} {options.what}: {sentence}"
    print(sentence, file=sys.stderr)
    if options.log:
        with contextlib.suppress(OSError), open(options.log, "a", encoding="utf-8") as file:
            print(sentence, file=file)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
