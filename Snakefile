# robust-transfer: studies of adversarial robustness under transfer learning, from pretraining to the printed table.
#   snakemake --cores all                              all tables, figures and verdicts of the studies in config.yaml
#   snakemake --cores all davchev                      those of one study
#   snakemake --cores all results/tables/table1.csv    one table, here of `main_study`
from snakemake.utils import min_version

min_version("9.20")


include: "workflow/rules/common.smk"


PLAN = the_plan()
if not workflow.remote_exec:
    if not AS_MODULE:
        check_targets(sys.argv[1:])
    look_at_what_is_there()


wildcard_constraints:
    node=r"[A-Za-z0-9_.+-]+\.[0-9a-f]{12}",
    study=r"[a-z0-9_]+",
    name=r"[A-Za-z0-9_]+",
    kind="table|figure",
    claims=r"claims(/[a-z0-9_]+)?",
    ending="csv|parquet|md|png|svg",


include: "workflow/rules/nodes.smk"
include: "workflow/rules/results.smk"


onstart:
    check_start(workflow.dag.needrun_jobs())
    show_studies(workflow.dag)


onsuccess:
    check_end(workflow.dag.jobs)


rule all:
    default_target: IS_FIRST
    input:
        everything_of(None),
    message:
        "all"


for study in studies():

    rule:
        name:
            study
        input:
            everything_of(study),
        message:
            "all of {rule}"
