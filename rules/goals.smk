"""Goals to name on the command line: `snakemake --profile cpu checkpoints`, or any variant."""


rule checkpoints:
    input:
        stamps(
            "base",
            "prune",
            "rotate",
            "distill",
            "recover",
            "sparsify",
            "quantize",
            "quantize_library",
        ),


rule engines:
    input:
        stamps("compile", "verify"),


rule measurements:
    input:
        stamps("evaluate", "benchmark"),


# What a search looks at before it decides who goes on.
rule proxies:
    input:
        stamps("proxy"),


for variant in plan.variants:

    rule:
        name:
            variant["name"]
        input:
            str(variant["nodes"]["gate"].stamp),
        localrule: True
