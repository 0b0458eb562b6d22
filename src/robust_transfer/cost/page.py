"""The table of what the five papers cost at their own scale, and that of the networks which the shipped scales have."""

from collections.abc import Iterator
from pathlib import Path

from robust_transfer import pace
from robust_transfer.cost.forecast import Forecast, is_on_gpu
from robust_transfer.cost.networks import as_table
from robust_transfer.cost.nodes import Needs
from robust_transfer.cost.rates import Rates, assumed
from robust_transfer.cost.words import hours
from robust_transfer.plan.graph import Plan
from robust_transfer.studies import PAPERS, make_plan

TERAFLOPS, DEVICES = 20.0, 8
KINDS = ("pretrain", "transfer", "craft", "certify")


def plan_of(scale: str, workflow: Path) -> Plan:
    """All papers at a shipped scale, whatever the config says."""
    names = list(PAPERS)
    return make_plan({"scale": scale, "studies": names, "main_study": names[0]}, workflow)


def networks(workflow: Path) -> str:
    """The text of networks.json: all networks of all shipped scales."""
    keys: set[str] = set()
    for path in sorted((workflow / "scales").glob("*.yaml")):
        plan = plan_of(path.stem, workflow)
        needs = Needs(plan, Path(plan.origin["data_root"]))
        keys |= {key for node in plan.nodes.values() for key in needs.keys(node)}
    return as_table(keys)


def papers(workflow: Path) -> str:
    """What each paper costs at its own scale where nothing is made yet, at an assumed speed."""
    plan = plan_of("paper", workflow)
    of_studies = {study: ids for study, (ids, _) in plan.of_studies().items()}
    rows = [*_rows(plan, of_studies), *_rows(plan, {"all": list(plan.nodes)})]
    head = f"| study | nodes | GPU-hours | {' | '.join(KINDS)} | disk | longest path | on {DEVICES} GPUs |"
    return "\n".join([head, "|---|" + "---:|" * (head.count("|") - 2), *rows])


def _rows(plan: Plan, of_study: dict[str, list[str]]) -> Iterator[str]:
    rates = Rates(assumed(is_on_gpu(plan), plan.origin["machine"]["threads"], TERAFLOPS))
    for study, ids in of_study.items():
        found = Forecast(plan, ids, rates, is_on_gpu(plan))
        total = found.total()
        kinds = [hours(found.kinds[kind].seconds) if kind in found.kinds else "" for kind in KINDS]
        times = [pace.in_words(found.soonest), pace.in_words(found.wall(DEVICES))]
        cells = [study, f"{total.nodes:,}", hours(total.seconds), *kinds, pace.in_bytes(total.disk), *times]
        yield f"| {' | '.join(cells)} |"
