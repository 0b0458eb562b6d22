"""Each study from the data to the last figure, made as small as it gets."""

import pandas as pd
import pytest
from PIL import Image

from robust_transfer.claims.verdicts import MEASURED
from workspace import merged

pytestmark = pytest.mark.slow

SMALL = {
    "datasets": {
        f"digits-{name}": {"limit": 12}
        for name in ("low", "low-turned", "high", "high-negative", "high-turned", "high-coarse")
    },
    "networks": {"resnet": {"width": 4}, "densenet": {"layers_per_block": [1, 1], "growth": 4}, "wide": {"width": 4}},
}
OVERLAYS = {
    "cartl": {
        "cases": {"Case-4": 4, "Case-6": 4, "Case-8": 4},
        "depths": [{"source": "Low", "target": "High", "k": [1, 4]}],
        "batch_norm": [{"source": "Low", "target": "High", "k": 4}],
        "comparison": [{"source": "Low", "target": "Negative", "k": 4}],
        "fdm": {"weights": [0.005]},
        "neft": {"betas": [0.4]},
        "lwf": {"weights": [0.01, 0.005], "schedule": {"iterations": 4, "head_first": 2, "batch_size": 5}},
        "attack": {"steps": 2, "step_size": "eps/2"},
        "schedules": {
            "source": {"epochs": 2, "milestones": [1], "batch_size": 10},
            "fine_tuning": {"iterations": 4, "milestones": [2], "warm_up": 1, "batch_size": 5},
        },
    },
    "renofeation": {
        "grid": {"lr": [0.01], "momentum": [0.9], "weight_decay": [0, 1e-4]},
        "lambdas": {"l2_sp": [0.01], "delta": [0.1], "delta_r": [0.1, 1]},
        "averaging": {"every": 2},
        "attack": {"steps": 2, "steps_per_eps": 2},
        "neurons": 2,
        "schedules": {
            "source": {"epochs": 2, "milestones": [1], "batch_size": 10},
            **{
                name: {"iterations": 4, "batch_size": 10}
                for name in ("fine_tuning", "re_training", "adversarial", "averaging")
            },
        },
    },
    "vaishnavi": {
        "compared": ["High"],
        "attack": {"steps": 2},
        "smoothing": {"n": 20, "images": 6},
        "schedules": {
            "ST": {"epochs": 2, "milestones": [1], "batch_size": 10},
            "SimCLR": {"epochs": 1, "batch_size": 10},
            "empirical": {"epochs": 2, "batch_size": 10, "lr": 0.1, "decay": "plateau", "patience": 1, "falls": 1},
            **{
                name: {"epochs": 1, "batch_size": 10, "decay": "constant", "milestones": []}
                for name in ("AT", "CR", "certified", "last_layer")
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
        elif product.kind == "claim":
            assert pd.read_parquet(stem.with_suffix(".parquet")).measured.isin(MEASURED).all()
        else:
            with Image.open(stem.with_suffix(".png")) as image:
                assert min(image.size) > 100
                assert len(image.convert("L").getcolors(256) or [0] * 257) > 2, "an empty picture"
            assert stem.with_suffix(".svg").stat().st_size > 1000
    assert workspace.planned() == []
    assert " 0 damaged" in workspace.robust_transfer("audit").stdout
