"""A decoder of the Llama architecture in plain PyTorch, random weights, for machines with no more."""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional

Cache = list[tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the model.

    Attributes:
        hidden: Width of the hidden states.
        mlp: Channels of a layer's MLP.
        layers: Their number.
        heads: Query heads.
        kv_heads: Key/value heads.
        vocabulary: Tokens.
    """

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int


class Layer(nn.Module):
    """Attention with grouped queries and rotary positions, and a gated MLP."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.head_dim = sizes.hidden // sizes.heads
        self.heads, self.kv_heads = sizes.heads, sizes.kv_heads
        kv = sizes.kv_heads * self.head_dim
        self.attention_norm = nn.RMSNorm(sizes.hidden)
        self.mlp_norm = nn.RMSNorm(sizes.hidden)
        self.query = nn.Linear(sizes.hidden, sizes.hidden, bias=False)
        self.key = nn.Linear(sizes.hidden, kv, bias=False)
        self.value = nn.Linear(sizes.hidden, kv, bias=False)
        self.output = nn.Linear(sizes.hidden, sizes.hidden, bias=False)
        self.gate = nn.Linear(sizes.hidden, sizes.mlp, bias=False)
        self.up = nn.Linear(sizes.hidden, sizes.mlp, bias=False)
        self.down = nn.Linear(sizes.mlp, sizes.hidden, bias=False)

    def forward(
        self, states: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Hidden states [batch, new, hidden] behind a past, and the keys and values with theirs."""
        batch, new, _ = states.shape
        length = 0 if past is None else past[0].shape[2]
        inner = self.attention_norm(states)

        def split(values: Tensor, heads: int) -> Tensor:
            return values.view(batch, new, heads, self.head_dim).transpose(1, 2)

        query = rotated(split(self.query(inner), self.heads), length)
        key = rotated(split(self.key(inner), self.kv_heads), length)
        value = split(self.value(inner), self.kv_heads)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=past is None, enable_gqa=True
        )
        states = states + self.output(mixed.transpose(1, 2).reshape(batch, new, -1))
        return states + self.down(self.channels(self.mlp_norm(states))), (key, value)

    def channels(self, inner: Tensor) -> Tensor:
        """What goes into `down` [..., channels]."""
        return functional.silu(self.gate(inner)) * self.up(inner)


class Decoder(nn.Module):
    """Token ids to next-token logits; the head is the embedding."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.hidden)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.hidden)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=sizes.hidden**-0.5)

    def forward(self, token_ids: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Logits [batch, new, vocabulary], and the cache that the next tokens come behind.

        Args:
            token_ids: [batch, new]; one token only behind a cache.
            past: The cache.
        """
        states, cache = self.embedding(token_ids), []
        for index, layer in enumerate(self.layers):
            states, kept = layer(states, None if past is None else past[index])
            cache.append(kept)
        return functional.linear(self.norm(states), self.embedding.weight), cache


def rotated(values: Tensor, start: int) -> Tensor:
    """Rotary positions (Su et al., 2021, arXiv 2104.09864) of [batch, heads, tokens, head_dim]."""
    half = values.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=values.device) / half)
    places = torch.arange(start, start + values.shape[2], device=values.device)
    angles = torch.outer(places.float(), rates)
    cos, sin = (wave.to(values.dtype) for wave in (angles.cos(), angles.sin()))
    left, right = values[..., :half], values[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)
