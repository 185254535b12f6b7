"""Functions that rules name: all of them look things up in the plan, none computes."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser

from drawplate.build.gpus import gpus
from drawplate.build.searching import plan_in_words
from drawplate.build.workflow import words_of
from drawplate.config.failures import suggest
from drawplate.search.nested import NO_REPORT, snakemake_words

# The environment's own programs come first, whether or not it was activated.
shell.prefix(
    f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)

# As many jobs at once use a GPU as there are GPUs, unless --resources gpu=N says otherwise; each
# leases one for itself.
if config.get("hardware") == "gpu" and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", len(gpus()))

# Snakemake gives a job at most --cores threads; where there is no such limit, on a cluster, the
# profile's set-threads says how many.
EVERY_CORE = 1024
CORES_OF_A_STEP = 8  # on a cluster; set-threads of its profile overrides it


def stamps(*stages):
    """Stamps of every node of the stages."""
    return [str(node.stamp) for stage in stages for node in plan.of(stage)]


def names(stage):
    """Regular expression that matches the names of a stage's nodes, and nothing else."""
    return "|".join(re.escape(node.name) for node in plan.of(stage)) or "none"


def keys():
    """Regular expression that matches the keys of this plan, and nothing else."""
    return "|".join(node.digest for node in plan.nodes)


def parents(wildcards):
    """Stamps a job waits for, by role. Their age means nothing: the key in the name does."""
    node = plan.by_digest(wildcards.key)
    return {role: ancient(str(parent.stamp)) for role, parent in node.parents.items()}


def job_file(wildcards):
    """The description of the job: config and key."""
    return str(plan.by_digest(wildcards.key).job_file)


def output_folder(wildcards):
    """The folder the job fills."""
    return str(plan.by_digest(wildcards.key).folder)


def folder_of(role):
    """Function that gives the folder of a job's parent."""

    def folder(wildcards):
        return str(plan.by_digest(wildcards.key).parents[role].folder)

    return folder


def option(flag, role):
    """Function that gives `flag FOLDER` if the job has a parent in that role, else nothing."""

    def words(wildcards):
        parent = plan.by_digest(wildcards.key).parents.get(role)
        return f"{flag} {parent.folder}" if parent else ""

    return words


def step_threads(wildcards):
    """Steps run two at a time: many small operations and one interpreter gain less from threads.

    On a GPU they would be in each other's way.
    """
    if config.get("hardware") == "slurm":  # where Snakemake knows no number of cores
        return CORES_OF_A_STEP
    if config.get("hardware") == "gpu":
        return workflow.cores
    return max(1, workflow.cores // 2)


def gpus_wanted(wildcards):
    """One for a job that computes on a GPU; none where the profile has none."""
    wanted = plan.by_digest(wildcards.key).gpu
    return 1 if wanted and config.get("hardware") in ("gpu", "slurm") else 0


def cores_of_search(wildcards, threads):
    """The limit of a search's own builds; on a cluster the profile's number of jobs is theirs."""
    return "" if config.get("hardware") == "slurm" else f"--cores {threads}"


def build_of_survivors(wildcards, threads):
    """Command that builds this experiment once its search is done."""
    cores = None if config.get("hardware") == "slurm" else threads
    return shlex.join(snakemake_words(words_of(config), cores, []))


def stamp_of_proof():
    """Stamp of the gate of the variant that a proof of concept builds."""
    found = [v for v in plan.variants if v["name"] == plan.proof]
    return [str(v["nodes"]["gate"].stamp) for v in found]


def phase_words(wildcards):
    """What chooses this build, for the script of a phase."""
    return shlex.quote(json.dumps(words_of(config)))


def refuse_unknown_goals(words):
    """End with one line if a goal is no rule's name; what has a / in it is a file, and Snakemake's."""
    asked, _ = get_argument_parser().parse_known_args(words)
    known = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    for goal in asked.targets:
        if "/" not in goal and goal not in known:
            print(
                f"error: there is no goal {goal!r}: {suggest(goal, known)}",
                file=sys.stderr,
            )
            raise SystemExit(1)


def partial_report():
    """Command that reports what there is after a failure, naming what failed."""
    if plan.search or NO_REPORT in os.environ:
        return "true"
    (node,) = plan.of("report")
    return f"python scripts/report.py --config {node.job_file} --output {node.folder} --partial"
