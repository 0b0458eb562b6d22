"""robust-transfer diff: values and numbers that differ between two configs, plans or folders of results."""

import io
import shutil
from functools import partial

import pandas as pd
import pytest

from pretend import pretend_node
from robust_transfer.plan import freeze
from robust_transfer.run import products

TABLE = "tables/davchev/table1"


def outcomes(right):
    """An evaluation's artifact: 100 images, so many of them right."""
    file = io.BytesIO()
    frame = pd.DataFrame({"label": 0, "prediction": [int(i >= right) for i in range(100)], "confidence": 0.5})
    frame.to_parquet(file, index=False)
    return file.getvalue()


def measure(plan, results, right=50, **others):
    """Make all of a plan, half of all images right but in the evaluations with these slugs; returns the frozen plan."""
    path = freeze.freeze(plan, results)
    for node in plan.ancestry(plan.nodes):
        content = outcomes(others.get(node.slug, right)) if node.kind == "evaluate" else node.id
        pretend_node(node, plan, results, path.stem, content)
    return path


@pytest.fixture
def two_seeds(pretended, plan):
    """Both seeds are cached; with the second one network is far better and another a little."""
    cells = plan.products[TABLE].spec["cells"]
    far, little = (plan.nodes[cells[i]["nodes"]["outcomes"]].slug for i in (0, 1))
    plans = [measure(plan, pretended.results)]
    pretended.set("seed", 1)
    plans.append(measure(pretended.plan(), pretended.results, **{far: 90, little: 52}))
    pretended.set("seed", 0)
    return [path.stem for path in plans]


@pytest.fixture
def compared(as_json):
    """(exit status, what `diff --json` says)."""
    return partial(as_json, "diff")


def test_two_seeds_differ_in_values_and_numbers(pretended, plan, two_seeds, compared, said):
    first, second, *_ = plan.products[TABLE].spec["cells"]
    code, found = compared("seed=0", "seed=1")
    assert code == 4 and found["values"] == [{"path": "seed", "was": 0, "now": 1}]
    found_in = {(n["table"], n["row"], n["column"]): n for n in found["numbers"]}
    far, little = (found_in[TABLE, cell["row"], cell["column"]] for cell in (first, second))
    assert (far["was"], far["now"], far["beyond"]) == (50, 90, True)
    assert (little["was"], little["now"], little["beyond"]) == (50, 52, False)
    assert found["compared"][TABLE] == 120 and len([n for n in found["numbers"] if n["table"] == TABLE]) == 2
    assert (found["not_made"], found["only_one_has"]) == ({}, [])
    text = said("diff", "seed=0", "seed=1")[1]
    assert "seed: 0, now 1" in text and f"{TABLE}: 2 of 120 numbers differ, 1 beyond their intervals" in text
    assert "50, now 90 (+40, beyond" in text and "now 52" not in text
    assert "50, now 52 (+2, within" in said("diff", "seed=0", "seed=1", "--all")[1]


def test_plans_files_and_folders_are_sides_too(pretended, two_seeds, compared, tmp_path):
    (tmp_path / "one.yaml").write_text("seed: 1\n")
    wanted = compared("now", "seed=1")
    assert compared(*two_seeds) == compared("now", str(tmp_path / "one.yaml")) == wanted
    pretended.set("seed", 1)
    name = next((pretended.results / "plans").glob(f"{two_seeds[1]}*"))
    product = pretended.plan().products[TABLE]
    products.make(product, freeze.thaw(name), name.stem, pretended.results)
    shutil.copytree(pretended.results, tmp_path / "other")
    for stem in pretended.plan().products:
        if stem != TABLE:
            (tmp_path / "other" / f"{stem}.json").unlink()
    shutil.rmtree(tmp_path / "other" / "evaluate")  # the table is enough
    code, found = compared("seed=0", str(tmp_path / "other"))
    assert code == 4 and found["not_made"] == {"tables/davchev/sources": [str(tmp_path / "other")]}
    assert [n for n in found["numbers"] if n["table"] == TABLE] == [
        n for n in wanted[1]["numbers"] if n["table"] == TABLE
    ]


def test_what_is_the_same_is_so(pretended, two_seeds, compared, said):
    code, found = compared("now", "seed=0")
    assert code == 0 and found.pop("compared")[TABLE] == 120 and not any(found.values())
    assert "0 of 120 numbers differ" in said("diff", "now", "now")[1]


def test_a_kept_table_has_the_numbers_when_its_nodes_are_gone(pretended, plan, two_seeds, compared, said):
    products.make(plan.products[TABLE], plan, two_seeds[0], pretended.results)
    said("table", "davchev/table1", "--keep")
    for stem in (TABLE, "tables/davchev/sources"):
        (pretended.results / f"{stem}.json").unlink()
    shutil.rmtree(pretended.results / "evaluate")
    found = compared("now", "seed=1")[1]
    assert found["not_made"][TABLE] == ["seed=1"] and found["not_made"]["tables/davchev/sources"] == ["now", "seed=1"]


@pytest.mark.parametrize("word", ["nothing", "ffff", "no.yaml"])
def test_what_is_none_of_these_is_a_sentence(pretended, said, word):
    code, _ = said("diff", "now", word)
    assert word in code and "\n" not in code.strip()
