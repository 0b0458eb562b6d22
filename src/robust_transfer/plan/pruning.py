"""Snakemake's graph without what is settled: a run that has little to make looks at little."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snakemake.workflow import Workflow


def leave_out(workflow: "Workflow", cards: Collection[str]) -> None:
    """Have a run make no jobs for these files where they are inputs of other jobs; they count as files that are there.

    A job that Snakemake finds nothing to do for still takes it about 4 ms: 20 s for 5,000 nodes. Jobs for what is asked
    for by name stay, and each job's inputs, which Snakemake records and compares.

    cards: paths of the cards of nodes which are as they should be, with all that they were made from.
    """
    from snakemake.dag import DAG

    plain = DAG.collect_potential_dependencies

    async def collect(self: DAG, job: Any, known_producers: dict[Any, Any]) -> Any:
        if is_plain(workflow):
            left_out = (file for file in job.unique_input if file in cards and file not in self.targetfiles)
            known_producers |= dict.fromkeys(left_out)
        async for found in plain(self, job, known_producers):
            yield found

    DAG.collect_potential_dependencies = collect


def is_plain(workflow: "Workflow") -> bool:
    """Whether a run is one that makes what is missing or out of date, and no more.

    Pictures of the graph, summaries and reports want all of it (they run no executor), and so do a touch of all files
    and options that force, omit or reinterpret jobs by what they are.
    """
    how = workflow.dag_settings
    special = (how.forceall, how.forcetargets, how.forcerun, how.until, how.omit_from, how.batch, how.target_jobs)
    return not (
        workflow.executor_plugin is None
        or workflow.touch
        or any(special)
        or workflow.workflow_settings.consider_ancient
    )
