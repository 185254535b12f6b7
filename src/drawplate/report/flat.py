"""The report's numbers in one level, for `dvc metrics diff`, `dvc plots` and MLflow."""

import csv
import io
from typing import Any

from drawplate.report.batches import batches
from drawplate.report.pareto import points


def variant_metrics(variant: dict[str, Any]) -> dict[str, float]:
    """Every measured number of a variant, its unit in its name; what was not measured is absent."""
    found: dict[str, float | None] = {}
    if artifact := variant["artifact"]:
        found["size_mb"] = artifact["bytes"] / 1e6
        found["bits_per_weight"] = artifact["bits_per_weight"]
    if quality := variant["quality"]:
        found.update(_quality_metrics(quality))
    if performance := variant["performance"]:
        found.update(_performance_metrics(performance))
    if variant["gate"]["passed"] is not None:
        found["gate_passed"] = float(variant["gate"]["passed"])
    return {name: float(value) for name, value in found.items() if value is not None}


def _quality_metrics(quality: dict[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {"retention": quality["retention"]}
    if perplexity := quality["perplexity"]:
        low, high = perplexity["ci95"]
        found |= {"perplexity": perplexity["value"], "perplexity_ci95_low": low}
        found["perplexity_ci95_high"] = high
    for name, text in quality["perplexity_by_text"].items():
        found[f"perplexity.{name}"] = text["value"]
    if kl := quality["kl_to_base"]:
        found["kl_to_base_nats"] = kl["mean"]
        found["top1_agreement"] = kl.get("top1_agreement")
    for name, task in quality["tasks"].items():
        found[f"task.{name}"] = task["accuracy"]
    return found


def _performance_metrics(performance: dict[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "load_s": performance.get("load_s"),
        "roofline_fraction": performance.get("roofline_fraction"),
    }
    for name in ("acceptance_rate", "tokens_per_target_pass"):
        if spread := performance.get(name):
            found[name] = spread["median"]
    for memory in ("peak_rss", "peak_gpu"):
        if (used := performance.get(f"{memory}_bytes")) is not None:
            found[f"{memory}_mb"] = used / 1e6
    if energy := performance.get("energy_j_per_token"):
        found["energy_j_per_token"] = energy["value"]
    for batch, measures in batches(performance).items():
        for name, spread in measures.items():
            if isinstance(spread, dict) and "median" in spread:
                found[f"{batch}.{name}"] = spread["median"]
    return found


def metrics(facts: dict[str, Any]) -> dict[str, float]:
    """Metrics of all variants in one level: `<variant>.<metric>`."""
    return {
        f"{variant['name']}.{name}": value
        for variant in facts["variants"]
        for name, value in variant_metrics(variant).items()
    }


def pareto_csv(facts: dict[str, Any]) -> str:
    """The picture's points as CSV, for `dvc plots`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("quality", "quality_ci95_low", "quality_ci95_high", "speed_per_s", "size_mb")
    writer.writerow(("variant", *names, "gate_passed", "on_front"))
    for p in points(facts["variants"]):
        numbers = (p.quality, *p.quality_ci95, p.speed, p.bytes / 1e6)
        writer.writerow((p.name, *numbers, int(p.gate_passed), int(p.name in facts["pareto"])))
    return out.getvalue()
