"""The examples of workflow/examples, each run as its first lines say, from a clone that nobody has touched."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from workspace import REPOSITORY

pytestmark = pytest.mark.slow

EXAMPLES = sorted(path.stem for path in (REPOSITORY / "workflow" / "examples").glob("*.yaml"))


def nothing(workspace):
    """What new-method needs."""


def checkpoint(workspace):
    """What own-checkpoint needs, made by the lines that docs/custom.md shows."""
    page = (REPOSITORY / "docs" / "custom.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (workspace.root / "make_checkpoint.py").write_text(script, encoding="utf-8")
    (workspace.root / "data" / "weights").mkdir(parents=True)
    workspace.run(sys.executable, "make_checkpoint.py")
    (workspace.root / "make_checkpoint.py").unlink()


def shapes(workspace):
    """What own-images needs: pictures of six shapes, of any size, place and colour."""
    rng = np.random.default_rng(0)
    draw = {
        "bar": lambda pen, box, ink: pen.rectangle((box[0], box[1] + 9, box[2], box[3] - 9), fill=ink),
        "circle": lambda pen, box, ink: pen.ellipse(box, fill=ink),
        "cross": lambda pen, box, ink: [pen.line(ends, fill=ink, width=5) for ends in (box, (*box[2:], *box[:2]))],
        "ring": lambda pen, box, ink: pen.ellipse(box, outline=ink, width=4),
        "square": lambda pen, box, ink: pen.rectangle(box, fill=ink),
        "triangle": lambda pen, box, ink: pen.polygon([box[:2], (box[2], box[1]), box[2:]], fill=ink),
    }
    for split, count in (("train", 40), ("test", 20)):
        for name, shape in draw.items():
            folder = workspace.root / "data" / "shapes" / split / name
            folder.mkdir(parents=True)
            for place in range(count):
                picture = Image.new("RGB", (40, 36), tuple(rng.integers(0, 90, 3).tolist()))
                left, top, size = (rng.integers(*bounds).item() for bounds in ((2, 12), (2, 12), (20, 24)))
                ink = tuple(rng.integers(140, 256, 3).tolist())
                shape(ImageDraw.Draw(picture), (left, top, left + size, top + size), ink)
                picture.save(folder / f"{place}.png")


NEEDED = {"new-method": nothing, "own-checkpoint": checkpoint, "own-images": shapes}


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_ends_in_a_table_and_a_heatmap(workspace, example):
    subprocess.run(("git", "init", "--quiet"), cwd=workspace.root, check=True)
    (workspace.root / ".gitignore").write_text((REPOSITORY / ".gitignore").read_text())
    subprocess.run(("git", "add", "."), cwd=workspace.root, check=True)
    NEEDED[example](workspace)

    workspace.snakemake("--quiet", "all", "--configfile", f"workflow/examples/{example}.yaml", "--cores", "1")

    table = pd.read_csv(workspace.results / "tables" / "custom" / "table1.csv", index_col=0)
    assert len(table) > 1 and table.notna().to_numpy().all()
    tidy = pd.read_parquet(workspace.results / "tables" / "custom" / "table1.parquet")
    assert tidy.published.isna().all()
    assert (tidy.value[tidy.column.str.endswith("clean")] > 60).all(), "nothing was learnt"
    assert (workspace.results / "tables" / "custom" / "table1.md").read_text(encoding="utf-8").startswith("# ")
    with Image.open(workspace.results / "figures" / "custom" / "fig1.png") as image:
        assert len(image.convert("RGB").getcolors(2**20)) > 100
    changed = subprocess.run(("git", "status", "--short"), cwd=workspace.root, capture_output=True, text=True)
    assert not [line for line in changed.stdout.splitlines() if not line.startswith("A ")]
