"""The table of what each switch does: which switches, which nodes, which cells."""

import pytest

from robust_transfer.plan.protocol import PROTOCOLS, SWITCHES
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
    rows = ["as configured", *(f"{s}: {p}" for s in switches_of(study, WORKFLOW) for p in PROTOCOLS)]
    assert list(dict.fromkeys(cell["row"] for cell in cells)) == rows
    columns = {row: [cell["column"] for cell in cells if cell["row"] == row] for row in rows}
    assert len({tuple(names) for names in columns.values()}) == 1
    assert all(node in plan.nodes for cell in cells for node in cell["nodes"].values())
    assert all(parent in plan.nodes for node in plan.nodes.values() for parent in node.parents.values())

    shown = {row: [cell["nodes"] for cell in cells if cell["row"] == row] for row in rows}
    assert all(shown[f"{s}: corrected"] == shown["as configured"] for s in switches_of(study, WORKFLOW))
    assert len({str(nodes) for nodes in shown.values()}) > 1, "no switch does anything"


def test_it_is_made_on_request_alone():
    plan = planned("davchev")
    assert "tables/davchev/protocols" not in plan.products
    more = planned("davchev", compare_protocols=True)
    assert set(plan.nodes) < set(more.nodes)
    strong = {n.spec["attack"].get("steps") for n in more.nodes.values() if n.kind == "craft"}
    assert {7, 20} <= strong, "D15 in both forms"
