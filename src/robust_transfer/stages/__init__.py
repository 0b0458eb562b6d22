"""The nodes: each stage reads its parents' artifacts, computes, and writes one artifact and a card.

A stage knows nothing of papers, tables or Snakemake. By hand: `python -m robust_transfer.stages <stage> <node id>`.
"""
