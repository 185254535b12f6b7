"""How the report looks: a package, so that its files are code of what renders and of nothing else."""
