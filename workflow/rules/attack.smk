# Adversarial examples, cached as tensors; each image's outcome under each model; distances between models.


rule craft:
    input:
        ancient(parents_of),
    output:
        artifact="results/craft/{node}/examples.safetensors",
        card="results/craft/{node}/card.json",
    log:
        "results/logs/craft/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=120,
    message:
        "craft {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages craft {wildcards.node} --threads {threads} --log {log}"


rule evaluate:
    input:
        ancient(parents_of),
    output:
        artifact="results/evaluate/{node}/outcomes.parquet",
        card="results/evaluate/{node}/card.json",
    log:
        "results/logs/evaluate/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=30,
    message:
        "evaluate {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages evaluate {wildcards.node} --threads {threads} --log {log}"


rule measure:
    input:
        ancient(parents_of),
    output:
        artifact="results/measure/{node}/distances.json",
        card="results/measure/{node}/card.json",
    log:
        "results/logs/measure/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,
    message:
        "measure {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages measure {wildcards.node} --threads {threads} --log {log}"


rule certify:
    input:
        ancient(parents_of),
    output:
        artifact="results/certify/{node}/certificates.parquet",
        card="results/certify/{node}/card.json",
    log:
        "results/logs/certify/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=720,
    message:
        "certify {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages certify {wildcards.node} --threads {threads} --log {log}"
