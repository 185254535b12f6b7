"""Sizes of a model from the entries of its config.json; see `after` for what steps make of them.

Nothing is loaded and no library is asked: a plan has to answer for a model that is not here yet.
"""

import dataclasses
import math
from typing import Any

from drawplate.limits import sliding_window

# Families whose MLP has two matrices instead of three.
PLAIN_MLP = (
    "bert",
    "bloom",
    "distilbert",
    "electra",
    "falcon",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "mpnet",
    "opt",
    "phi",
    "roberta",
    "starcoder2",
    "xlm-roberta",
)
ENCODERS = ("bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")
TIED_BY_DEFAULT = ("bloom", "gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "opt")
BIASED_ATTENTION = ("qwen2", "qwen2_moe")  # query, key and value only
BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
GUESSED_LAYERS, GUESSED_VOCABULARY = 32, 64_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder or encoder of transformer layers.

    Attributes:
        hidden: Width of the hidden states.
        layers: Their number.
        mlp: Channels of a layer's MLP, of one expert if there are several.
        heads: Query heads.
        kv_heads: Key/value heads.
        head_dim: Width of a head.
        vocabulary: Rows of the embedding.
        tied: Whether the head is the embedding.
        gated: Whether the MLP has three matrices, not two.
        biased: Whether all linear layers and norms have biases.
        attention_biased: Whether query, key and value have biases though the rest has not.
        experts: MLPs of a layer.
        positions: Rows of learned tables besides the vocabulary's (positions, token types).
        encoder: Whether it has a pooler and no head.
        max_tokens: Of a sequence that it was made for; None if unknown.
        bytes_per_weight: As its checkpoint stores them.
        name: Of its class in transformers; None if unknown.
        window: Tokens that a layer looks back on, see `limits.sliding_window`.
    """

    hidden: int
    layers: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    gated: bool = True
    biased: bool = False
    attention_biased: bool = False
    experts: int = 1
    positions: int = 0
    encoder: bool = False
    max_tokens: int | None = None
    bytes_per_weight: int = 4
    name: str | None = None
    window: int | None = None

    @property
    def attention_parameters(self) -> int:
        """Weights of the four projections of a layer, and their biases."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        biases = 0
        if self.biased or self.attention_biased:
            biases = queries + 2 * keys + (self.hidden if self.biased else 0)
        return self.hidden * (2 * queries + 2 * keys) + biases

    @property
    def mlp_parameters(self) -> int:
        """Weights of a layer's MLPs, router included, and their biases."""
        matrices = 3 if self.gated else 2
        router = self.hidden * self.experts if self.experts > 1 else 0
        biases = (self.mlp * (matrices - 1) + self.hidden) if self.biased else 0
        return self.experts * (matrices * self.hidden * self.mlp + biases) + router

    @property
    def layer_parameters(self) -> int:
        """One layer, norms included."""
        norms = 2 * self.hidden * (2 if self.biased else 1)
        return self.attention_parameters + self.mlp_parameters + norms

    @property
    def embedding_parameters(self) -> int:
        """Tables of tokens, positions and token types."""
        return (self.vocabulary + self.positions) * self.hidden

    @property
    def head_parameters(self) -> int:
        """The output head, tied or not; an encoder's pooler."""
        if self.encoder:
            return self.hidden * (self.hidden + 1)
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All of them, a tied head counted once."""
        norms = self.hidden * (2 if self.biased else 1)
        head = 0 if self.tied and not self.encoder else self.head_parameters
        return self.layers * self.layer_parameters + self.embedding_parameters + head + norms

    @property
    def widest_input(self) -> int:
        """Columns of the widest linear layer of a layer."""
        return max(self.hidden, self.mlp, self.heads * self.head_dim)


def is_count(value: object) -> bool:
    """Whether a value of a config.json is a number of things of which there are some."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def architecture_of(config: dict[str, Any]) -> Architecture | None:
    """The sizes that a config.json states, or None if it lacks the most important ones.

    A size that is no positive whole number (one for each layer, say) is not known either.

    Args:
        config: Entries of a config.json of transformers; of a model of text and more, the part
            that describes its language model counts.
    """
    inner = config.get("text_config") or {}
    if not isinstance(inner, dict):
        return None
    config = {**config, **inner}

    def first(*names: str) -> Any:
        return next((config[n] for n in names if config.get(n) is not None), None)

    hidden = first("hidden_size", "n_embd", "d_model", "dim")
    layers = first("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    heads = first("num_attention_heads", "n_head", "n_heads")
    vocabulary = first("vocab_size")
    if not all(is_count(n) for n in (hidden, layers, heads, vocabulary)):
        return None
    family = str(config.get("model_type", ""))
    encoder = family in ENCODERS
    biased = family in PLAIN_MLP
    tied = config.get("tie_word_embeddings")
    learned = config.get("max_position_embeddings", config.get("n_positions", 0)) if biased else 0
    experts = first("num_local_experts", "num_experts", "n_routed_experts") or 1
    mlp = first("intermediate_size", "n_inner", "ffn_dim", "hidden_dim") or 4 * hidden
    longest = first("max_position_embeddings", "n_positions")
    if is_count(experts) and experts > 1:
        mlp = first("moe_intermediate_size") or mlp
    kv_heads, head_dim = first("num_key_value_heads") or heads, first("head_dim") or hidden // heads
    tables = (learned or 0, config.get("type_vocab_size", 0) if encoder else 0)
    if not all(is_count(n) for n in (experts, mlp, kv_heads, head_dim, *(t or 1 for t in tables))):
        return None
    return Architecture(
        hidden=hidden,
        layers=layers,
        mlp=mlp,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=vocabulary,
        tied=(encoder or family in TIED_BY_DEFAULT) if tied is None else bool(tied),
        gated=family not in PLAIN_MLP,
        biased=biased,
        attention_biased=bool(config.get("attention_bias")) or family in BIASED_ATTENTION,
        experts=experts,
        positions=sum(tables),
        encoder=encoder,
        max_tokens=longest if is_count(longest) else None,
        bytes_per_weight=BYTES.get(str(first("dtype", "torch_dtype")), 4),
        name=_class_name(config.get("architectures")),
        window=sliding_window(config),
    )


def _class_name(names: object) -> str | None:
    """The class that a config.json names."""
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    return None


def guessed(parameters: int, vocabulary: int = GUESSED_VOCABULARY) -> Architecture:
    """Sizes of a usual decoder of so many parameters, where no more is known than their number.

    Args:
        parameters: Of the whole model.
        vocabulary: Its tokens, known of a student: they are the base's.
    """
    # 12 squares of the width a layer, and the embedding once: a quadratic in the width.
    a, b = 12 * GUESSED_LAYERS, vocabulary
    hidden = max(int((math.sqrt(b * b + 4 * a * parameters) - b) / (2 * a)), 64)
    heads = max(hidden // 64, 1)
    return Architecture(
        hidden=hidden,
        layers=GUESSED_LAYERS,
        mlp=8 * hidden // 3,
        heads=heads,
        kv_heads=heads,
        head_dim=64,
        vocabulary=vocabulary,
        tied=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint of a recipe: its sizes, and bits of its weights where it is quantized.

    Attributes:
        sizes: Of the model.
        bits: Stored bits of a layer's linear weight, scales and zero points included; None in a
            float checkpoint.
        head_bits: The same of the output head, which a quantized checkpoint stores apart; 0 where it
            stays tied to the embedding.
    """

    sizes: Architecture
    bits: float | None = None
    head_bits: float = 16

    @property
    def stored_bytes(self) -> float:
        """Weights of the checkpoint."""
        sizes = self.sizes
        if self.bits is None:
            return sizes.parameters * sizes.bytes_per_weight
        linear = sizes.layers * (sizes.attention_parameters + sizes.mlp_parameters)
        # Tables are kept in 16 bits; what remains (norms, a pooler) as it was.
        total = linear * self.bits / 8 + 2 * sizes.embedding_parameters
        if sizes.encoder:
            return total + sizes.head_parameters * sizes.bytes_per_weight
        return total + sizes.head_parameters * self.head_bits / 8

    @property
    def float_bytes(self) -> float:
        """All weights in float32, head and embedding apart where the checkpoint has them so."""
        stored = self.bits is not None and self.head_bits and not self.sizes.encoder
        untied = self.sizes.head_parameters if stored else 0
        return 4 * (self.sizes.parameters + (untied if self.sizes.tied else 0))

    @property
    def matrix_parameters(self) -> int:
        """Weights that every token is multiplied with."""
        head = 0 if self.sizes.encoder else self.sizes.head_parameters
        return self.sizes.layers * self.sizes.layer_parameters + head
