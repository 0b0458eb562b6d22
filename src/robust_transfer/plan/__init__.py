"""What is to be computed: config, specs, node ids and the graph. Nothing here imports torch.

Every cluster job reads the Snakefile again, so this package has to load in a fraction of a second.
"""
