# Every kind of node by one rule: what differs between kinds stands beside each kind (src/robust_transfer/stages). A killed
# training or certification continues from its own checkpoint (results/checkpoints), which is no declared output, because
# Snakemake deletes those of a failed job.

for name, kind in KINDS.items():

    rule:
        name:
            name
        input:
            ancient(parents_of),
        output:
            artifact=f"results/{name}/{{node}}/{kind.artifact}",
            card=f"results/{name}/{{node}}/card.json",
        log:
            f"results/logs/{name}/{{node}}.log",
        priority: priority
        conda:
            "../../envs/environment.yaml"
        threads: machine("threads")
        resources:
            gpu=machine("gpus") if kind.gpu else 0,
            mem_mb=memory,
            runtime=runtime,
            slurm_extra=SAVE_SIGNAL if kind.resumes else "",
        message:
            "{rule} {wildcards.node}"
        shell:
            'exec python -P "$ROBUST_TRANSFER_SOURCE/robust_transfer/run/__main__.py" node {wildcards.node} --threads {threads} --log {log}'
