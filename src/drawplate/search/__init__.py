"""Search over recipes: an optimizer proposes, Snakemake builds, a proxy stops the losers."""
