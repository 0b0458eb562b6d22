"""Having Snakemake make something anew that it takes for up to date."""

import sys
from collections.abc import Mapping

FEW = 5


def force(reasons: Mapping[str, str]) -> None:
    """Let jobs run that have one of these files (path -> why) among their outputs, if they are asked for at all.

    As --forcerun, which cannot be set from a Snakefile and also makes targets of the files. Those that are to be made
    are counted on the screen.
    """
    from snakemake.dag import DAG

    plain, look = DAG.init, DAG.update_needrun

    async def update_needrun(self: DAG, *arguments: object, **options: object) -> None:
        # Of what stands behind a job that will run Snakemake expects to come by later, and looks at none of it; but it
        # does not come by where inputs are ancient, and a forced job there would be forgotten.
        self.bfs = lambda direction, *jobs: () if direction is self.depending else DAG.bfs(self, direction, *jobs)
        try:
            await look(self, *arguments, **options)
        finally:
            del self.bfs

    async def init(self: DAG, *arguments: object, **options: object) -> None:
        self.forcefiles.update(reasons)
        await plain(self, *arguments, **options)
        planned = [reasons[file] for job in self.needrun_jobs() for file in job.output if file in reasons]
        causes = sorted(set(planned))
        for why in causes[:FEW]:
            print(f"{planned.count(why)} to be made anew: {why}", file=sys.stderr)
        if len(causes) > FEW:
            print(f"and more for {len(causes) - FEW} reasons of the same kinds", file=sys.stderr)

    if reasons:
        DAG.init, DAG.update_needrun = init, update_needrun
