"""tabulate, draw and judge: tables, figures and verdicts on claims from the outcomes that their cells name."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from robust_transfer import chain, provenance, store
from robust_transfer.plan.graph import Plan, Product
from robust_transfer.stages.node import KINDS
from robust_transfer.tables.layout import decimals, markdown, numbers
from robust_transfer.tables.tidy import tidy


def make(product: Product, plan: Plan, plan_name: str, results: Path) -> None:
    """Write a table (.csv, .parquet, .md), a figure (.png, .svg) or verdicts (as a table), and its card (.json).

    Raises:
        UserError: where what it shows is damaged, or was made from different bytes of the same thing.
    """
    read = chain.shown_by(product, plan.nodes, results)
    shown = with_warnings(product, plan, results)

    @cache
    def artifact_of(node_id: str) -> Path:
        node = plan.nodes[node_id]
        return store.checked_artifact(results / node.folder, KINDS[node.kind].artifact)

    stem = results / product.stem
    if product.kind == "claim":
        writers = _verdicts(product.spec, artifact_of)
    else:
        frame = tidy(product.study, product.name, product.spec["cells"], artifact_of)
        writers = table_files(frame, shown) if product.kind == "table" else _figure(frame, shown, artifact_of)
    outputs = {}
    for ending, write in writers.items():
        path = stem.with_suffix(ending)
        with store.replacing(path) as temporary:
            write(temporary)
            outputs[path.name] = store.describe(temporary)
    store.write_card(
        stem.with_suffix(".json"),
        {
            "kind": product.kind,
            "key": product.key,
            "version": product.param["version"],
            "spec": product.spec,
            "read": read,
            "outputs": outputs,
            "plan": plan_name,
            "code": provenance.fingerprint(__name__),
            "git": provenance.git_state(),
            "versions": provenance.versions(),
        },
    )


def with_warnings(product: Product, plan: Plan, results: Path) -> dict[str, Any]:
    """A product's spec, and under `warnings` what is suspicious by the specs and the cards of all nodes behind it."""
    nodes_of: dict[str, list[str]] = {}
    for node in plan.ancestry(product.nodes):
        card = store.glance(results / node.card, node.id) or {}
        for sentence in (*KINDS[node.kind].parse(node.spec).warnings(), *card.get("metrics", {}).get("warnings", ())):
            nodes_of.setdefault(sentence, []).append(node.id)
    return product.spec | {
        "warnings": [
            f"{sentence} ({first}{f' and {len(rest)} more' * bool(rest)})"
            for sentence, (first, *rest) in nodes_of.items()
        ]
    }


def table_files(frame, spec: dict[str, Any]) -> dict[str, Any]:
    """The files of a table, by their endings: each a function that writes it to a path. spec: see with_warnings."""
    text = markdown(frame, spec)
    digits = max(2, *(decimals(spec, metric) for metric in frame.metric.unique()))
    form = "%.4g" if spec.get("general") else f"%.{digits}f"
    return {
        ".csv": partial(numbers(frame, spec).to_csv, index=False, float_format=form),
        ".parquet": partial(frame.to_parquet, index=False),
        ".md": lambda path: path.write_text(text, encoding="utf-8"),
    }


def _verdicts(spec: dict[str, Any], artifact_of: Callable[[str], Path]) -> dict[str, Any]:
    import pandas as pd

    from robust_transfer.claims import verdicts
    from robust_transfer.plan.claims import claims_of

    found = []
    for study in studies_of(spec):
        sha256 = spec["claims"][study]
        cells = [cell for cell in spec["cells"] if cell["study"] == study]
        found.append(verdicts.verdicts(study, claims_of(study, sha256), cells, artifact_of))
    frame = pd.concat(found, ignore_index=True)
    text = verdicts.page(frame, spec["measured"])
    return {
        ".csv": partial(frame.drop(columns="nodes").to_csv, index=False, float_format="%.4g"),
        ".parquet": partial(frame.to_parquet, index=False),
        ".md": lambda path: path.write_text(text, encoding="utf-8"),
    }


def studies_of(spec: dict[str, Any]) -> list[str]:
    """The studies whose claims are judged, in the order of the config: that of the cells, because the keys of a frozen
    plan are sorted. Those without cells come last.
    """
    in_order = [*(cell["study"] for cell in spec["cells"]), *spec["claims"]]
    return sorted(spec["claims"], key=in_order.index)


def _figure(frame, spec: dict[str, Any], artifact_of: Callable[[str], Path]) -> dict[str, Any]:
    import matplotlib

    from robust_transfer.figures.drawings import DRAWINGS

    tensors = {}
    if "tensors" in spec:
        from robust_transfer.figures.arrays import read  # it needs torch, which other figures don't

        tensors = read(spec["tensors"], artifact_of)
    figure = DRAWINGS[spec["draw"]](frame, spec, tensors)
    matplotlib.rcParams["svg.hashsalt"] = "robust-transfer"  # the same figure gives the same bytes

    def save(path: Path, form: str) -> None:
        figure.savefig(path, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)

    return {".png": partial(save, form="png"), ".svg": partial(save, form="svg")}
