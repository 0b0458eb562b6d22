# Source and target models. A killed training continues from its own checkpoint (results/checkpoints), which is no
# declared output, because Snakemake deletes those of a failed job.


rule pretrain:
    input:
        ancient(parents_of),
    output:
        artifact="results/pretrain/{node}/model.safetensors",
        card="results/pretrain/{node}/card.json",
    log:
        "results/logs/pretrain/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=1440,
    message:
        "pretrain {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages pretrain {wildcards.node} --threads {threads} --log {log}"


rule transfer:
    input:
        ancient(parents_of),
    output:
        artifact="results/transfer/{node}/model.safetensors",
        card="results/transfer/{node}/card.json",
    log:
        "results/logs/transfer/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=480,
    message:
        "transfer {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages transfer {wildcards.node} --threads {threads} --log {log}"


rule choose:
    input:
        ancient(parents_of),
    output:
        artifact="results/choose/{node}/model.safetensors",
        card="results/choose/{node}/card.json",
    log:
        "results/logs/choose/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,
    message:
        "choose {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages choose {wildcards.node} --threads {threads} --log {log}"


rule features:
    input:
        ancient(parents_of),
    output:
        artifact="results/features/{node}/features.safetensors",
        card="results/features/{node}/card.json",
    log:
        "results/logs/features/{node}.log",
    conda:
        "../../envs/environment.yaml"
    threads: machine("threads")
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,
    message:
        "features {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages features {wildcards.node} --threads {threads} --log {log}"
