"""Canonical JSON and the digests that name nodes."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN.

    Raises:
        ValueError: for NaN or an infinity.
        TypeError: for anything JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def node_id(kind: str, slug: str, spec: dict[str, Any], parents: dict[str, str], version: int) -> str:
    """`<slug>.<12 hex>`, the name of a node of a version of its kind: the slug does not enter the hash.

    parents: role -> id.
    """
    content = {"kind": kind, "version": version, "spec": spec, "parents": parents}
    return f"{slug}.{digest(content)[:12]}"
