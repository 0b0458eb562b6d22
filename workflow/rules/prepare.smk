# Data sets and models, as distributed -> splits as tensors, networks in our form.


use rule pretrain as prepare with:
    output:
        artifact="results/prepare/{node}/data.safetensors",
        card="results/prepare/{node}/card.json",
    log:
        "results/logs/prepare/{node}.log",
    resources:
        gpu=0,
        mem_mb=machine("memory_mb"),
        runtime=120,


use rule pretrain as bring with:
    output:
        artifact="results/bring/{node}/model.safetensors",
        card="results/bring/{node}/card.json",
    log:
        "results/logs/bring/{node}.log",
    resources:
        gpu=0,
        mem_mb=machine("memory_mb"),
        runtime=30,
