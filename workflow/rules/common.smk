# Look-ups that the rules share. All they know comes from the plan; nothing here touches torch.
import atexit
import gc
import logging
import sys
import time
from functools import cache
from pathlib import Path

from snakemake.settings.enums import Quietness

# A plan and its graph are many small things that stay: looking for garbage among them took a fifth of a dry run.
gc.set_threshold(100_000, 50, 100)
if workflow.dryrun:
    # Neither is there at its end, for another sixth. A dry run has nothing open that would be written then.
    atexit.register(gc.freeze)

# This file lies in workflow/rules, wherever the Snakefile is that was started: another workflow may use this as a module.
HERE = Path(str(workflow.current_basedir)).parents[1]
AS_MODULE = not workflow.modifier.is_main_snakefile()
IS_FIRST = not workflow.default_target
"""Whether these rules are the first; then `all` is what snakemake makes that is given no target."""
if (HERE / "src").is_dir():
    sys.path.insert(0, str(HERE / "src"))

try:
    import robust_transfer
except ModuleNotFoundError as error:
    if error.name != "robust_transfer":
        raise
    sys.exit(
        "the package robust-transfer is not installed beside Snakemake; install it with pip, or use a clone"
    )

# Unfolded by `robust-transfer init`, the workflow lies elsewhere than its code, which is the installed package's.
SOURCE = Path(robust_transfer.__file__).parents[1]

from robust_transfer.errors import UserError
from robust_transfer import store
from robust_transfer import outlook
from robust_transfer.chain import out_of_date
from robust_transfer.plan.graph import ENDINGS
from robust_transfer.plan import (
    forcing,
    freeze,
    jobs,
    layers,
    presence,
    priorities,
    pruning,
    scheduling,
    stopping,
)
from robust_transfer.run import networks
from robust_transfer.run.bundle import of_this_job as in_bundle
from robust_transfer.screen import short
from robust_transfer.stages.node import KINDS

if not HERE.is_dir():
    # A module from a repository elsewhere, of which Snakemake fetches the rules alone.
    from robust_transfer.cli import init

    HERE = init.workflow()

logging.getLogger("snakemake.logging").addFilter(short.shorten)
scheduling.one_round_at_a_time()
scheduling.a_signal_takes_no_lock()


def end_with(error):
    """Show what the user can mend, and nothing of Snakemake's innards."""
    print(f"\n{error}", file=sys.stderr)
    sys.exit(1)


def started_by_snakemake():
    """Whether another Snakemake started this one, for a job that it had planned."""
    return freeze.frozen_path() is not None


def the_plan():
    """The plan this Snakemake works by: the frozen one of whoever started it, or a new one from the config."""
    try:
        warm = not workflow.remote_exec or in_bundle() is not None
        jobs.set_environment(SOURCE, warm)
        if started_by_snakemake():
            return freeze.thaw(freeze.frozen_path())
        from robust_transfer.studies import make_plan

        stopping.same_command_continues(Path(".snakemake"))
        config, *over = layers_of_the_user()
        plan = make_plan(config.values, HERE / "workflow", over)
        freeze.freeze(plan, Path("results"))
        return plan
    except UserError as error:
        end_with(error)


def layers_of_the_user():
    """config.yaml, --configfile and --config, each read by the same rules; Snakemake's own merging knows none of them.

    Jobs work by the frozen plan, so they are not given these options: a file may be gone by the time they start.
    As a module: this workflow's own config.yaml, and over it what the other one gives as `config`.
    """
    if AS_MODULE:
        own = layers.read_layer(HERE / "config.yaml")
        return [
            layers.Layer("config.yaml", own.values),
            layers.Layer("the module's config", config),
        ]
    settings = workflow.config_settings
    user = layers.of_user(
        Path("config.yaml"), settings.configfiles, settings.config_args
    )
    if settings.replace_workflow_config:
        user[0] = layers.Layer("config.yaml", {})
    workflow.configfiles.insert(0, "config.yaml")  # of reports
    settings.configfiles, settings.config_args = [], []
    return user


def check_targets(words):
    """Words of the command line that name a node, table, figure or verdicts must be in the plan."""
    known = {f"results/{n.folder}" for n in PLAN.nodes.values()} | {
        f"results/{p.stem}" for p in PLAN.products.values()
    }
    for target in (word for word in words if word.startswith("results/")):
        parts = Path(target).parts
        node = len(parts) == 4 and parts[1] in KINDS
        product = target.startswith("results/claims") or (
            parts[0] == "results"
            and len(parts) == 4
            and parts[1] in ("tables", "figures")
        )
        name = (
            str(Path(*parts[:3]))
            if node
            else str(Path(target).with_suffix("")) if product else None
        )
        if name and name not in known:
            products = ", ".join(p.stem for p in PLAN.products.values())
            has = (
                f"which has: {products}" if product else "`snakemake -n` shows what is"
            )
            end_with(f"{name} is not in the plan, {has}")


def look_at_what_is_there():
    """Have made anew what is there, but was made from other bytes than those of today, or shows another config; and
    let the graph have no jobs for nodes with which all is well.

    The cards decide that, not Snakemake's own records: so it holds under any --rerun-triggers, without .snakemake, and
    for results that were copied or are shared. For a job on a cluster its driver has decided.
    """
    found, settled = outlook.look(PLAN, Path("results"))
    forcing.force({f"results/{path}": why for path, why in found.items()})
    SETTLED.update(settled)
    pruning.leave_out(workflow, set(cards_of(PLAN.nodes[i] for i in SETTLED)))


SETTLED = set()
"""The ids of nodes that are as they should be, with all that they were made from."""


def check_start(jobs):
    """Stop before the first job, with one message for all, where it cannot go well.

    results/ may be closed; files that are read may be missing, and brought weights and networks not fit.
    """
    names = sorted({job.wildcards.node for job in jobs if "node" in job.wildcards_dict})
    nodes = [PLAN.nodes[name] for name in names if name in PLAN.nodes]
    try:
        freeze.must_be_frozen()
        presence.must_be_present(
            [node for node in nodes if node.kind in ("bring", "prepare")],
            Path(PLAN.origin["data_root"]),
        )
        networks.must_fit(PLAN, nodes, Path(PLAN.origin["data_root"]))
    except UserError as error:
        end_with(error)


def show_studies(dag):
    """Under `--logger studies`, have a screen of studies from here on; that logger has Snakemake's lines until then."""
    handlers = workflow.logger_manager.get_log_handlers()
    handlers = [handler for handler in handlers if hasattr(handler, "screen")]
    if not handlers:
        return
    from robust_transfer.screen import display, progress  # half a second

    needed = {
        progress.thing_of(job.rule.name, job.wildcards_dict)
        for job in dag.needrun_jobs()
    }
    asked = {progress.thing_of(job.rule.name, job.wildcards_dict) for job in dag.jobs}
    results, settings = Path("results"), workflow.output_settings
    for handler in handlers:
        counts = progress.of_run(PLAN, asked, needed, results, time.monotonic())
        quiet = Quietness.ALL in (settings.quiet or ())
        handler.screen = display.Screen(
            handler.plain, counts, results, quiet, settings.verbose
        )
        handler.screen.begin()


def check_end(jobs):
    """End with 1 if something that was asked for is out of date now: what was made anew before it has other bytes."""
    asked = {str(file) for job in jobs for file in job.output}
    found = out_of_date(PLAN, Path("results"))
    stale = [why for path, why in found.items() if f"results/{path}" in asked]
    if stale:
        end_with(
            f"{len(stale)} of the things asked for are out of date now; the same command again makes them anew: {stale[0]}"
        )


def cards_of(nodes):
    """The cards of nodes, which stand for them as inputs.

    A card is written after its artifact and named by its content, so its time stamp says nothing (see `ancient` in the
    rules). The artifact itself is no declared input: when a deleted one is made anew, what was made from it stays.
    """
    return [f"results/{node.card}" for node in nodes]


def node_of(wildcards):
    """The node a job makes.

    An id that is not in the plan is a name that no config leads to (any more).
    """
    if wildcards.node not in PLAN.nodes:
        raise WorkflowError(
            f"{wildcards.node} is not in the plan; `snakemake -n` shows what is"
        )
    return PLAN.nodes[wildcards.node]


def parents_of(wildcards):
    """What a node is made from."""
    return cards_of(PLAN.parents(node_of(wildcards)))


def product_of(wildcards, kind):
    """The table, figure or verdicts that a job makes."""
    stem = (
        wildcards.claims
        if kind == "claim"
        else f"{kind}s/{wildcards.study}/{wildcards.name}"
    )
    if stem not in PLAN.products:
        raise WorkflowError(
            f"results/{stem} is not in the plan, which has: {', '.join(PLAN.products)}"
        )
    return PLAN.products[stem]


def nodes_of(kind):
    """The nodes that a product reads."""
    return lambda wildcards: cards_of(
        PLAN.nodes[i] for i in product_of(wildcards, kind).nodes
    )


def everything_of(study):
    """What `all`, or the target of one study, asks for; jobs on a cluster have no use for it."""
    return lambda wildcards: everything(study)


def everything(study=None):
    """All tables, figures and verdicts of the plan, or of one study, and all nodes behind them.

    Snakemake does not miss an intermediate file that was deleted, unless it is asked for. What was let go on purpose
    (see `robust-transfer gc --examples`) is not asked for. A file that stands for all of a study would be there when
    some of it is not, so the studies are targets without one.
    """
    ids, stems = (PLAN.nodes, PLAN.products) if study is None else of_studies()[study]
    products = [
        f"results/{stem}.{ending}"
        for stem in stems
        for ending in (*ENDINGS[PLAN.products[stem].kind], "json")
    ]
    left_out = SETTLED if pruning.is_plain(workflow) else ()
    nodes = [PLAN.nodes[i] for i in ids if i not in left_out]
    artifacts = [Path("results", node.artifact) for node in nodes]
    missed = [str(path) for path in artifacts if not store.is_released(path)]
    return products + cards_of(nodes) + missed


@cache
def of_studies():
    """Study -> its nodes and products."""
    return PLAN.of_studies()


def studies():
    """The studies that have products, in the order of config.yaml."""
    return dict.fromkeys(each.study for each in PLAN.products.values() if each.study)


@cache
def order():
    """Of each node and product, how far before others it goes; a job that was sent elsewhere alone has no others."""
    alone = workflow.remote_exec and in_bundle() is None
    return {} if alone else priorities.priorities(PLAN)


def priority(wildcards):
    """How far before others a job goes that makes a node or the verdicts on claims."""
    return order().get(wildcards.get("node") or wildcards.get("claims"), 0)


def priority_of(kind):
    """The same of a table or a figure."""
    return lambda wildcards: order().get(
        f"{kind}s/{wildcards.study}/{wildcards.name}", 0
    )


def machine(key):
    """A value of the config's machine section; no id depends on it."""
    return PLAN.origin["machine"][key]


def on_cluster():
    """Whether jobs are sent elsewhere, or would be: then a limit on jobs is given, and none on cores."""
    return workflow.resource_settings.nodes is not None and not workflow.remote_exec


@cache
def resources():
    """What each node's job asks for, by the cost model. Only a cluster asks; making nodes here needs no such look."""
    from robust_transfer.cost.resources import Resources

    return Resources(PLAN, Path("results"))


def minutes_of_work(job):
    """Minutes of work that a job is thought to be, with a margin; None where nobody knows."""
    if "node" in job.wildcards_dict:
        return resources().work(node_of(job.wildcards))
    return 1.0  # a table, a figure, verdicts or the report


def longest(job):
    """Minutes that a job may take at most: what --set-resources says of its rule, and the longest time of the site."""
    given = workflow.resource_settings.overwrite_resources.get(job.rule.name, {})
    ours = 60 * machine("longest_job")
    return min(ours, job.resources.runtime) if "runtime" in given else ours


def memory(wildcards, attempt):
    """MB that a job may take: more for each attempt, as too little may be what ended the one before."""
    if on_cluster():
        return resources().memory_mb(node_of(wildcards), attempt)
    return machine("memory_mb") * attempt


# Asked for five minutes before the end of a job's time, so that a training saves its state. SIGTERM, because preemption
# and scancel send it too, and Snakemake's own processes around the training survive it, but not SIGUSR1.
SAVE_SIGNAL = "'--signal=TERM@300'"


def runtime(wildcards, attempt):
    """Minutes that a job may take: the same for each attempt where it continues, more for each where it starts anew."""
    node = node_of(wildcards)
    if on_cluster():
        return resources().minutes(node, attempt)
    return KINDS[node.kind].minutes


if on_cluster():
    from robust_transfer.plan import slurm

    slurm.put_together(minutes_of_work, longest)
