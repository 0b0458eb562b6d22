"""A network that another repository trained: inspected, recorded, measured when it is brought, and transferred."""

import json

import pytest
import torch
import torch.nn.functional as F
import yaml
from sklearn.datasets import load_digits

import foreign
from workspace import Workspace

pytestmark = pytest.mark.slow

CONFIG = {
    "studies": ["custom"],
    "main_study": "custom",
    "datasets": {"digits-low": {"channels": 3}, "digits-high": {"channels": 3}},
    "custom": {
        "targets": {"High": "digits-high"},
        "methods": {"Head": {"recipe": {"trainable": "head", "schedule": {"epochs": 1, "batch_size": 50, "lr": 0.1}}}},
    },
}


@pytest.fixture(scope="module")
def theirs():
    """A network in akamaster's layout that tells the digits 0 to 4 apart, on pixels as they are."""
    torch.manual_seed(0)
    digits = load_digits()
    low = digits.target < 5
    images = torch.tensor(digits.images[low] / 16, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    labels = torch.tensor(digits.target[low])
    network = foreign.resnet("A", [1, 1], width=8)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        some = torch.randint(len(images), (100,))
        optimiser.zero_grad()
        F.cross_entropy(network(images[some]), labels[some]).backward()
        optimiser.step()
    return network.eval().state_dict()


def test_from_their_file_to_a_table(theirs, tmp_path):
    space = Workspace(tmp_path / "space")
    space.lay(CONFIG)
    folder = space.root / "data" / "weights"
    folder.mkdir(parents=True)
    torch.save({"state_dict": foreign.prefixed(theirs, "module."), "best_prec1": 99.0}, folder / "their.th")
    shown = space.robust_transfer("inspect", "their.th", "--record").stdout
    proposed = yaml.safe_load(shown[shown.index("networks:") :])
    proposed["networks"]["their"]["normalise"] = {"mean": 0, "std": 1}  # the one question that inspect asks
    proposed["custom"]["sources"]["their"]["data"] = "digits-low"
    space.lay(proposed)
    space.snakemake("--quiet", "all")
    (card,) = (json.loads(path.read_text()) for path in space.results.glob("bring/*/card.json"))
    assert card["metrics"]["names"].startswith("akamaster")
    assert card["metrics"]["accuracy"] > 90
    assert (space.results / "tables" / "custom" / "table1.csv").exists()

    # The same file with its classes in another order is no source, and nothing is made from it.
    mixed = theirs | {name: theirs[name].roll(1, 0) for name in ("linear.weight", "linear.bias")}
    torch.save({"state_dict": foreign.prefixed(mixed, "module.")}, folder / "their.th")
    space.robust_transfer("inspect", "their.th", "--record")
    done = space.snakemake("--quiet", "all", check=False)
    assert done.returncode == 1
    assert "their.th is broken, or not what the config says: " in done.stdout
    assert len([*space.results.glob("transfer/*/card.json")]) == 1
