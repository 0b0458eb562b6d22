# Data sets, as distributed -> splits as tensors.


rule prepare:
    output:
        artifact="results/prepare/{node}/data.safetensors",
        card="results/prepare/{node}/card.json",
    log:
        "results/logs/prepare/{node}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=machine("memory_mb"),
        runtime=30,
    message:
        "prepare {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages prepare {wildcards.node} --threads {threads} --log {log}"
