"""What one replica needs and can take, computed from the sweep of its image; each value with its reason."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from drawplate.errors import DrawplateError

MEBIBYTE = 2**20
MEMORY_STEP_MEBIBYTES = 16
SHORTEST_START_S = 30
"""Before a start has failed: other nodes read the model from colder disks, beside other starts."""
STARTUP_CHECKS = 5
"""How often a starting container is looked at within the seconds that it took here."""
SHORTEST_SCALING_S = 15
"""Between two looks of the autoscaler, by Kubernetes' default."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of an image while it ran.

    Attributes:
        ready_s: From the order to start until `/ready` said yes.
        peak_bytes: Most memory it held, page cache included; None where that could not be read.
        memory_megabytes: That it was allowed.
        threads: Of one answer, and the processors that the container was allowed.
        slots: Answers at once.
        timeout_s: In which an answer has to be given.
        level: Of the sweep, see `package.load`: the highest within the target, or the lowest if none was.
        within: Whether it kept the target.
        target_ms: The target, of 95 % of first tokens, or of an encoder's answers.
        prompt_tokens: Of each request.
        new_tokens: Of each answer; 0 of an encoder's.
    """

    ready_s: float
    peak_bytes: int | None
    memory_megabytes: int
    threads: int
    slots: int
    timeout_s: float
    level: Mapping[str, Any]
    within: bool
    target_ms: float
    prompt_tokens: int
    new_tokens: int

    @classmethod
    def read(
        cls, served: Mapping[str, Any], limits: Mapping[str, Any], memory_megabytes: int
    ) -> "Measured":
        """From the result of the stage `serve` and the settings it ran under.

        Args:
            served: See `package.serve.try_image`.
            limits: `package.limits`.
            memory_megabytes: `package.memory_megabytes`.

        Raises:
            DrawplateError: If no request was answered: nothing follows from that.
        """
        load, level = served["load"], served["sustained"] or served["levels"][0]
        if not level["requests"]:
            raise DrawplateError(
                f"no request was answered while the image was tried with {level['concurrency']} at "
                f"once for {level['seconds']:g} s ({level['failed']} failed, {level['unfinished']} "
                "took longer), so that nothing can be sized",
                "raise package.load.seconds, or lower package.load.prompt_tokens and new_tokens",
            )
        return cls(
            ready_s=served["ready_s"],
            peak_bytes=served["peak_bytes"],
            memory_megabytes=memory_megabytes,
            threads=limits["threads"],
            slots=limits["slots"],
            timeout_s=limits["timeout_s"],
            level=level,
            within=served["sustained"] is not None,
            target_ms=load["first_token_ms"],
            prompt_tokens=load["prompt_tokens"],
            new_tokens=0 if served["task"] == "encoder" else load["new_tokens"],
        )

    @property
    def words(self) -> str:
        """The level in words."""
        level = self.level
        first = level["first_token_ms" if self.new_tokens else "latency_ms"]
        what = "first token" if self.new_tokens else "answer"
        told = f"{what} {first['p95']:.0f} ms at p95"
        asked = f"{self.prompt_tokens} tokens of prompt and {self.new_tokens} of answer"
        if not self.new_tokens:
            asked = f"a text of {self.prompt_tokens} tokens each"
        return (
            f"{level['concurrency']} at once, {asked}: {level['requests_per_s']:g} requests/s, {told}, target "
            f"{self.target_ms:g} ms {'kept' if self.within else 'MISSED, even at the lowest level'}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizing:
    """Sizes of a deployment.

    Attributes:
        cpus: Requested and allowed.
        memory_mebibytes: Requested and allowed.
        threads: Of one answer.
        slots: Answers at once.
        max_queue: Requests that may wait beside them.
        timeout_s: In which an answer has to be given.
        startup_period_s: Between two looks at a container that starts.
        startup_failures: Looks after which the start has failed.
        grace_s: From the order to end until a container is killed.
        cpu_percent: Of the requested processors, at which replicas are added.
        requests_inside: In one replica, mean over replicas, at which replicas are added.
        scale_up_period_s: Between two additions.
        min_replicas: Least replicas.
        max_replicas: Most replicas.
        requests_per_s: That one replica was measured to take.
        why: By name of a value, what it is computed from.
    """

    cpus: int
    memory_mebibytes: int
    threads: int
    slots: int
    max_queue: int
    timeout_s: float
    startup_period_s: int
    startup_failures: int
    grace_s: int
    cpu_percent: int
    requests_inside: float
    scale_up_period_s: int
    min_replicas: int
    max_replicas: int
    requests_per_s: float
    why: Mapping[str, str]


def replicas_for(requests_per_s: float, one_takes: float, utilization: float) -> int:
    """Replicas that a load needs, each at a share of what one was measured to take.

    Args:
        requests_per_s: The load.
        one_takes: Requests a second that one replica takes; above 0.
        utilization: The share, within (0, 1].
    """
    return max(1, math.ceil(requests_per_s / (one_takes * utilization)))


def size(measured: Measured, settings: Mapping[str, Any]) -> Sizing:
    """Compute sizes.

    Args:
        measured: Of the image.
        settings: The `deploy` section of the configuration.
    """
    level, share = measured.level, settings["target_utilization"]
    at_once, rate = level["concurrency"], level["requests_per_s"]
    cpus = measured.threads
    memory, why_memory = _memory(measured, settings["headroom"]["memory"])
    used, why_used = _processors(measured, level.get("cpus"))
    queue = max(at_once - measured.slots, math.floor(rate * settings["max_wait_s"]), 0)
    period = max(1, math.ceil(measured.ready_s / STARTUP_CHECKS))
    start_s = max(settings["headroom"]["start"] * measured.ready_s, SHORTEST_START_S)
    failures = max(STARTUP_CHECKS, math.ceil(start_s / period))
    grace = math.ceil(
        settings["drain_delay_s"] + settings["body_timeout_s"] + measured.timeout_s + 1
    )
    least, most, why_replicas = _replicas(settings, rate)
    return Sizing(
        cpus=cpus,
        memory_mebibytes=memory,
        threads=measured.threads,
        slots=measured.slots,
        max_queue=queue,
        timeout_s=measured.timeout_s,
        startup_period_s=period,
        startup_failures=failures,
        grace_s=grace,
        cpu_percent=max(1, round(100 * used / cpus * share)),
        requests_inside=round(at_once * share, 3),
        scale_up_period_s=max(SHORTEST_SCALING_S, math.ceil(measured.ready_s)),
        min_replicas=least,
        max_replicas=most,
        requests_per_s=rate,
        why={
            "sustained-load": measured.words,
            "cpu": f"the {cpus} processors that the sweep ran on",
            "memory": why_memory,
            "slots": f"the {measured.slots} that the sweep ran with",
            "max-queue": f"{rate:g} requests/s measured x max_wait_s {settings['max_wait_s']:g}, "
            f"and no fewer than the {at_once} at once that were measured",
            "startup": f"ready after {measured.ready_s:g} s here, "
            f"x {settings['headroom']['start']:g}, and no less than {SHORTEST_START_S} s, until a start has failed",
            "grace": f"drain_delay_s {settings['drain_delay_s']:g} + body_timeout_s "
            f"{settings['body_timeout_s']:g} + timeout_s {measured.timeout_s:g} + 1; "
            f"the longest answers of the sweep took {measured.level['latency_ms']['p99'] / 1000:.1f} s (p99)",
            "scale-cpu": f"{why_used} at the sustained load, x target_utilization {share:g}",
            "scale-requests": f"{at_once} at once sustained x target_utilization {share:g}",
            "scale-up-period": f"a replica is ready after {measured.ready_s:g} s",
            "replicas": why_replicas,
        },
    )


def _memory(measured: Measured, headroom: float) -> tuple[int, str]:
    """Mebibytes, and why."""
    if measured.peak_bytes is None:
        allowed = math.ceil(measured.memory_megabytes)
        return allowed, f"what the sweep ran within, {allowed} MiB; its peak could not be read"
    wanted = measured.peak_bytes * (1 + headroom) / MEBIBYTE
    rounded = math.ceil(wanted / MEMORY_STEP_MEBIBYTES) * MEMORY_STEP_MEBIBYTES
    peak = measured.peak_bytes / MEBIBYTE
    return (
        rounded,
        f"{peak:.0f} MiB at most, under the largest requests that the limits allow and in the sweep, + {headroom:.0%}",
    )


def _processors(measured: Measured, used: float | None) -> tuple[float, str]:
    """Processors in use at the level, and why."""
    if used is None:
        return measured.threads, f"all {measured.threads} processors taken for busy (not measured)"
    within = min(used, measured.threads)
    return within, f"{within:g} of {measured.threads} processors busy"


def _replicas(settings: Mapping[str, Any], rate: float) -> tuple[int, int, str]:
    """Least and most replicas, and why."""
    least, most = settings["replicas"]["min"], settings["replicas"]["max"]
    wanted = settings["requests_per_s"]
    if wanted is None or not rate:
        return least, most, "deploy.replicas"
    needed = replicas_for(wanted, rate, settings["target_utilization"])
    why = f"{wanted:g} requests/s need {needed} replicas of {rate:g} requests/s measured"
    return max(least, needed), max(most, needed), why
