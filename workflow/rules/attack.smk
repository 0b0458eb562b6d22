# Adversarial examples, cached as tensors; what models make of them; certificates; distances between models and between
# images in their features; gradients.


use rule pretrain as craft with:
    output:
        artifact="results/craft/{node}/examples.safetensors",
        card="results/craft/{node}/card.json",
    log:
        "results/logs/craft/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=120,


use rule pretrain as evaluate with:
    output:
        artifact="results/evaluate/{node}/outcomes.parquet",
        card="results/evaluate/{node}/card.json",
    log:
        "results/logs/evaluate/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=30,


use rule pretrain as certify with:
    output:
        artifact="results/certify/{node}/certificates.parquet",
        card="results/certify/{node}/card.json",
    log:
        "results/logs/certify/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=720,


use rule pretrain as measure with:
    output:
        artifact="results/measure/{node}/distances.json",
        card="results/measure/{node}/card.json",
    log:
        "results/logs/measure/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,


use rule pretrain as gradients with:
    output:
        artifact="results/gradients/{node}/gradients.safetensors",
        card="results/gradients/{node}/card.json",
    log:
        "results/logs/gradients/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=30,


use rule pretrain as displacement with:
    output:
        artifact="results/displacement/{node}/distances.safetensors",
        card="results/displacement/{node}/card.json",
    log:
        "results/logs/displacement/{node}.log",
    resources:
        gpu=machine("gpus"),
        mem_mb=machine("memory_mb"),
        runtime=60,
