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
        "{rule} {wildcards.node}"
    shell:
        "exec python -m robust_transfer.stages node {wildcards.node} --threads {threads} --log {log}"


use rule pretrain as transfer with:
    output:
        artifact="results/transfer/{node}/model.safetensors",
        card="results/transfer/{node}/card.json",
    log:
        "results/logs/transfer/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=480,


# The best of several models, by which a grid search chooses.


use rule pretrain as choose with:
    output:
        artifact="results/choose/{node}/model.safetensors",
        card="results/choose/{node}/card.json",
    log:
        "results/logs/choose/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,


# What a model makes of the images that another is trained on, and must not forget.


use rule pretrain as features with:
    output:
        artifact="results/features/{node}/features.safetensors",
        card="results/features/{node}/card.json",
    log:
        "results/logs/features/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,
