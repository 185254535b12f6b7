"""The OpenAPI description of what routes take and answer: for clients, and for the fuzzer that tries them."""

from typing import Any

from pydantic import BaseModel

from drawplate_server.settings import Settings

STATUSES = {
    400: "The request is not one, or beyond a limit",
    401: "The API key is missing or wrong",
    404: "There is no such model",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is not JSON",
    429: "The queue is full",
    500: "The server failed",
    503: "The answer took too long, or the server is ending",
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
OBJECT = {"application/json": {"schema": {"type": "object"}}}
CONTENT = {
    "Metrics": {"text/plain": {"schema": {"type": "string"}}},
    "Stream": {**OBJECT, "text/event-stream": {"schema": {}}},
}


def documented(answer: str, *refusals: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its answer, and with which statuses it refuses."""
    errors = {"application/json": {"schema": ERROR}}
    return {
        200: {"description": answer, "content": CONTENT.get(answer, OBJECT)},
        **{s: {"description": STATUSES[s], "content": errors} for s in refusals},
    }


def describe(body: type[BaseModel], settings: Settings, vocabulary: int) -> dict[str, Any]:
    """Keywords of a route that generates: its body, and every status that it can have.

    Args:
        body: What it takes.
        settings: Whose limits are a part of the description.
        vocabulary: Number of tokens.
    """
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    inline = _resolved(schema, schema.get("$defs", {}))
    fields = inline["properties"]
    fields["model"]["enum"] = [settings.model_name]
    for name in ("max_tokens", "max_completion_tokens"):
        if name in fields:
            fields[name]["anyOf"][0]["maximum"] = settings.max_new_tokens
    if "prompt" in fields:
        token_ids = fields["prompt"]["anyOf"][1]
        token_ids["maxItems"] = settings.max_prompt_tokens
        token_ids["items"]["exclusiveMaximum"] = vocabulary
    return {
        "responses": documented("Stream", *STATUSES),
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": inline}}}
        },
    }


def describe_embeddings(
    body: type[BaseModel], settings: Settings, vocabulary: int, dimensions: int
) -> dict[str, Any]:
    """Keywords of the route of a sentence encoder, see `describe`.

    Args:
        body: What it takes.
        settings: Whose limits are a part of the description.
        vocabulary: Number of tokens.
        dimensions: Of every vector.
    """
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    fields = schema["properties"]
    fields["model"]["enum"] = [settings.model_name]
    fields["dimensions"]["anyOf"][0] |= {"minimum": dimensions, "maximum": dimensions}
    _, texts, token_ids, many = fields["input"]["anyOf"]
    for array in (texts, many):
        array["maxItems"] = settings.max_inputs
    for array in (token_ids, many["items"]):
        array["maxItems"] = settings.max_prompt_tokens
        array["items"]["exclusiveMaximum"] = vocabulary
    return {
        "responses": documented("Embeddings", *STATUSES),
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
    }


def _resolved(node: Any, definitions: dict[str, Any]) -> Any:
    """A schema with what it refers to written out: a part of a description has no place for definitions."""
    if isinstance(node, list):
        return [_resolved(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {k: _resolved(v, definitions) for k, v in node.items() if k != "$defs"}
