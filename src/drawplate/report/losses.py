"""Which layers a quantized variant lost quality in, for every form of the report."""

from typing import Any

WORST = 5
MEASURES = {"output_error": "output error on calibration text", "weight_error": "weight error"}
"""What units are ranked by: the first that every unit has."""


def losses(name: str, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The losses of one quantized checkpoint.

    Args:
        name: Its lineage.
        rows: One a unit, see `quantize.losses.layer_losses`.

    Returns:
        `name`, `measure` (a key of `MEASURES`), `measure_name`, `units` (the rows) and `worst` (the
        largest by that measure); None if there are no rows that can be ranked.
    """
    measure = next((m for m in MEASURES if rows and all(r[m] is not None for r in rows)), None)
    if measure is None:
        return None
    worst = sorted(rows, key=lambda row: (-row[measure], row["unit"]))[:WORST]
    return {
        "name": name,
        "measure": measure,
        "measure_name": MEASURES[measure],
        "units": rows,
        "worst": worst,
    }
