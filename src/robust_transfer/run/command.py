"""The command that makes one node, table or figure, or the verdicts on claims, and how it ends.

It ends with 0, with 1 and one clear sentence, or with 128 + n where signal n asked it to stop and its state is saved.
"""

import argparse
import contextlib
import sys
from pathlib import Path

STOPPED = "stopped by SIGINT; the same command starts again"
PRODUCTS = {"tabulate": "table", "draw": "figure", "judge": "claim"}


def arguments_of(words: list[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m robust_transfer.run", description="Make one node, table or figure of a plan."
    )
    kinds = (path.stem for path in (Path(__file__).parents[1] / "stages").glob("[a-z]*.py"))  # importing them is slow
    stages = ["node", *PRODUCTS, "report", *sorted({*kinds} - {"job", "node"})]
    stage = "the node's kind (or `node`, whatever it is), tabulate, draw, judge or report"
    parser.add_argument("stage", choices=stages, help=stage)
    parser.add_argument(
        "what", help="a node's id; for tabulate and draw STUDY/NAME; for judge STUDY or all; for report all"
    )
    parser.add_argument("--plan", type=Path, help="the frozen plan (default: the running Snakemake's, or the newest)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as the plan says)")
    parser.add_argument("--log", type=Path, help="file for the progress (default: the screen)")
    return parser.parse_args(words)


def make(options: argparse.Namespace) -> int:
    """Make what the options name, and turn what a user can mend into a sentence; returns the exit status.

    In a bundle, its record has when it is started, and done.
    """
    from robust_transfer.run import bundle

    record = bundle.of_this_job() if options.log else None
    if record:
        record.add(bundle.STARTED, options.log)
    status = _make(options)
    if record and status == 0:
        record.add(bundle.DONE, options.log)
    return status


def _make(options: argparse.Namespace) -> int:
    from robust_transfer import locks
    from robust_transfer.errors import UserError
    from robust_transfer.plan import freeze, jobs

    try:
        jobs.must_be_the_workflows_own()
        start_logging(options)
        path = options.plan or freeze.frozen_path() or freeze.newest(options.results)
        plan = freeze.thaw(path)
        if options.stage == "report":
            from robust_transfer import report

            report.write(options.results, options.results / report.NAME, path)
            return 0
        if options.stage in PRODUCTS:
            from robust_transfer.run import products

            named = {(product.kind, product.key): product for product in plan.products.values()}
            product = named.get((PRODUCTS[options.stage], options.what))
            if product is None:
                raise UserError(f"{options.what} is not in the plan {path}; it has {', '.join(plan.products)}")
            with locks.alone(options.results / "locks" / product.stem.replace("/", "-")):
                products.make(product, plan, path.stem, options.results)
            return 0
        from robust_transfer.run import nodes

        node = plan.nodes.get(options.what)
        if options.stage == "node" and node is not None:
            options.stage = node.kind
        if node is None or node.kind != options.stage:
            raise UserError(f"{options.stage} {options.what} is not in the plan {path}; `snakemake -n` shows what is")
        with locks.alone(options.results / "locks" / node.id) as waited:
            if not (waited and nodes.is_made(node, options.results)):
                threads = options.threads or plan.origin["machine"]["threads"]
                nodes.make(node, plan, path.stem, options.results, threads)
        return 0
    except UserError as error:
        return end(str(error), options, 1)
    except KeyboardInterrupt:
        return end(STOPPED, options, 130)
    except MemoryError:
        return end("out of memory; lower batch_size or ask for more", options, 1)
    except Exception as error:
        from robust_transfer.run import requeue
        from robust_transfer.signals import Interrupted
        from robust_transfer.store import is_forbidden, is_full

        if isinstance(error, Interrupted):
            # It is raised between two iterations or images, so something was done since this job began.
            again = requeue.when_time_is_over()
            how = "this job goes back into the queue and continues" if again else "the same command continues"
            return end(f"{error}; {how}", options, error.exit_status)
        if is_full(error):
            return end(f"no space is left ({error}); make room on that disk and start again", options, 1)
        if is_forbidden(error):
            sentence = (
                f"{error.filename}: {error.strerror}; ask its owner for the right (`chmod -R g+rwX`), or work elsewhere"
            )
            return end(sentence, options, 1)
        raise


def start_logging(options: argparse.Namespace) -> None:
    """Let the log have all that is said, and the screen all, too, or what is suspicious where there is a log."""
    import logging

    logging.raiseExceptions = False  # a log that cannot be written any more stops nothing
    screen = logging.StreamHandler()
    handlers: list[logging.Handler] = [screen]
    if options.log:
        screen.setLevel(logging.WARNING)
        screen.setFormatter(logging.Formatter(f"{options.what}: %(message)s"))
        options.log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(options.log))
    form = "%(asctime)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", handlers=handlers)


def end(sentence: str, options: argparse.Namespace, status: int) -> int:
    """Tell screen and log how it ended; returns the exit status."""
    sentence = f"{options.stage} {options.what}: {sentence}"
    print(sentence, file=sys.stderr)
    if options.log:
        with contextlib.suppress(OSError), open(options.log, "a", encoding="utf-8") as file:
            print(sentence, file=file)
    return status
