"""What a run shows under `snakemake --logger studies`, and how Snakemake's own long lines become short."""
