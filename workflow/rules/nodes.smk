# Every kind of node by one rule: what differs between kinds stands beside each kind (src/robust_transfer/stages). A killed
# training or certification continues from its own checkpoint (results/checkpoints), which is no declared output, because
# Snakemake deletes those of a failed job.

for kind, about in KINDS.items():

    rule:
        name:
            kind
        input:
            ancient(parents_of),
        output:
            artifact=f"results/{kind}/{{node}}/{about.artifact}",
            card=f"results/{kind}/{{node}}/card.json",
        log:
            f"results/logs/{kind}/{{node}}.log",
        priority: priority
        conda:
            "../../envs/environment.yaml"
        threads: machine("threads")
        resources:
            gpu=machine("gpus") if about.gpu else 0,
            mem_mb=memory,
            runtime=runtime,
            slurm_extra=SAVE_SIGNAL if about.resumes else "",
        message:
            "{rule} {wildcards.node}"
        shell:
            'exec python -P "$ROBUST_TRANSFER_SOURCE/robust_transfer/run/__main__.py" node {wildcards.node} --threads {threads} --log {log}'
