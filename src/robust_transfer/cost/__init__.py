"""What a plan costs before it runs: passes through networks, counted; seconds, from what cards have recorded.

networks: what one image costs a network. nodes: what a node asks of a machine. rates: how fast the machine is.
forecast: all nodes of a plan that are to be made. Only networks that no table has are counted with torch.
"""
