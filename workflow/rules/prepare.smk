# Data sets and models, as distributed -> splits as tensors, networks in our form.


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


rule bring:
    input:
        ancient(parents_of),
    output:
        artifact="results/bring/{node}/model.safetensors",
        card="results/bring/{node}/card.json",
    log:
        "results/logs/bring/{node}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=machine("memory_mb"),
        runtime=30,
    message:
        "bring {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages bring {wildcards.node} --threads {threads} --log {log}"
