"""Each study from the data to the last figure, made as small as it gets."""

import pandas as pd
import pytest
from PIL import Image

from workspace import merged

SMALL = {
    "datasets": {name: {"limit": 12} for name in ("digits-low", "digits-high", "digits-high-negative")},
    "networks": {"resnet": {"width": 4}, "densenet": {"layers_per_block": [1, 1], "growth": 4}},
}
OVERLAYS = {
    "renofeation": {
        "grid": {"lr": [0.01], "momentum": [0.9], "weight_decay": [0, 1e-4]},
        "lambdas": {"l2_sp": [0.01], "delta": [0.1], "delta_r": [0.1, 1]},
        "averaging": {"every": 2},
        "attack": {"steps": 2},
        "schedules": {
            "source": {"epochs": 2, "milestones": [1], "batch_size": 10},
            **{
                name: {"iterations": 4, "batch_size": 10}
                for name in ("fine_tuning", "re_training", "adversarial", "averaging")
            },
        },
    },
}


@pytest.mark.parametrize("study", OVERLAYS)
def test_a_study_from_end_to_end(workspace, study):
    workspace.lay(merged(SMALL, {"studies": [study], "main_study": study, study: OVERLAYS[study]}))
    workspace.snakemake("--quiet", "all", timeout=900)
    for product in workspace.plan().products.values():
        stem = workspace.results / product.stem
        if product.kind == "table":
            table = pd.read_csv(stem.with_suffix(".csv"), index_col=0)
            assert (table.dtypes == "float64").all() or (table.dtypes.astype(str).isin(["float64", "int64"])).all()
            assert stem.with_suffix(".md").read_text(encoding="utf-8").startswith("# ")
            tidy = pd.read_parquet(stem.with_suffix(".parquet"))
            assert len(tidy) == len(product.spec["cells"])
            assert not tidy.nodes.eq("").all()
        else:
            with Image.open(stem.with_suffix(".png")) as image:
                assert min(image.size) > 100
                assert len(image.convert("L").getcolors(256) or [0] * 257) > 2, "an empty picture"
            assert stem.with_suffix(".svg").stat().st_size > 1000
    assert workspace.planned() == []
    assert " 0 damaged" in workspace.robust_transfer("audit").stdout
