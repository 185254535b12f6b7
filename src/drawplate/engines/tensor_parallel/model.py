"""One rank's share of a Llama model: transformers' own layers over pieces of their matrices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from drawplate.checkpoint.files import open_tensors
from drawplate.engines.tensor_parallel.plan import BY_VOCABULARY, Widths, padded_rows
from drawplate.engines.tensor_parallel.shards import rank_folder, widths_of

EMBEDDING, HEAD = BY_VOCABULARY


class RankModel:
    """A rank's weights in float32 and its keys and values; all ranks must be asked alike."""

    def __init__(self, folder: Path, rank: int, ranks: int) -> None:
        from transformers.models.llama.configuration_llama import LlamaConfig

        config = LlamaConfig.from_pretrained(folder, local_files_only=True)
        tensors = open_tensors(folder / rank_folder(rank))
        widths = widths_of(config.to_dict())
        self._rank, self._ranks = rank, ranks
        self._body = build_body(config, widths, tensors, rank, ranks)
        self._vocabulary = config.vocab_size
        rows = padded_rows(config.vocab_size, ranks)
        self._first = rank * rows
        # Rows that are not padding; with a tiny vocabulary the last rank may have none.
        self._own_rows = tensors[EMBEDDING].shape[0]
        self._embedding = _padded(tensors[EMBEDDING], rows)
        self._head = self._embedding
        if not config.tie_word_embeddings:
            self._head = _padded(tensors[HEAD], rows)
        self._past: Any = None

    @torch.inference_mode()
    def logits(self, token_ids: Tensor) -> Tensor | None:
        """Logits [batch, sequence, vocabulary] on rank 0, None on the others."""
        states = self._states(token_ids, past=None)
        return self._gathered(functional.linear(states, self._head), self._vocabulary)

    @torch.inference_mode()
    def step(self, token_ids: Tensor, fresh: bool) -> Tensor | None:
        """The likeliest next token [batch] on rank 0, None on the others.

        Args:
            token_ids: The prompt, or the tokens that follow what is in the cache, [batch, new].
            fresh: Whether to begin with an empty cache.
        """
        from transformers.cache_utils import DynamicCache

        if fresh:
            self._past = DynamicCache(config=self._body.config)
        last = self._states(token_ids, self._past)[:, -1]
        logits = functional.linear(last, self._head)
        logits[:, self._own_rows :] = -torch.inf
        # Each rank offers its best: two numbers a row instead of a share of the vocabulary.
        value, index = logits.max(dim=-1)
        offer = torch.stack([value.double(), (index + self._first).double()], dim=-1)
        offers = self._gathered(offer, None)
        if offers is None:
            return None
        values, tokens = offers[:, 0::2], offers[:, 1::2]
        return tokens.gather(1, values.argmax(dim=-1, keepdim=True))[:, 0].long()

    def _states(self, token_ids: Tensor, past: Any) -> Tensor:
        """Final hidden states [batch, sequence, hidden], the same on every rank."""
        embedded = vocabulary_embedding(token_ids, self._embedding, self._first)
        dist.all_reduce(embedded)
        states: Tensor = self._body(
            inputs_embeds=embedded, past_key_values=past, use_cache=past is not None
        ).last_hidden_state
        return states

    def _gathered(self, part: Tensor, size: int | None) -> Tensor | None:
        """Every rank's part side by side on the last axis, cut off at `size`; on rank 0 only."""
        parts = [torch.empty_like(part) for _ in range(self._ranks)] if self._rank == 0 else None
        dist.gather(part, parts)
        return None if parts is None else torch.cat(parts, dim=-1)[..., :size]


def build_body(
    config: Any, widths: Widths, tensors: Mapping[str, Tensor], rank: int, ranks: int
) -> Any:
    """A `LlamaModel` without its embedding whose matrices are the rank's pieces.

    Its linear layers take whatever shape their weight has, and its attention counts heads by the
    features it gets, so nothing of it is written anew; the sums over ranks are hooks.
    """
    from transformers.models.llama.modeling_llama import LlamaModel, LlamaRotaryEmbedding

    with torch.device("meta"):
        body = LlamaModel(config).eval()
    body.embed_tokens = torch.nn.Identity()
    body.rotary_emb = LlamaRotaryEmbedding(config)  # its table is computed, not stored
    for name, module in body.named_modules():
        for part in ("weight", "bias"):
            if getattr(module, part, None) is not None:
                value = tensors[f"model.{name}.{part}"].to(torch.float32, copy=True)
                setattr(module, part, torch.nn.Parameter(value, requires_grad=False))
    query_heads = widths.attention_heads // ranks
    key_value_heads = max(1, widths.key_value_heads // ranks)
    for layer in body.layers:
        layer.self_attn.num_key_value_groups = query_heads // key_value_heads
        for row_parallel in (layer.self_attn.o_proj, layer.mlp.down_proj):
            if rank > 0:
                row_parallel.bias = None  # a sum over ranks must count it once
            row_parallel.register_forward_hook(_sum_over_ranks)
    return body


def vocabulary_embedding(token_ids: Tensor, rows: Tensor, first: int) -> Tensor:
    """Embeddings [..., hidden] of the ids that this rank holds, zero for the others.

    Args:
        token_ids: Ids of any shape.
        rows: The rank's rows of the table, [rows, hidden].
        first: Id of its first row.
    """
    local = token_ids - first
    held = (local >= 0) & (local < rows.shape[0])
    embedded = functional.embedding(local.clamp(0, rows.shape[0] - 1), rows)
    return embedded.masked_fill_(~held.unsqueeze(-1), 0)


def _padded(table: Tensor, rows: int) -> Tensor:
    """The table in float32 with rows of zeros added up to `rows`."""
    return functional.pad(table.to(torch.float32, copy=True), (0, 0, 0, rows - table.shape[0]))


def _sum_over_ranks(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
    dist.all_reduce(output)
    return output
