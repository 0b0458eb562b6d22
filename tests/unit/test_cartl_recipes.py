"""What the CARTL study's recipes do to a network, from the plan's own nodes made small."""

import re

import pytest
import torch
from safetensors.torch import load_file

from robust_transfer.models import files
from robust_transfer.run import nodes
from robust_transfer.studies import make_plan
from workspace import REPOSITORY, merged, shipped

K = 4
"""Two residual blocks of six, the last batch norm, the head."""
LOW_HIGH = {"source": "Low", "target": "High"}
SMALL = {
    "studies": ["cartl"],
    "main_study": "cartl",
    "datasets": {"digits-low": {"limit": 20}, "digits-high": {"limit": 20}},
    "networks": {"wide": {"width": 4}},
    "cartl": {
        "cases": {"Case-4": K, "Case-6": K, "Case-8": K},
        "batch_norm": [LOW_HIGH | {"k": K}],
        "fdm": {"weights": [0.005]},
        "neft": {"betas": [1.0, 0.4]},
        "less_data": {"shares": {"20%": None, "10%": None}},
        "schedules": {
            "source": {"epochs": 2, "milestones": [1]},
            "fine_tuning": {"iterations": 40, "milestones": [12, 24, 34]},
        },
    },
}


@pytest.fixture(scope="module")
def plan():
    return make_plan(merged(shipped(), SMALL), REPOSITORY / "workflow")


@pytest.fixture(scope="module")
def made(plan, tmp_path_factory):
    """A model's node -> its file; it and what it is made from are made once."""
    results = tmp_path_factory.mktemp("results")

    def make(node):
        for each in plan.ancestry([node.id]):
            if not (results / each.card).exists():
                nodes.make(each, plan, "test", results, threads=1)
        return results / node.artifact

    return make


def model_of(plan, table, row, column):
    cell = next(c for c in plan.products[f"tables/cartl/{table}"].spec["cells"]
                if (c["row"], c["column"]) == (row, f"{column} Acc."))  # fmt: skip
    return plan.nodes[plan.nodes[cell["nodes"]["outcomes"]].parents["model"]]


def moved(plan, made, model):
    """Of the weights, the batch norms' scales and shifts, and their statistics: which parts of the network moved.

    A set of (what, part), part being a residual block's number from 1 to 6, `stem` or `tail`; the head is new.
    """
    before, after = (load_file(made(node)) for node in (plan.nodes[model.parents["start"]], model))
    assert before.keys() == after.keys()
    found = set()
    for name, tensor in after.items():
        if name.startswith("head.") or name.endswith("num_batches_tracked") or torch.equal(tensor, before[name]):
            continue
        block = re.match(r"stages\.(\d)\.(\d)\.", name)
        part = 2 * int(block[1]) + int(block[2]) + 1 if block else name.partition(".")[0]
        norm = "bn" in name or part == "tail"
        found.add(("statistics" if "running" in name else "affine" if norm else "weights", part))
    return found


@pytest.mark.parametrize("row", ["-", "W b"])
@pytest.mark.parametrize("column", ["W b", "mu sigma W b"])
def test_what_moves_in_each_case_of_batch_norm(plan, made, row, column):
    model = model_of(plan, "table1", f"Low -> High (k = {K}) {row}", column)
    trained, frozen = {5, 6}, {1, 2, 3, 4}
    wanted = {("weights", part) for part in trained} | {("statistics", part) for part in trained | {"tail"}}
    if row == "-":
        wanted |= {("affine", part) for part in trained | {"tail"}}
    if column == "W b":
        wanted |= {("statistics", part) for part in frozen}
    assert moved(plan, made, model) == wanted


def test_the_head_is_new_and_the_trained_blocks_begin_as_the_source_ended(plan, made):
    model = model_of(plan, "table3", "AT TL", "Case-4")
    source, target = (load_file(made(node)) for node in (plan.nodes[model.parents["start"]], model))
    assert not torch.equal(source["head.weight"], target["head.weight"])
    name = "stages.2.1.conv2.weight"
    turned = torch.nn.functional.cosine_similarity(source[name].flatten(), target[name].flatten(), dim=0)
    assert turned > 0.5, "weights drawn anew would be near 0"


@pytest.mark.parametrize("beta", ["1.0", "0.4"])
def test_the_fine_tuned_weights_have_spectral_norm_beta(plan, made, beta):
    model = model_of(plan, "table2", "Case-4 lambda = 0.005", f"NEFT beta = {beta}")
    stored = load_file(made(model))
    parts = ("head.", "stages.2.0.", "stages.2.1.")
    weights = {name: tensor for name, tensor in stored.items() if name.startswith(parts) and tensor.dim() > 1}
    assert len(weights) == 1 + 2 * 2 + 1, "the head, two convolutions a block, a shortcut"
    for name, weight in weights.items():
        norm = torch.linalg.svdvals(weight.flatten(1)).max().item()
        assert norm == pytest.approx(float(beta), rel=0.01), name
    frozen = [stored[f"stages.1.{block}.conv{i}.weight"] for block in (0, 1) for i in (1, 2)]
    assert all(torch.linalg.svdvals(w.flatten(1)).max() != pytest.approx(float(beta), rel=0.01) for w in frozen)
    # The residual blocks among the last k average, and the file says so.
    network = files.load(made(model))[0]
    assert [block.averaged for block in network.blocks()] == [False] * 4 + [True] * 2


def test_neft_moves_what_vanilla_moves_from_either_source(plan, made):
    cartl = model_of(plan, "table3", "AT + FDM NEFT", "Case-4")
    neft = model_of(plan, "table3", "AT NEFT", "Case-4")
    assert moved(plan, made, cartl) == moved(plan, made, neft) == {
        *(("weights", part) for part in (5, 6)), *(("statistics", part) for part in (5, 6, "tail"))
    }  # fmt: skip
    stored = [load_file(made(plan.nodes[model.parents["start"]])) for model in (cartl, neft)]
    assert not torch.equal(*(state["stages.0.0.conv1.weight"] for state in stored))


def test_without_forgetting_all_moves_but_the_running_statistics(plan, made):
    cell = next(c for c in plan.products["figures/cartl/fig5"].spec["cells"]
                if (c["row"], c["column"], c["metric"]) == ("LwF", "100%", "accuracy"))  # fmt: skip
    model = plan.nodes[plan.nodes[cell["nodes"]["outcomes"]].parents["model"]]
    blocks = (1, 2, 3, 4, 5, 6)
    assert moved(plan, made, model) == {
        *(("weights", part) for part in (*blocks, "stem")), *(("affine", part) for part in (*blocks, "tail"))
    }  # fmt: skip
