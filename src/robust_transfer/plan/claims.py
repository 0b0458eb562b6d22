"""The verdicts on claims as products: one a study, and one of all.

Planning does not read the papers' claims: the spec has the digest of their file, and the cells of every table and
figure that is named in it.
"""

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_transfer.canonical import canonical_json
from robust_transfer.errors import UserError
from robust_transfer.plan.graph import Plan

if TYPE_CHECKING:
    from robust_transfer.claims.spec import Claim

READ = ("row", "column", "metric", "nodes", "replicates", "ours")
"""What of a cell the verdicts go by."""


def file_of(study: str) -> Path:
    """The file of a study's claims, which need not be there."""
    return Path(str(files("robust_transfer"))) / "claims" / f"{study}.yaml"


def digest_of(content: bytes) -> str:
    """The sha256 of what a file of claims says, without its comments."""
    lines = content.splitlines()
    return sha256(b"\n".join(line for line in lines if line.strip() and not line.lstrip().startswith(b"#"))).hexdigest()


def claims_of(study: str, given: str | dict[str, Any]) -> "dict[str, Claim]":
    """The claims of a study, from a spec: of a paper the digest of their file, of others they themselves.

    Raises:
        UserError: where the file is not what was planned with, or has mistakes.
    """
    from robust_transfer.claims.spec import Claim, read

    if isinstance(given, dict):
        return {name: Claim.model_validate(claim) for name, claim in given.items()}
    path = file_of(study)
    if digest_of(path.read_bytes()) != given:
        raise UserError(f"{path} has changed since the plan was made; start `snakemake` again")
    return read(path)


def add_verdicts(
    plan: Plan, captions: Mapping[str, str], of_all: str, own: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Add the verdicts on all claims of the studies in the plan.

    captions: by study. of_all: that of all together. own: the claims, as written, of studies that have no file of them.
    """
    every: dict[str, Any] = {"claims": {}, "measured": of_all, "cells": []}
    shown = [product for product in plan.products.values() if product.kind != "claim"]
    for study, caption in captions.items():
        path, given = file_of(study), (own or {}).get(study, {})
        if not (given or path.exists()):
            continue
        content = canonical_json(given).encode() if given else path.read_bytes()
        claims = {study: given or digest_of(content)}
        cells = [
            {"study": study, "table": product.name} | {key: cell[key] for key in READ if key in cell}
            for product in shown
            if product.study == study and f"{product.name} |".encode() in content
            for cell in product.spec["cells"]
        ]
        plan.add_product("claim", study, "", {"claims": claims, "measured": caption, "cells": cells})
        every["claims"] |= claims
        every["cells"] += cells
    if every["claims"]:
        plan.add_product("claim", "", "", every)
