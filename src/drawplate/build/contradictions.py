"""Settings that a model's sizes alone refute, told before any job runs.

The jobs refuse the same, mostly in the same words (`limits`), but only after all that comes before
them. Nothing is refused by sizes that are guessed, or follow from a prediction.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drawplate.artifacts.formats import is_budgeted
from drawplate.build.after import SCALE_BITS, ZERO_POINT_BITS, after_step, counts
from drawplate.build.estimate import GUESS, as_fetched, sizes_here
from drawplate.build.plan import Node, Plan, json_or_none
from drawplate.build.shapes import Architecture, Model
from drawplate.build.stages import stage_of
from drawplate.errors import DrawplateError
from drawplate.limits import (
    SHAPE_BYTES,
    bits_left,
    check_architecture,
    check_depths,
    check_group_size,
    check_layers,
    check_ranks,
    check_top_k,
    kept_channels,
    kept_groups,
    kept_hidden,
)
from drawplate.package.context import check_tokens
from drawplate.targets import has_target, least_removal

LIBRARY_GROUPS = {"nvfp4": 16}  # columns that share a scale, where the format says so
LINEAR_LAYERS = 7  # of a Llama layer
READERS = ("quantize_library", "sparsify", "distill", "recover", "proxy")
Known = tuple[Architecture, str] | None


def refuse_contradictions(plan: Plan, sizes: Architecture | None, origin: str, root: Path) -> None:
    """Refuse a build at the door.

    Args:
        plan: Of the build; what is built already is not asked.
        sizes: Of the base.
        origin: Where they come from, see `estimate.known_sizes`.
        root: The repository.

    Raises:
        DrawplateError: With the first thing that is refuted, naming the job.
    """
    if sizes and origin != GUESS:
        for node in plan.stale(root):
            if node.stage == "package":
                check_tokens(node.config["limits"], sizes.max_tokens, encoder=sizes.encoder)
            elif node.stage == "sweep":
                _check_sweep(node.config, sizes.max_tokens)
    known: dict[str, Known] = {}
    base = plan.of("base")[0]  # students come after it
    for node in plan.nodes:  # parents come before children
        model = known.get(_model_of(node))
        if model and not node.fresh(root):
            teacher = node.parents.get("teacher")
            asked = known.get(_model_of(teacher)) if teacher else None
            try:
                check(node.stage, node.config, model[0], asked[0] if asked else None)
                if node.stage == "benchmark":
                    _check_room(node.config, node.parents["engine"].config["options"])
                if data := node.parents.get("data"):
                    _check_text(node.stage, node.config, data.config)
            except DrawplateError as error:
                what = f"{node.stage} {node.name}: {error.what} (sizes from {model[1]})"
                raise DrawplateError(what, error.remedy) from None
        if node.stage == "base":
            _check_readable(node, root)
            given = (sizes, origin) if sizes and origin != GUESS else None
            found = given if node is base else sizes_here(node, root)
            known[node.digest] = (as_fetched(node, found[0]), found[1]) if found else None
        elif model:
            after = sizes_after(node.stage, node.config, model[0])
            known[node.digest] = (after, model[1]) if after else None


def problem(
    steps: Mapping[str, dict[str, Any]], sizes: Architecture, data: dict[str, Any]
) -> str | None:
    """Why a recipe's steps cannot be told what they are, None if nothing speaks against it.

    Args:
        steps: By label, with `kind`.
        sizes: Of the base.
        data: The config of the data.
    """
    known: dict[str, Architecture | None] = {"base": sizes}
    lineage = "base"
    for label, step in steps.items():
        parent = None if step.get("student") else known[lineage]
        lineage = f"{lineage}.{label}"
        known[lineage] = sizes_after(stage_of(step), step, parent) if parent else None
        if parent is None:
            continue
        try:
            check(stage_of(step), step, parent, known.get(step.get("teacher", "")))
            _check_text(stage_of(step), step, data)
        except DrawplateError as error:
            return f"step {label}: {error}"
    return None


def sizes_after(stage: str, config: dict[str, Any], sizes: Architecture) -> Architecture | None:
    """The sizes that a step leaves, None where they are only predicted."""
    if stage == "prune" and has_target(config):
        return None
    return after_step(Model(sizes=sizes), stage, config).sizes


def check(
    stage: str, config: dict[str, Any], sizes: Architecture, teacher: Architecture | None
) -> None:
    """Refuse what one job could not do.

    Args:
        stage: Of the job.
        config: Of the job.
        sizes: Of the checkpoint that it reads, or that its engine was made of.
        teacher: The sizes of a distillation's teacher, None if there is none or they are unknown.

    Raises:
        DrawplateError: Naming the setting.
    """
    if _walks(stage, config) and not sizes.encoder and (not sizes.gated or sizes.experts > 1):
        raise DrawplateError(
            f"{sizes.name or 'the model'} is no decoder of the Llama architecture",
            "to quantize it use method: rtn or hqq; other steps know no such model",
        )
    if stage in ("quantize", "quantize_library"):
        _check_quantize(config, sizes)
    elif stage == "prune":
        _check_prune(config, sizes)
    elif stage == "distill":
        _check_distill(config, sizes, teacher)
    elif stage == "recover":
        _check_rank(config, sizes)
    elif stage == "compile":
        _check_compile(config, sizes)
    elif stage == "benchmark":
        _check_benchmark(config, sizes)
    if _reads_windows(stage, config):
        _check_window(config["window_tokens"], sizes)


def _check_readable(node: Node, root: Path) -> None:
    """Refuse a folder whose config.json nobody can read; one that is not there, its job refuses."""
    source = node.config["source"]
    if source["kind"] != "folder" or node.fresh(root):
        return
    given = root / Path(source["path"]).expanduser() / "config.json"
    if given.is_file() and not isinstance(json_or_none(given), dict):
        raise DrawplateError(f"{given} is no JSON object", "bring the file back, or correct it")


def _model_of(node: Node) -> str:
    """Digest of the checkpoint that a job reads, or whose engine it runs."""
    read = node.parents.get("parent") or node.parents.get("engine", node).parents.get("parent")
    return read.digest if read else ""


def _columns(sizes: Architecture) -> dict[str, int]:
    """Columns of a layer's linear layers, where it is known which there are."""
    if sizes.encoder:
        return {"attention.self.query": sizes.hidden, "output.dense": sizes.mlp}
    if not sizes.gated or sizes.experts > 1:
        return {}
    return {
        "self_attn.q_proj": sizes.hidden,
        "self_attn.o_proj": sizes.heads * sizes.head_dim,
        "mlp.down_proj": sizes.mlp,
    }


def _check_quantize(config: dict[str, Any], sizes: Architecture) -> None:
    columns, setting = _columns(sizes), "group_size"
    size = config.get("group_size") or LIBRARY_GROUPS.get(config["method"])
    groups = [size] if size else []
    if is_budgeted(config):
        groups, setting = sorted({size for _, size in _candidates(config)}), "candidates"
    for (name, width), size in itertools.product(columns.items(), groups):
        check_group_size(width, size, name, setting, columns.values())
    if config.get("budget_megabytes") and columns:
        shared = SCALE_BITS + (0 if config["symmetric"] else ZERO_POINT_BITS)
        least = min(bits + shared / size for bits, size in _candidates(config))
        _check_megabytes(config["budget_megabytes"], least, sizes)


def _candidates(config: dict[str, Any]) -> list[tuple[int, int]]:
    """Bits and group size of each."""
    split = (form.split("/") for form in config["candidates"])
    return [(int(bits), int(size)) for bits, size in split]


def _check_megabytes(megabytes: float, least: float, sizes: Architecture) -> None:
    """Of a decoder, counted as the step counts its tensors."""
    attention = 2 * (sizes.heads + sizes.kv_heads) * sizes.head_dim
    linear = sizes.hidden * (attention + 3 * sizes.mlp)
    norms = sizes.layers * (sizes.layer_parameters - linear) + sizes.hidden
    packed = SHAPE_BYTES * (LINEAR_LAYERS * sizes.layers + 1)
    beside = 2 * sizes.embedding_parameters + sizes.bytes_per_weight * norms + packed
    bits_left(megabytes, sizes.layers * linear + sizes.head_parameters, beside, least)


def _check_prune(config: dict[str, Any], sizes: Architecture) -> None:
    if sizes.experts > 1:
        return
    if has_target(config):
        least_removal(counts(sizes), config)
        return
    multiple = config["multiple_of"]
    check_layers(sizes.layers, config["layers"], config.get("keep_layers"))
    kept_channels(sizes.mlp, config["mlp_share"], multiple)
    heads = sizes.heads // sizes.kv_heads * kept_groups(sizes.kv_heads, config["kv_group_share"])
    kept_hidden(sizes.hidden, config.get("hidden_share", 0.0), multiple, heads)


def _check_distill(
    config: dict[str, Any], sizes: Architecture, teacher: Architecture | None
) -> None:
    depths = config["hidden_layers"] if config["hidden_weight"] else 0
    if teacher:
        check_top_k(config["top_k"] or 0, teacher.vocabulary, config["teacher"])
        check_depths(depths, teacher.layers, f"its teacher {config['teacher']}")
        _check_window(config["window_tokens"], teacher)
    check_depths(depths, sizes.layers, "the student")


def _check_rank(config: dict[str, Any], sizes: Architecture) -> None:
    """An adapter of a higher rank than its layer's width learns nothing that one of it could not."""
    if config["method"] != "lora" or sizes.experts > 1:
        return
    widths = [sizes.hidden, sizes.mlp]
    if config["trained"] == "all":
        widths += [sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim]
    if config["rank"] > min(widths):
        raise DrawplateError(
            f"rank {config['rank']} is more than the {min(widths)} features of the narrowest layer "
            "that gets an adapter",
            f"write rank: {min(widths)} or less",
        )


def _check_compile(config: dict[str, Any], sizes: Architecture) -> None:
    if sizes.name:
        known = config["architectures"]
        check_architecture(sizes.name, sizes.window, config["engine"], known)
    if config["engine"] == "tensor_parallel" and type(config["options"].get("ranks")) is int:
        check_ranks(sizes.heads, sizes.kv_heads, sizes.mlp, config["options"]["ranks"])
    heads = config.get("head_dims")
    if heads and sizes.head_dim not in heads:
        raise DrawplateError(
            f"engine {config['engine']} has no attention for heads of {sizes.head_dim}",
            f"it has {', '.join(map(str, heads))}: choose another engine for this model",
        )


def _check_benchmark(config: dict[str, Any], sizes: Architecture) -> None:
    """The runs of `benchmark.measure`: a prompt and one token, a shorter one and many."""
    longest = sizes.max_tokens
    if longest is None:
        return
    if config["prompt_tokens"] + (0 if sizes.encoder else 1) > longest:
        room = longest if sizes.encoder else longest - 1
        raise DrawplateError(
            f"benchmark.prompt_tokens {config['prompt_tokens']} is too long for a model that takes "
            f"{longest} tokens" + ("" if sizes.encoder else ", the first new one among them"),
            f"write benchmark.prompt_tokens={room} or less",
        )
    if (needed := config["decode_prompt_tokens"] + config["new_tokens"]) > longest:
        raise DrawplateError(
            f"benchmark.decode_prompt_tokens {config['decode_prompt_tokens']} and "
            f"benchmark.new_tokens {config['new_tokens']} make {needed}, the model takes {longest}",
            "lower one of them",
        )


def _check_room(config: dict[str, Any], options: dict[str, Any]) -> None:
    """What an engine was made for, where its options say so: rows of a batch, tokens of a row."""
    rows = options.get("max_batch")
    if rows is not None and config["batch"] > rows:
        raise DrawplateError(
            f"benchmark.batch is {config['batch']}, the engine takes {rows} rows",
            f"write benchmark.batch={rows} or less, or raise max_batch in the engine's options",
        )
    name = next((name for name in ("max_tokens", "max_model_len") if name in options), None)
    runs = {
        "benchmark.prompt_tokens and a token": config["prompt_tokens"] + 1,
        "benchmark.decode_prompt_tokens and benchmark.new_tokens": config["decode_prompt_tokens"]
        + config["new_tokens"],
    }
    for words, needed in runs.items():
        if name is not None and needed > options[name]:
            raise DrawplateError(
                f"{words} make {needed}, the engine takes {options[name]}",
                f"lower that, or raise {name} in the engine's options",
            )


def _check_sweep(config: dict[str, Any], longest: int | None) -> None:
    """Of whatever variant: a batch's sequences are all of one length."""
    needed = config["prompt_tokens"] + config["new_tokens"]
    if longest is not None and needed > longest:
        raise DrawplateError(
            f"sweep.prompt_tokens {config['prompt_tokens']} and sweep.new_tokens "
            f"{config['new_tokens']} make {needed}, the model takes {longest}",
            "lower one of them",
        )


def _reads_windows(stage: str, config: dict[str, Any]) -> bool:
    """Whether a job reads windows of text that it cannot shorten."""
    if stage == "quantize":
        return bool(config["method"] == "gptq" or config["activations"] != "none")
    if stage == "prune":
        measured = config["layers"] and not config.get("keep_layers")
        by_weights = config["score"] == "magnitude" and config["refit"] == "none"
        return bool(measured or config["hidden_share"] or not by_weights)
    return stage in READERS and "window_tokens" in config


def _walks(stage: str, config: dict[str, Any]) -> bool:
    """Whether a job walks through a model layer by layer, for which it has to know the layers."""
    return stage in ("prune", "rotate") or (stage == "quantize" and config["method"] == "gptq")


def _check_text(stage: str, config: dict[str, Any], data: dict[str, Any]) -> None:
    """A token is a byte of text at least."""
    if not _reads_windows(stage, config) or "windows" not in config:
        return
    tokens = (config["windows"] + config.get("held_out_windows", 0)) * config["window_tokens"]
    text = sum(entry["calibration_bytes"] for entry in data["texts"].values())
    if config.get("loss") != "embeddings" and tokens > text:
        raise DrawplateError(
            f"windows and window_tokens ask for {tokens} tokens, there are {text} bytes of "
            "calibration text",
            "ask for fewer windows, or raise data.texts.NAME.calibration_bytes",
        )


def _check_window(tokens: int, sizes: Architecture) -> None:
    if sizes.max_tokens is not None and tokens > sizes.max_tokens:
        raise DrawplateError(
            f"window_tokens {tokens} is more than the {sizes.max_tokens} tokens that the model "
            "takes",
            f"write window_tokens: {sizes.max_tokens} or less",
        )
