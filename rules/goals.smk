"""Goals to name on the command line: `snakemake --profile cpu checkpoints`."""


rule checkpoints:
    input:
        stamps("base", "quantize"),


rule engines:
    input:
        stamps("compile", "verify"),


rule measurements:
    input:
        stamps("evaluate", "benchmark"),
