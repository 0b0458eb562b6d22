"""The kinds of node: one file each, with the spec, what is true of all nodes of the kind, and how one is made.

A stage reads its parents' artifacts, computes, and writes one artifact; it knows nothing of papers, tables or
Snakemake. Each module has `KIND` and `run(job)`, which imports what it computes with, so that planning stays light.
Everything else (ids, rules, cards, the warm process, the audit) finds it here by its name; see docs/stages.md.
"""

from robust_transfer.registry import modules
from robust_transfer.stages.node import KINDS

KINDS.update({m.__name__.rsplit(".", 1)[-1]: m.KIND for m in modules(__name__, __path__) if hasattr(m, "KIND")})
