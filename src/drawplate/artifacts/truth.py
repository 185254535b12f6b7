"""Whether a step's finished folder is what the recipe declares, read back from its files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drawplate.artifacts.declared import HEAD_WEIGHT, Declaration, Wanted, declared
from drawplate.artifacts.files import read_json
from drawplate.artifacts.loads import sort_tensors
from drawplate.artifacts.stored import Form, Stored
from drawplate.errors import DrawplateError

BAND_ROWS = 1024  # read at once, so that the largest embedding is never whole in memory
LEAST_COSINE = 0.5
"""Rounding and training keep a matrix's direction; two unrelated matrices have a cosine near 0."""
PROBLEMS_SHOWN = 5
ROUNDS_TO_ZERO = 2.0**-25
"""Half the smallest scale that float16 holds: a weight of no more is zero on every grid."""


def check_truth(
    folder: Path,
    parent: Path,
    kind: str,
    config: dict[str, Any],
    label: dict[str, Any],
    name: str,
) -> None:
    """Compare a finished folder with its parent and with what the step declares.

    Args:
        folder: The result, complete but for its manifest.
        parent: The checkpoint it was made from.
        kind: Of the step.
        config: The step's settings.
        label: What `audit` read from the folder.
        name: How messages call the result.

    Raises:
        DrawplateError: Naming what differs: weights that are missing, extra, of another shape,
            dtype or group size, not the parent's, or dead where the parent's are not; more bits
            than declared; other sizes in config.json; code that came with it; a folder that plain
            transformers would not load as it is.
    """
    problems = list(_remote_code(folder))
    if not problems:
        with Stored(parent) as before, Stored(folder) as after:
            model, loading = _loading(folder, after, name)
            declaration = declared(kind, config, parent)
            if declaration is not None:
                problems += _differences(declaration, before, after, folder, label)
            problems += loading
            problems += _dead(before, after, model)
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        raise DrawplateError(
            f"{name} is not what its {kind} step declares: "
            + "; ".join(problems[:PROBLEMS_SHOWN])
            + (f"; and {more} more" if more > 0 else ""),
            "the step that wrote it is at fault: its result was not kept",
        )


def _remote_code(folder: Path) -> Iterator[str]:
    """Whatever would have a reader run code that came with the checkpoint."""
    for name in ("config.json", "tokenizer_config.json"):
        values = read_json(folder / name) if (folder / name).exists() else {}
        for entry in ("auto_map", "trust_remote_code", "custom_pipelines"):
            if values.get(entry):
                yield f"{name} asks to run code of its own ({entry})"
    for path in sorted(folder.rglob("*.py")):
        yield f"it holds the program {path.relative_to(folder)}"


def _loading(folder: Path, after: Stored, name: str) -> tuple[Any, list[str]]:
    """The model that plain transformers makes of it, and what it would leave out or invent."""
    model, found = sort_tensors(folder, after.shapes(), name)
    problems = [f"{n} is missing" for n in sorted(found["missing_keys"])]
    problems += [f"{n} is unexpected" for n in sorted(found["unexpected_keys"])]
    problems += [
        f"{n} has shape {list(shape)}, the architecture wants {list(wanted)}"
        for n, shape, wanted in sorted(found["mismatched_keys"])
    ]
    return model, problems


def _differences(
    declaration: Declaration, before: Stored, after: Stored, folder: Path, label: dict[str, Any]
) -> Iterator[str]:
    """What differs from a declaration."""
    config = read_json(folder / "config.json")
    for entry, value in declaration.config.items():
        if config.get(entry) != value:
            yield f"config.json has {entry} {config.get(entry)}, declared is {value}"
    forms = after.forms()
    for name, wanted in declaration.weights.items():
        if name not in forms:
            if not wanted.optional:
                yield f"{name} is missing"
            continue
        problem = _other_form(forms[name], wanted) or _other_values(name, wanted, before, after)
        if problem:
            yield f"{name} {problem}"
    for name in sorted(forms.keys() - declaration.weights.keys()):
        yield f"{name} is not declared"
    dtypes, bits = declaration.weights_dtypes, declaration.bits_per_weight
    if dtypes is not None and label["weights_dtype"] not in dtypes:
        yield f"its label says {label['weights_dtype']}, declared is {' or '.join(sorted(dtypes))}"
    if bits is not None and label["bits_per_weight"] > bits + 1e-3:
        yield f"{label['bits_per_weight']:.3f} bits a weight stored, declared are {bits:.3f}"


def _other_form(form: Form, wanted: Wanted) -> str:
    """How a weight's form differs from the wanted one, if it does."""
    if form.shape != wanted.shape:
        return f"has shape {list(form.shape)}, declared is {list(wanted.shape)}"
    if form.dtype not in wanted.dtypes:
        return f"is {form.dtype}, declared is {' or '.join(sorted(wanted.dtypes))}"
    if form.group_size is not None and form.group_size not in wanted.group_sizes:
        accepted = " or ".join(map(str, sorted(wanted.group_sizes)))
        return f"has groups of {form.group_size}, declared are {accepted}"
    if wanted.symmetric and not form.symmetric:
        return "has zero points, declared is a symmetric grid"
    return ""


def _other_values(name: str, wanted: Wanted, before: Stored, after: Stored) -> str:
    """How a weight's values differ from what may become of the parent's, if they do."""
    source = wanted.source or name
    if wanted.values == "same":
        bands = range(0, wanted.shape[0] if wanted.shape else 1, BAND_ROWS)
        same = all(
            after.part(name, start, start + BAND_ROWS).equal(
                before.part(source, start, start + BAND_ROWS)
            )
            for start in bands
        )
        return "" if same else "differs from its parent's, which the step must not change"
    if wanted.values == "alike":
        cosine = _cosine(name, source, wanted.shape[0], before, after)
        if cosine < LEAST_COSINE:
            return f"is not its parent's (cosine {cosine:.2f})"
    return ""


def _cosine(name: str, source: str, rows: int, before: Stored, after: Stored) -> float:
    """Cosine of the angle between two matrices as vectors; 1 if a form is not known here."""
    product = old_square = new_square = 0.0
    for start in range(0, rows, BAND_ROWS):
        old = before.rows(source, start, start + BAND_ROWS)
        new = after.rows(name, start, start + BAND_ROWS)
        if old is None or new is None:
            return 1.0
        product += float((old * new).sum())
        old_square += float(old.square().sum())
        new_square += float(new.square().sum())
    norm = (old_square * new_square) ** 0.5
    return product / norm if norm else float(old_square == new_square)


def _dead(before: Stored, after: Stored, model: Any) -> Iterator[str]:
    """Linear layers with rows of zeros, output channels that say nothing, the parent has not."""
    from torch import nn

    old_forms, new_forms = before.forms(), after.forms()
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    for name in (f"{module}.weight" for module in linear):
        if name not in new_forms or len(new_forms[name].shape) != 2:
            continue
        dead = _zero_rows(after, name, new_forms[name])
        if not dead:
            continue
        # A head that was tied before is the embedding, whose padding row may be zero.
        source = name
        if name == HEAD_WEIGHT and name not in old_forms:
            table = model.get_input_embeddings()
            source = next(f"{n}.weight" for n, m in model.named_modules() if m is table)
        known = []
        if source in old_forms:
            known = _zero_rows(before, source, old_forms[source], ROUNDS_TO_ZERO)
        if len(dead) > len(known):
            shown = ", ".join(map(str, sorted(set(dead) - set(known) or set(dead))[:3]))
            yield f"{name} has {len(dead)} dead rows ({shown}), its parent's has {len(known)}"


def _zero_rows(stored: Stored, name: str, form: Form, most: float = 0.0) -> list[int]:
    """Indices of the rows of a matrix that hold zeros only, or nothing larger than `most`."""
    found = []
    for start in range(0, form.shape[0], BAND_ROWS):
        rows = stored.rows(name, start, start + BAND_ROWS)
        if rows is None:
            return []
        found += [start + int(i) for i in (rows.abs() <= most).all(dim=1).nonzero()[:, 0]]
    return found
