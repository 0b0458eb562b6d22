"""What a run shows while it goes, with `snakemake --logger studies`, and how Snakemake's own long lines become short."""
