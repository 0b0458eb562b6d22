"""Having Snakemake make anew what is out of date, and nothing because something before it was made anew."""

import sys
from collections import defaultdict
from collections.abc import Mapping

FEW = 5


def force(reasons: Mapping[str, str]) -> None:
    """Let jobs run that have one of these files (path -> why) among their outputs, if they are asked for at all; and
    let no job run because one runs that makes its `ancient` inputs.

    The former as --forcerun, which cannot be set from a Snakefile and also makes targets of the files. Those that are
    to be made are counted on the screen. The latter because Snakemake's `ancient` means files that are there: with a
    node's folder deleted, all that was made from it would be made anew. Whether that is out of date is for the reasons
    to say, after the node is made: its bits may be what they were.
    """
    from snakemake.dag import DAG

    plain, look = DAG.init, DAG.update_needrun

    async def update_needrun(self: DAG, *arguments: object, **options: object) -> None:
        whole = self.depending
        self.depending = defaultdict(dict)
        for job, behind in whole.items():
            fresh = {each: files for each, files in behind.items() if not all(file.is_ancient for file in files)}
            self.depending[job] = fresh
        try:
            await look(self, *arguments, **options)
        finally:
            self.depending = whole

    async def init(self: DAG, *arguments: object, **options: object) -> None:
        self.forcefiles.update(reasons)
        await plain(self, *arguments, **options)
        planned = [reasons[file] for job in self.needrun_jobs() for file in job.output if file in reasons]
        causes = sorted(set(planned))
        for why in causes[:FEW]:
            print(f"{planned.count(why)} to be made anew: {why}", file=sys.stderr)
        if len(causes) > FEW:
            print(f"and more for {len(causes) - FEW} reasons of the same kinds", file=sys.stderr)

    DAG.init, DAG.update_needrun = init, update_needrun
