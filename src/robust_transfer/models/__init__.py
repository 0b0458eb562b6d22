"""Networks, how they are partitioned for transfer, and their files."""
