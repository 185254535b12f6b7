"""The prune step as a whole: from its config to a finished checkpoint."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import copy_companions, write_shards
from drawplate.engines.task import is_encoder
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_windows
from drawplate.layerwise.decoder import Decoder, check_walk, open_decoder
from drawplate.layerwise.workers import Workers, workers
from drawplate.prune.budget import Sizes, chosen, predicted
from drawplate.prune.cut import NORMS, cut_norm, is_rms_norm
from drawplate.prune.encoder import prune_encoder_checkpoint
from drawplate.prune.fit import Plan
from drawplate.prune.keep import chosen_layers, keep_best, layers_to_keep
from drawplate.prune.measure import measure_model
from drawplate.prune.options import PruneOptions
from drawplate.prune.shape import Shape, shrunk_config
from drawplate.prune.state import load_cut
from drawplate.prune.walk import cut_by_weights, cut_on_text

CALIBRATION = Path("texts", "calibration.jsonl")


def prune_checkpoint(
    parent: Path, data: Path, output: Path, config: dict[str, Any], resume: Path, threads: int
) -> dict[str, Any]:
    """Prune a checkpoint as a step's config says: whole layers first, then width.

    Args:
        parent: Float checkpoint of a Llama-architecture decoder or a BERT-architecture encoder.
        data: Folder of the data stage; its calibration texts are read if anything is measured.
        output: Empty folder to fill.
        config: Fields of `PruneOptions`, and `kind`.
        resume: Where finished layers wait for the end of the run, or for the next run after a
            kill. Must belong to these very inputs; the caller deletes it.
        threads: Threads the work may use; the result does not depend on it.

    Returns:
        What was removed: `budget` (see `budget.predicted`), `layers_removed` (indices in the
        parent), `block_influence` of every layer of the parent (empty if it chose none),
        `hidden_removed` (residual channels), and `layers`, one entry for each layer that stays
        (see `Cut.facts`).

    Raises:
        DrawplateError: If the parent is quantized or no such decoder, or the options do not fit it.
    """
    parent_config = read_json(parent / "config.json")
    if is_encoder(parent) and not parent_config.get("quantization_config"):
        asked = PruneOptions.from_config(config)
        return prune_encoder_checkpoint(parent, data, output, asked, threads)
    decoder = _open(parent, parent_config)
    sizes = Sizes.of(decoder.skeleton, _bytes_per_parameter(decoder))
    options = chosen(sizes, PruneOptions.from_config(config))
    shape = sizes.shape.shrunk(options)
    # Without it in the file, the class's own default holds.
    parent_config.setdefault("rms_norm_eps", decoder.skeleton.config.rms_norm_eps)
    budget = _check_config(decoder, parent_config, shape, sizes, options)
    windows = torch.empty(0)
    if options.needs_text:
        windows = read_windows(
            data / CALIBRATION, parent / "tokenizer.json", options.windows, options.window_tokens
        )
    with torch.no_grad(), workers(threads) as pool:
        _check_layers(decoder, windows, options, pool)
        plan, influences = _plan(decoder, shape, options, windows, resume, pool)
        if plan.is_walked:
            cut_on_text(decoder, plan, windows, resume, pool)
        else:
            cut_by_weights(decoder, plan, resume)
        removed: list[dict[str, Any]] = []
        write_shards(output, _tensors(decoder, plan, resume, removed))
    copy_companions(parent, output)
    write_json(output / "config.json", shrunk_config(parent_config, shape, plan.kept_layers))
    return {
        "budget": budget,
        "layers_removed": [i for i in range(decoder.layers) if i not in plan.kept_layers],
        "block_influence": [round(influence, 6) for influence in influences],
        "hidden_removed": _gone(plan.hidden, sizes.shape.hidden),
        "layers": removed,
    }


def _plan(
    decoder: Decoder,
    shape: Shape,
    options: PruneOptions,
    windows: Tensor,
    resume: Path,
    pool: Workers,
) -> tuple[Plan, list[float]]:
    """What is to go, and block influences if they were measured for it."""
    kept_layers, hidden, influences = list(range(decoder.layers)), None, []
    before = Shape.of(decoder.skeleton.config)
    if options.keep_layers:
        kept_layers = chosen_layers(decoder.layers, options.keep_layers, options.layers)
    if options.measures_model:
        measured = measure_model(decoder, windows, resume, pool)
        if options.layers and not options.keep_layers:
            influences = measured.influences
            kept_layers = layers_to_keep(influences, options.layers)
        if shape.hidden < before.hidden:
            hidden = keep_best(measured.hidden, shape.hidden)
    plan = Plan(
        before=before,
        after=shape,
        kept_layers=kept_layers,
        hidden=hidden,
        score=options.score,
        refit=options.refit,
        damping=options.damping,
    )
    return plan, influences


def _open(parent: Path, config: dict[str, Any]) -> Decoder:
    """The parent as a decoder to prune.

    Raises:
        DrawplateError: If it is quantized, or no decoder of the Llama architecture.
    """
    if config.get("quantization_config"):
        raise DrawplateError(
            f"{parent} is quantized already", "put the prune step before the quantize step"
        )
    with _sent_elsewhere():
        return open_decoder(parent)


def _bytes_per_parameter(decoder: Decoder) -> int:
    """Bytes of one weight as stored."""
    return decoder.tensors[f"{decoder.prefix}0.mlp.down_proj.weight"].element_size()


def _tensors(
    decoder: Decoder, plan: Plan, resume: Path, removed: list[dict[str, Any]]
) -> Iterator[tuple[str, Tensor]]:
    """The pruned checkpoint's tensors; `removed` is filled with each layer's facts on the way."""
    for full in decoder.tensors:
        if not full.startswith(decoder.prefix):
            yield full, _outside(decoder, full, plan.hidden)
    for new, old in enumerate(plan.kept_layers):
        cut = load_cut(resume, old)
        assert cut is not None, f"layer {old} was not finished"
        prefix = f"{decoder.prefix}{old}."
        for full in decoder.tensors:
            if full.startswith(prefix):
                name = full.removeprefix(prefix)
                tensor = cut.of(name, decoder.tensors[full], plan.before)
                yield f"{decoder.prefix}{new}.{name}", tensor
        removed.append(cut.facts(old, plan.before))


def _outside(decoder: Decoder, full: str, hidden: Tensor | None) -> Tensor:
    """A tensor that belongs to no layer, cut to the residual channels that stay."""
    tensor = decoder.tensors[full]
    if hidden is None:
        return tensor
    if full == f"{decoder.skeleton.base_model_prefix}.norm.weight":
        return cut_norm(tensor, hidden)
    return tensor[:, hidden].contiguous() if tensor.dim() == 2 else tensor


def _gone(kept: Tensor | None, total: int) -> list[int]:
    """What of a range is not kept."""
    return [] if kept is None else sorted(set(range(total)) - set(kept.tolist()))


def _check_config(
    decoder: Decoder,
    config: dict[str, Any],
    shape: Shape,
    sizes: Sizes,
    options: PruneOptions,
) -> dict[str, Any]:
    """Let transformers judge the new sizes before any work is done; count and predict with them.

    Raises:
        DrawplateError: If it refuses them. Its Llama, for one, wants hidden_size to be a multiple
            of the number of heads even where head_dim is given.
    """
    from huggingface_hub.errors import StrictDataclassError

    pruned = shrunk_config(config, shape, list(range(shape.layers)))
    try:
        small = type(decoder.skeleton.config).from_dict(pruned)
    except (StrictDataclassError, ValueError) as error:
        raise DrawplateError(
            f"transformers would refuse the pruned config ({error})",
            "choose another kv_group_share",
        ) from None
    with torch.device("meta"):
        model = type(decoder.skeleton)._from_config(small)
    return predicted(sizes, options, Sizes.of(model, sizes.counts.bytes_per_parameter))


def _check_layers(decoder: Decoder, windows: Tensor, options: PruneOptions, pool: Workers) -> None:
    """Make sure that layers and norms compute what pruning takes them to compute.

    Raises:
        DrawplateError: If they do not.
    """
    if not options.needs_text:
        return
    with _sent_elsewhere():
        check_walk(decoder, windows, pool)
    layer = decoder.layer(0)
    epsilon = decoder.skeleton.config.rms_norm_eps
    if options.hidden_share and not all(
        is_rms_norm(layer.get_submodule(norm), epsilon) for norm in NORMS
    ):
        raise DrawplateError(
            "hidden_share: the norms of this model are no plain RMS norms", "write hidden_share: 0"
        )


@contextlib.contextmanager
def _sent_elsewhere() -> Iterator[None]:
    """Give refusals of the walk a remedy that fits a prune step."""
    try:
        yield
    except DrawplateError as error:
        raise DrawplateError(
            error.what, "leave the prune step out: it knows decoders of the Llama architecture only"
        ) from None
