"""The table of what each switch does: which switches, which nodes, which cells."""

import pytest

from robust_transfer.plan.protocol import SWITCHES, chosen, parts_of, set_apart
from robust_transfer.studies import PAPERS
from robust_transfer.studies.protocols import switches_of
from workspace import REPOSITORY, planned

WORKFLOW = REPOSITORY / "workflow"


def test_davchevs_switches_are_its_own():
    assert switches_of("davchev", WORKFLOW) == ["D12", "D13", "D14", "D15", "D16"]


def test_every_switch_belongs_to_a_study():
    assert {switch for study in PAPERS for switch in switches_of(study, WORKFLOW)} == set(SWITCHES)


@pytest.mark.parametrize("study", PAPERS)
def test_a_row_for_each_switch_and_protocol(study):
    plan = planned(study, compare_protocols=True)
    cells = plan.products[f"tables/{study}/protocols"].spec["cells"]
    switches = switches_of(study, WORKFLOW)
    rows = ["as configured", *(f"{s}: {p}" for s in switches for p in SWITCHES[s].positions)]
    assert list(dict.fromkeys(cell["row"] for cell in cells)) == rows
    columns = {row: [cell["column"] for cell in cells if cell["row"] == row] for row in rows}
    assert len({tuple(names) for names in columns.values()}) == 1
    assert all(node in plan.nodes for cell in cells for node in cell["nodes"].values())
    assert all(parent in plan.nodes for node in plan.nodes.values() for parent in node.parents.values())

    shown = {row: [cell["nodes"] for cell in cells if cell["row"] == row] for row in rows}
    assert all(shown[f"{s}: corrected"] == shown["as configured"] for s in switches_of(study, WORKFLOW))
    assert len({str(nodes) for nodes in shown.values()}) > 1, "no switch does anything"


def test_what_made_the_tables_is_the_code_but_where_a_switch_says_otherwise():
    code, published = (planned("davchev", protocol=protocol) for protocol in ("code", "as_published"))
    labels = {
        plan: {n.spec["inputs"]["attack"].get("labels", "true") for n in plan.nodes.values()
               if n.spec.get("inputs", {}).get("attack", {}).get("algorithm") == "fgsm"}
        for plan in (code, published)
    }  # fmt: skip
    assert (labels[code], labels[published]) == ({"true"}, {"predicted"})
    assert planned("davchev", protocol="code", switches={"D13": "as_published"}).nodes.keys() == published.nodes.keys()
    assert planned("cartl", protocol="as_published").nodes.keys() == planned("cartl", protocol="code").nodes.keys()


def test_d12_is_about_the_batches_of_adversarial_training_alone():
    paper, code = (planned("davchev", scale="paper", switches={"D12": position}) for position in ("paper", "code"))
    for plan, adversarial in ((paper, 100), (code, 128)):
        trained = [n.spec for n in plan.nodes.values() if n.kind in ("pretrain", "transfer")]
        for spec in trained:
            wanted = adversarial if spec.get("inputs", {}).get("attack") else 128
            assert spec["schedule"]["batch_size"] == wanted


def test_a_compound_switch_sets_its_parts_and_a_part_stands_over_it():
    parts = ["D6a", "D6b", "D6c", "D6d", "D6e"]
    assert parts_of("D6") == parts and parts_of("D6b") == ["D6b"] and parts_of("D15") == ["D15"]
    for order in (["D6", "D6b"], ["D6b", "D6"]):
        given = {"D6": "code", "D6b": "paper"}
        found = chosen("corrected", {name: given[name] for name in order})
        assert [found[part] for part in parts] == ["code", "paper", "code", "code", "code"]
        assert found["D7a"] == "corrected"


def test_what_is_said_to_be_set_apart_is_what_is():
    assert set_apart("corrected", {"D6": "code"}) == {"D6": "code"}
    assert set_apart("corrected", {"D6": "code", "D6b": "corrected"}) == dict.fromkeys(
        ("D6a", "D6c", "D6d", "D6e"), "code"
    )
    assert set_apart("code", {"D6": "code", "D6b": "code"}) == {}
    assert set_apart("paper", {"D15": "code", "D6d": "code"}) == {"D6d": "code", "D15": "code"}


def test_each_part_changes_something_of_its_own_and_together_they_change_what_the_compound_switch_does():
    usual = planned("cartl", scale="paper", protocol="paper")
    models = {i for i, node in usual.nodes.items() if node.kind in ("pretrain", "transfer")}

    def changed(**switches):
        return models - planned("cartl", scale="paper", protocol="paper", switches=switches).nodes.keys()

    for group in ("D4", "D6", "D7"):
        of_parts = {part: changed(**{part: "code"}) for part in parts_of(group)}
        assert set().union(*of_parts.values()) == changed(**{group: "code"})
        assert {part for part, found in of_parts.items() if not found} == ({"D4d", "D6d"} & of_parts.keys())


def test_it_is_made_on_request_alone():
    plan = planned("davchev")
    assert "tables/davchev/protocols" not in plan.products
    more = planned("davchev", compare_protocols=True)
    assert set(plan.nodes) < set(more.nodes)
    strong = {n.spec["attack"].get("steps") for n in more.nodes.values() if n.kind == "craft"}
    assert {7, 20} <= strong, "D15 in both forms"
