"""Phases of the way into production, each ending in a page that says whether to go on.

They are asked for by name, as `snakemake --profile cpu assess`; a page is written anew each time.
"""


# Looks at the plan alone, and builds nothing.
rule assess:
    log:
        f"logs/phases/{plan.model}.assess.log",
    params:
        words=phase_words,
    message:
        "Assess: what would fit where, and what it would cost"
    shell:
        "python scripts/phase.py assess --words {params.words} 2>&1 | tee {log}"


rule poc:
    input:
        stamp_of_proof(),
    log:
        f"logs/phases/{plan.model}.poc.log",
    params:
        words=phase_words,
    message:
        "Proof of concept: one variant, built and measured"
    shell:
        "python scripts/phase.py poc --words {params.words} 2>&1 | tee {log}"


# These two reckon with the load that the image was tried under; without one they say how to ask for it.
rule pilot:
    input:
        stamps("serve"),
    log:
        f"logs/phases/{plan.model}.pilot.log",
    params:
        words=phase_words,
    message:
        "Pilot: one replica under a share of the requests"
    shell:
        "python scripts/phase.py pilot --words {params.words} 2>&1 | tee {log}"


rule production:
    input:
        stamps("serve"),
    log:
        f"logs/phases/{plan.model}.production.log",
    params:
        words=phase_words,
    message:
        "Production: replicas for all requests"
    shell:
        "python scripts/phase.py production --words {params.words} 2>&1 | tee {log}"
