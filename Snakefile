"""Drawplate: from a base checkpoint to measured, gated, traceable artifacts.

A page of contents. What is built stands in conf/, how in rules/ and scripts/, with what in src/.
"""

import sys

from snakemake.utils import min_version

from drawplate.build.workflow import open_plan

min_version("9.27")


# For --software-deployment-method apptainer only: the environment is the one that make makes.
container: "docker://python:3.11-slim"


plan = open_plan(config, goals=sys.argv[1:])


include: "rules/common.smk"


wildcard_constraints:
    model=plan.model,
    lineage=r"base(\.[a-z0-9_-]+)*",
    key=keys(),


# Goals, and what takes a second or writes into one small database: no jobs of a cluster.
localrules:
    all,
    checkpoints,
    engines,
    measurements,
    proxies,
    assess,
    poc,
    pilot,
    production,
    gate,
    track,
    report,
    harvest,


if plan.search:

    # Its recipes are not known yet: another build of this file follows the search.
    rule all:
        input:
            stamps("search"),
        log:
            f"logs/survivors/{plan.model}.log",
        threads: EVERY_CORE
        params:
            build=build_of_survivors,
        message:
            "Build and report the survivors"
        shell:
            "{params.build} 2>&1 | tee {log}"

    include: "rules/search.smk"

else:

    rule all:
        input:
            stamps("report", "harvest", "package", "deploy"),


include: "rules/machine.smk"
include: "rules/data.smk"
include: "rules/base.smk"
include: "rules/prune.smk"
include: "rules/rotate.smk"
include: "rules/teacher.smk"
include: "rules/distill.smk"
include: "rules/recover.smk"
include: "rules/sparsify.smk"
include: "rules/quantize.smk"
include: "rules/proxy.smk"
include: "rules/quantize_library.smk"
include: "rules/compile.smk"
include: "rules/verify.smk"
include: "rules/evaluate.smk"
include: "rules/benchmark.smk"
include: "rules/gate.smk"
include: "rules/sweep.smk"
include: "rules/rootfs.smk"
include: "rules/package.smk"
include: "rules/serve.smk"
include: "rules/deploy.smk"
include: "rules/bundle.smk"
include: "rules/track.smk"
include: "rules/report.smk"
include: "rules/harvest.smk"
include: "rules/goals.smk"
include: "rules/phases.smk"


refuse_unknown_goals(sys.argv[1:])


onerror:
    shell(partial_report())
