# robust-transfer: studies of adversarial robustness under transfer learning, from pretraining to the printed table.
#   snakemake --cores all                              all tables and figures of the studies in config.yaml
#   snakemake --cores all results/tables/table1.csv    one table, here of `main_study`
from snakemake.utils import min_version

min_version("9.20")


include: "workflow/rules/common.smk"


# A job that a running Snakemake submitted works by the plan frozen then, whatever config.yaml says by now.
if not started_by_snakemake():
    check_config_file("config.yaml")

    configfile: "config.yaml"


PLAN = the_plan(config)
if not workflow.remote_exec:
    check_targets(sys.argv[1:])


wildcard_constraints:
    node=r"[A-Za-z0-9_.+-]+\.[0-9a-f]{12}",
    study=r"[a-z0-9_]+",
    name=r"[A-Za-z0-9_]+",
    kind="table|figure",
    ending="csv|parquet|md|png|svg",


include: "workflow/rules/train.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/results.smk"


onstart:
    check_data(workflow.dag.needrun_jobs())


rule all:
    default_target: True
    input:
        everything(),
