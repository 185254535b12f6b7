"""A Llama-architecture decoder read from disk one layer at a time.

The layers are those of transformers, built from the checkpoint's config without weights; weights of
a layer are read when it is its turn. No code of the checkpoint is ever run.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.checkpoint.quantized import read_float
from drawplate.errors import DrawplateError
from drawplate.layerwise.workers import Workers

UNITS: Mapping[str, tuple[str, ...]] = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Linear layers of a decoder layer that read the same input, in the order of the computation."""
PARTS = ("input_layernorm", "post_attention_layernorm", *(m for ms in UNITS.values() for m in ms))


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A causal language model whose weights are still on disk.

    Attributes:
        skeleton: The model of transformers on the meta device.
        tensors: The checkpoint's tensors by full name, read when asked for.
        prefix: What layer names begin with, for example `model.layers.`.
        layers: Number of decoder layers.
    """

    skeleton: Any
    tensors: Mapping[str, Tensor]
    prefix: str
    layers: int

    def layer(self, index: int) -> nn.Module:
        """One decoder layer with its weights in float32."""
        name = f"{self.prefix}{index}."
        layer: nn.Module = copy.deepcopy(self.skeleton.base_model.layers[index])
        # Copies: what is read is mapped from the file, once for all who ask, and a write to it would
        # stay there, in memory, for the rest of the process.
        weights = {
            full.removeprefix(name): self.tensors[full].to(torch.float32, copy=True)
            for full in self.tensors
            if full.startswith(name)
        }
        layer.load_state_dict(weights, assign=True)
        return layer.eval().requires_grad_(False)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Hidden states [windows, tokens, hidden] that enter the first layer, float32."""
        return self.through(token_ids, [])

    def through(self, token_ids: Tensor, layers: list[nn.Module]) -> Tensor:
        """Hidden states [windows, tokens, hidden] behind these first layers, float32.

        All around the layers is the model's own code, which in some families scales embeddings.
        """
        rows, places = token_ids.unique(return_inverse=True)
        base = self._of_few_tokens(rows).base_model
        base.layers.extend(layers)
        base.config.num_hidden_layers = len(layers)
        base.norm = nn.Identity()
        with torch.no_grad():
            hidden: Tensor = base(input_ids=places, use_cache=False).last_hidden_state
        return hidden

    def scales_logits(self, token_ids: Tensor) -> bool:
        """Whether the model does more with its head than multiply the last norm's output with it."""
        rows, places = token_ids.unique(return_inverse=True)
        model = self._of_few_tokens(rows)
        model.base_model.norm = self.final_norm()
        model.lm_head.weight = nn.Parameter(self.head_weight()[rows].to(torch.float32))
        with torch.no_grad():
            logits = model(input_ids=places, use_cache=False).logits
            plain = self.final_norm()(self.embed(token_ids)) @ model.lm_head.weight.t()
        return not torch.allclose(logits, plain, rtol=1e-3, atol=1e-3 * float(plain.std()))

    def _of_few_tokens(self, rows: Tensor) -> Any:
        """The model without layers, its vocabulary these ids alone."""
        config = copy.deepcopy(self.skeleton.config)
        config.num_hidden_layers, config.vocab_size, config.pad_token_id = 0, len(rows), None
        model = type(self.skeleton)(config).eval()
        table = self._embedding()[rows].to(torch.float32)
        model.base_model.embed_tokens.weight = nn.Parameter(table)
        return model

    def final_norm(self) -> nn.Module:
        """The norm between the last layer and the head."""
        norm: nn.Module = copy.deepcopy(self.skeleton.base_model.norm)
        name = f"{self.skeleton.base_model_prefix}.norm.weight"
        norm.load_state_dict({"weight": self.tensors[name].to(torch.float32)}, assign=True)
        return norm.requires_grad_(False)

    def head_weight(self) -> Tensor:
        """The output head as stored, [vocabulary, hidden]; the embedding if they are tied."""
        tied = "lm_head.weight" not in self.tensors
        return self._embedding() if tied else self.tensors["lm_head.weight"]

    def positions(self, tokens: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding, each [1, tokens, head dimension]."""
        # Built outside the meta device: its frequencies are computed, not loaded.
        rotary = type(self.skeleton.base_model.rotary_emb)(self.skeleton.config)
        cosines, sines = rotary(torch.zeros(1, 1, 1), torch.arange(tokens).unsqueeze(0))
        return cosines, sines

    def _embedding(self) -> Tensor:
        return self.tensors[f"{self.skeleton.base_model_prefix}.embed_tokens.weight"]


def open_decoder(folder: Path) -> Decoder:
    """A checkpoint as a decoder to walk through.

    Raises:
        DrawplateError: If it is not a decoder of the Llama architecture.
    """
    skeleton = open_skeleton(folder)
    base = skeleton.base_model
    layers = getattr(base, "layers", [])
    known = len(layers) > 0 and all(_has(layers[0], part) for part in PARTS)
    known = known and all(hasattr(base, part) for part in ("rotary_emb", "embed_tokens", "norm"))
    problem = "" if known and hasattr(skeleton, "lm_head") else "has other parts"
    prefix = f"{skeleton.base_model_prefix}.layers."
    decoder = Decoder(skeleton, read_float(folder), prefix, len(layers))
    problem = problem or _foreign(decoder)
    if problem:
        raise DrawplateError(
            f"{folder} is a {type(skeleton).__name__}, no decoder of the Llama architecture "
            f"(it {problem})",
            "to quantize it use method: rtn or hqq; other steps know no such model",
        )
    return decoder


def open_skeleton(folder: Path) -> Any:
    """The checkpoint's model of transformers on the meta device, without weights.

    Raises:
        DrawplateError: If transformers has no class of the name the config asks for.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    name = (config.architectures or ["none"])[0]
    if not hasattr(transformers, name):
        raise DrawplateError(
            f"transformers {transformers.__version__} has no model class {name} for {folder}",
            "use a model that transformers supports without remote code",
        )
    kind = getattr(transformers, name)
    attention = "sdpa" if getattr(kind, "_supports_sdpa", True) else "eager"  # MPNet has one only
    with torch.device("meta"):
        return kind._from_config(config, attn_implementation=attention)


def walk_layer(
    layer: Any, hidden: list[Tensor], positions: tuple[Tensor, Tensor], pool: Workers
) -> Iterator[tuple[str, list[Tensor]]]:
    """Run a decoder layer, stopping before each unit, so that the unit can be quantized there.

    Args:
        layer: A decoder layer; whoever iterates may change a unit's weights when it is yielded.
        hidden: Batches [windows, tokens, hidden]; replaced by the layer's output at the end.
        positions: Cosines and sines of the rotary embedding.
        pool: Where batches are computed.

    Yields:
        The name of the unit that comes next and, batch by batch, its input.
    """
    attention, mlp = layer.self_attn, layer.mlp
    project, down = attention.o_proj, mlp.down_proj

    def attend(batch: Tensor) -> Tensor:
        # Without a mask, and with more than one token, attention is causal.
        mixed: Tensor = attention(
            hidden_states=batch, position_embeddings=positions, attention_mask=None
        )[0]
        return mixed

    normed = pool.map(layer.input_layernorm, hidden)
    yield "qkv", normed
    attention.o_proj = nn.Identity()
    mixed = pool.map(attend, normed)
    attention.o_proj = project
    yield "o", mixed
    hidden[:] = [h + out for h, out in zip(hidden, pool.map(project, mixed), strict=True)]
    normed = pool.map(layer.post_attention_layernorm, hidden)
    yield "gate_up", normed
    mlp.down_proj = nn.Identity()
    gated = pool.map(mlp, normed)
    mlp.down_proj = down
    yield "down", gated
    hidden[:] = [h + out for h, out in zip(hidden, pool.map(down, gated), strict=True)]


def check_walk(decoder: Decoder, token_ids: Tensor, pool: Workers) -> None:
    """Make sure that a walk through the first layer gives what the model itself gives.

    Raises:
        DrawplateError: If it does not: the architecture has parts that the walk does not know.
    """
    layer, positions = decoder.layer(0), decoder.positions(token_ids.shape[1])
    hidden = [decoder.embed(token_ids[:1])]
    expected = decoder.through(token_ids[:1], [layer])
    for _ in walk_layer(layer, hidden, positions, pool):
        pass
    if not torch.allclose(hidden[0], expected, rtol=1e-3, atol=1e-3 * float(expected.std())):
        raise DrawplateError(
            f"{type(layer).__name__} computes more than a Llama-architecture layer",
            "to quantize it use method: rtn or hqq; other steps know no such model",
        )


def _foreign(decoder: Decoder) -> str:
    """What a walk would find out too late of a model with the right parts, if anything."""
    base, name = decoder.skeleton.base_model, decoder.skeleton.base_model_prefix
    if list(base.norm.state_dict()) != ["weight"] or not hasattr(base.config, "rms_norm_eps"):
        return "ends with no RMS norm"
    for needed in (f"{name}.norm.weight", f"{name}.embed_tokens.weight"):
        if needed not in decoder.tensors:
            return f"stores no {needed}"
    try:
        decoder.positions(1)
    except TypeError:
        return "has several rotary embeddings"
    return ""


def _has(module: nn.Module, path: str) -> bool:
    """Whether a submodule of that dotted name exists."""
    return path in dict(module.named_modules())
