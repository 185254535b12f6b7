"""What `scripts/gpu_check.py` found on other machines, beside a build's own results.

Its files are put into `results/gpu_checks/`; a report of any model shows them.
"""

from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.build.gpu_checks import FOLDER
from drawplate.errors import DrawplateError

SCHEMA = 1


def read_checks(names: list[str]) -> list[dict[str, Any]]:
    """One row a check: `file`, `measured_on`, `command`, `failed`, and what a reader looks for.

    Args:
        names: Of files in `FOLDER`.

    Returns:
        The rows; of a kind of work that failed, None.

    Raises:
        DrawplateError: If a file is not what the script writes.
    """
    return [_row(name, read_json(FOLDER / name)) for name in names]


def _row(name: str, record: Any) -> dict[str, Any]:
    try:
        if record["schema"] != SCHEMA:
            raise KeyError("schema")
        # One kind of work that failed hides none of the others.
        results = {k: None if "failed" in v else v for k, v in record["results"].items()}
        decoder = results["decoder"]
        decode = decoder and {b: decoder[b]["decode_tokens_per_s"] for b in ("batch_1", "batch_8")}
        return {
            "file": name,
            **{k: record[k] for k in ("measured_on", "command", "failed")},
            "decode": decode,
            "bandwidth_bytes_per_s": results["bandwidth_bytes_per_s"],
            "products_flops": results["products_flops"],
            "tensorrt": results["tensorrt"],
        }
    except (KeyError, TypeError, AttributeError):
        raise DrawplateError(
            f"{FOLDER / name} is no result of scripts/gpu_check.py (schema {SCHEMA})",
            "write it anew, or take it away",
        ) from None
