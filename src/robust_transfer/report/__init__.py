"""The report: one HTML file of all that lies in a folder of results, which opens anywhere and loads nothing."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from robust_transfer import audit, store
from robust_transfer.plan import freeze
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.plan.protocol import PROTOCOLS, SWITCHES, chosen
from robust_transfer.report.compact import Compact
from robust_transfer.report.parts import claims, condition, picture, table
from robust_transfer.report.times import graph, times
from robust_transfer.results.status import Status
from robust_transfer.results.trace import Traces

NAME = "report.html"


def write(results: Path, path: Path, plan: Path | None = None, audited: bool = True) -> None:
    """Write the report of a frozen plan, and of what else is there: what is not made is said to be missing.

    plan: the newest unless given. audited: whether all results are checked against their cards, which reads every file.

    Raises:
        UserError: where there is no plan yet.
    """
    text = page(results, plan or freeze.newest(results), audited)
    with store.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(results: Path, frozen: Path, audited: bool = True) -> str:
    """The report as HTML."""
    plan = freeze.thaw(frozen)
    traces = Traces(results, plan=plan)
    status = Status(plan, results)
    compact = Compact(traces)
    studies: dict[str, list[dict[str, Any]]] = {}
    for product in traces.shown.products.values():
        studies.setdefault(product.study, []).append(_product(product, results, status, compact))
    return _html(
        facts=_facts(plan, studies),
        claims=claims(plan, results, status),
        studies=[{"name": name, "products": products} for name, products in studies.items()],
        audit=_audit(results) if audited else None,
        protocol=plan.origin["config"].get("protocol"),
        positions=PROTOCOLS,
        switches=_switches(plan),
        times=times(plan, traces),
        graph=graph(plan),
        plan=frozen.stem,
        data=compact.as_json(),
    )


def _html(**parts: Any) -> str:
    """The template, filled in. Scripts and styles other than the report's own are refused by the page itself."""
    here = files(__name__)
    style, script, template = (
        here.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "script.js", "page.html.j2")
    )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    own = {"style": style, "style_hash": _hash(style), "script": script, "script_hash": _hash(script)}
    return environment.from_string(template).render(**own, **parts)


def _hash(text: str) -> str:
    """How a content security policy names an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _facts(plan: Plan, studies: dict[str, list[dict[str, Any]]]) -> list[str]:
    config = plan.origin["config"]
    products = [product for of_study in studies.values() for product in of_study]
    missing, late = (sum(bool(product[key]) for product in products) for key in ("missing", "remarks"))
    seeds = config.get("seeds") or [config.get("seed", 0)]
    return [
        f"Scale {config.get('scale')}, protocol {config.get('protocol')}, seed {', '.join(map(str, seeds))}.",
        f"{len(products) - missing} of {len(products)} tables and figures are made"
        + (f", {late} of them not as the plan has them." if late else "."),
        "A number shows where it comes from when it is clicked; a column is sorted by its heading.",
    ]


def _product(product: Product, results: Path, status: Status, compact: Compact) -> dict[str, Any]:
    """A table or figure as the template wants it."""
    spec, made = product.spec, (results / f"{product.stem}.json").exists()
    found = {
        "name": Path(product.stem).name,
        "title": spec.get("title", product.key),
        "measured": spec["measured"],
        "published": spec.get("published"),
        "on": spec.get("on"),
        **condition(product.stem, status),
        "target": f"{results}/{product.stem}.{'csv' if product.kind == 'table' else 'png'}",
        "index": compact.product(product),
        "points": len(spec["cells"]) + len(spec.get("tensors", {})) if product.kind == "figure" and made else 0,
        **dict.fromkeys(("rows", "picture", "warnings", "margin", "whole")),
    }
    if made and product.kind == "table":
        try:
            found |= table(product, results, compact)
        except (OSError, ValueError, LookupError) as error:
            found["remarks"] = [*found["remarks"], f"its files cannot be read ({type(error).__name__})"]
    elif made:
        found["picture"] = picture(results / product.stem)
    return found | {"warnings": found["warnings"] or []}


def _audit(results: Path) -> dict[str, Any]:
    """What the audit finds, by how grave it is."""
    stored = audit.Stored(results)
    found = audit.as_json(stored, audit.findings(stored, audit.LEVELS))
    grave = {
        severity: [each["what"] for each in found["findings"] if each["severity"] == severity]
        for severity in audit.STATUS
    }
    return {"root": found["root"], **found["audited"], "counts": found["counts"], "found": grave}


def _switches(plan: Plan) -> list[dict[str, Any]]:
    """Those of the studies that are planned, with what each position means."""
    config = plan.origin["config"]
    choices = chosen(config.get("protocol"), config.get("switches", {}))
    return [
        {
            "name": name,
            "study": switch.study,
            "topic": switch.topic,
            "chosen": choices[name] if choices[name] in switch.positions else "code",
            "texts": {position: getattr(switch, position) or "" for position in PROTOCOLS},
        }
        for name, switch in SWITCHES.items()
        if switch.study in config["studies"]
    ]
