"""The verdicts on a study's claims, by the paper's numbers and by what was measured: as a frame, a page, a screen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from robust_transfer.claims.cells import RESAMPLES, Cells, Place, measured, printed
from robust_transfer.claims.judge import ALPHA, Judged, holm, judge
from robust_transfer.claims.spec import Claim
from robust_transfer.plan.graph import nodes_of
from robust_transfer.plan.published import published_tables

HOLDS, CONTRADICTED, NOT_PRINTED = "holds", "contradicted", "not printed"
REVERSED, UNDECIDED, NOT_TESTABLE = "reversed", "undecided", "not testable"
MEASURED = (HOLDS, REVERSED, UNDECIDED, NOT_TESTABLE)
SCREEN, FEWEST = 30, 3
"""Lines of the screen, and how many reversed claims of a study are named at least."""


def of_print(claims: Mapping[str, Claim], study: str) -> pd.DataFrame:
    """What the printed numbers say.

    Returns:
        A row a claim, by its name: printed (a verdict), printed_k of printed_n instances that hold, printed_against:
        the others.
    """
    found = _judged(claims, printed(published_tables(study)))
    rows = [
        [NOT_PRINTED if each.whole is None else HOLDS if each.whole.holds else CONTRADICTED, *_instances(each)]
        for each in found
    ]
    return pd.DataFrame(rows, index=list(claims), columns=["printed", "printed_k", "printed_n", "printed_against"])


def of_measured(
    claims: Mapping[str, Claim],
    cells: Sequence[dict[str, Any]],
    artifact_of: Callable[[str], Path],
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """What was measured says, by tests at a level of 5 % for the study as a whole.

    cells, artifact_of: see cells.measured.

    Returns:
        A row a claim, by its name: measured (a verdict), k of n instances that hold in sign, against: the others, p
        (Holm's), reason why it is not testable, and the nodes that it rests on.
    """
    found = measured(cells, artifact_of, resamples)
    nodes = {Place(*(cell[key] for key in Place._fields)): nodes_of(cell) for cell in cells}
    judged, used = [], []
    for claim in claims.values():
        found.asked.clear()
        judged += _judged({"": claim}, found) if not claim.printed_only else [Judged(None)]
        used.append(" ".join(dict.fromkeys(node for place in sorted(found.asked) for node in nodes[place])))
    rows = [
        [_verdict(each, p), *_instances(each), p, _reason(claim, each), ids]
        for claim, each, p, ids in zip(claims.values(), judged, holm([each.p for each in judged]), used, strict=True)
    ]
    return pd.DataFrame(rows, index=list(claims), columns=["measured", "k", "n", "against", "p", "reason", "nodes"])


def verdicts(
    study: str, claims: Mapping[str, Claim], cells: Sequence[dict[str, Any]], artifact_of: Callable[[str], Path]
) -> pd.DataFrame:
    """Both verdicts on all claims of a study, a row a claim."""
    rows = [[study, claim.where, claim.claim, claim.predicate, claim.ours] for claim in claims.values()]
    about = pd.DataFrame(rows, index=list(claims), columns=["study", "where", "claim", "predicate", "ours"])
    return pd.concat([about, of_print(claims, study), of_measured(claims, cells, artifact_of)], axis=1).reset_index(
        names="id"
    )


def _judged(claims: Mapping[str, Claim], cells: Cells) -> list[Judged]:
    return [judge(claim, cells) if claim.holds else Judged(None) for claim in claims.values()]


def _instances(judged: Judged) -> tuple[int, int, str]:
    return judged.k, judged.n, "; ".join(judged.against)


def _verdict(judged: Judged, p: float) -> str:
    if judged.whole is None:
        return NOT_TESTABLE
    if p > ALPHA:
        return UNDECIDED
    return HOLDS if judged.whole.p_holds < judged.whole.p_reversed else REVERSED


def _reason(claim: Claim, judged: Judged) -> str:
    if judged.whole is not None:
        return ""
    if claim.printed_only:
        return "it is about the printed numbers alone"
    return claim.untestable or "this scale has no such rows or columns"


# ---- for readers ---------------------------------------------------------------------------------------------------


def page(frame: pd.DataFrame, caption: str) -> str:
    """The verdicts for readers, in Markdown. caption: the scene of what was measured."""
    lines = ["# Claims", ""]
    for study, of_study in frame.groupby("study", sort=False):
        lines += [
            f"## {study}",
            "",
            f"{counts(of_study.measured)}; of the printed numbers, {counts(of_study.printed)}.",
            "",
        ]
        shown = pd.DataFrame(
            {
                "": of_study.id,
                "claim": of_study.claim + " (" + of_study["where"] + ")",
                "predicate": "`" + of_study.predicate.str.replace("|", "\\|") + "`",
            }
            | _both(of_study)
        )
        lines += [shown.replace("``", "").to_markdown(index=False, disable_numparse=True), ""]
        for verb, column in (("In print", "printed_against"), ("Measured", "against"), ("Not testable", "reason")):
            against = of_study[of_study[column] != ""]
            lines += [f"- {verb}, {name}: {text}." for name, text in zip(against.id, against[column], strict=True)]
        lines.append("")
    lines += [
        "k/n: in k of n instances the numbers are as the claim says. * marks a threshold that is ours. p is two-sided,",
        f"with Holm's correction for all claims of the study; verdicts on what was measured are given at {ALPHA:g}.",
        "",
        f"- {caption}.",
        "",
    ]
    return "\n".join(lines)


def short(frame: pd.DataFrame, caption: str) -> str:
    """The verdicts alone, a row a claim, in Markdown; for a page of one's own. caption: see page."""
    lines = []
    for study, of_study in frame.groupby("study", sort=False):
        shown = pd.DataFrame({"": of_study.id, "claim": of_study.claim} | _both(of_study))
        found = f"Measured: {counts(of_study.measured)}. In print: {counts(of_study.printed)}."
        lines += [f"### {study}", "", found, "", shown.to_markdown(index=False, disable_numparse=True), ""]
    return "\n".join([*lines, f"{caption}."])


def screen(frame: pd.DataFrame, where: str, named: bool = True) -> list[str]:
    """Lines that say, study by study, how many claims hold, and if `named` which are reversed. where: the pages lie."""
    lines, shown = [], max(FEWEST, SCREEN // frame.study.nunique() - 2)
    for study, of_study in frame.groupby("study", sort=False):
        lines.append(f"{study}: {counts(of_study.measured)} (printed: {counts(of_study.printed)})")
        if not named:
            continue
        against = of_study[of_study.measured == REVERSED]
        names = [f"  reversed {row.id}: {row.claim}" for row in against.itertuples()]
        lines += [line if len(line) <= 120 else line[:117] + "..." for line in names[:shown]]
        if len(names) > shown:
            lines.append(f"  and {len(names) - shown} more: {where}/{study}.md")
    return lines


def counts(verdicts: pd.Series) -> str:
    """`3 holds, 1 reversed`: the verdicts that there are, in a fixed order."""
    found = verdicts.value_counts()
    order = dict.fromkeys((*MEASURED, CONTRADICTED, NOT_PRINTED))
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in order if verdict in found)


def p_value(p: float) -> str:
    """As it is shown; "" where nothing was tested."""
    return "" if pd.isna(p) else f"{p:.2g}" if p >= 0.001 else "< 0.001"


def _both(frame: pd.DataFrame) -> dict[str, Any]:
    """The columns of both verdicts, for readers."""
    return {
        "printed": list(map(_of, frame.printed, frame.printed_k, frame.printed_n)),
        "measured": list(map(_of, frame.measured, frame.k, frame.n)),
        "p": frame.p.map(p_value),
    }


def _of(verdict: str, k: int, n: int) -> str:
    return f"{verdict} {k}/{n}" if n else verdict
