"""What pydantic found wrong, in one line: the place, what is wrong, what to write instead."""

import difflib
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from drawplate.errors import DrawplateError

Location = tuple[int | str, ...]
LONGEST_SHOWN = 80
TAGS = ("kind", "method")  # settings by which a union's model is chosen, in this order
KEY = "[key]"  # how pydantic marks that a map's key is wrong, not its value

# What pydantic says in its own words, in ours.
WORDS = {
    "string_type": "write a text; quotes make one of a number, as '1.0'",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a finite number",
    "bool_type": "write true or false",
    "list_type": "write a list, as [a,b]",
    "dict_type": "write settings, as {name: value}",
    "model_type": "write settings, as {name: value}",
    "model_attributes_type": "write settings, as {name: value}",
}


def explained(error: ValidationError, root: type[BaseModel]) -> DrawplateError:
    """The most telling of pydantic's findings.

    Args:
        error: What validation of a whole configuration raised.
        root: The configuration's model.
    """
    # A misspelt name shows twice, as unknown and as missing; the unknown one says more.
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    place = ".".join(_written(first["loc"], root))
    if first["type"] == "extra_forbidden":
        known = sorted(_fields_at(first["loc"][:-1], root))
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return DrawplateError(
            f"{place} is not a known setting", f"{hint}known here: {', '.join(known)}"
        )
    if first["type"] == "missing":
        return DrawplateError(f"{place} has no value", "give one in the file that declares it")
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        name = first["ctx"]["discriminator"].strip("'")
        tag = first["input"].get(name) if isinstance(first["input"], dict) else None
        choice = f"choose one of {_choices(first, name, root)}"
        return DrawplateError(f"{place}.{name} is {tag!r}", choice)
    message = in_words(first)
    if first["loc"][-1:] == (KEY,):
        return DrawplateError(f"{place}: this name cannot be used", message)
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return DrawplateError(f"{place}: {message}" if place else message)
    return DrawplateError(f"{place} = {shown(first['input'])} is wrong", message)


def in_words(error: Any) -> str:
    """What one of pydantic's findings says, in words of ours where it has some of its own."""
    if error["type"] in ("too_short", "too_long"):
        return _length_in_words(error["ctx"])
    message = WORDS.get(error["type"], error["msg"]).removeprefix("Value error, ")
    return message.replace("Input should be", "it must be")


def _length_in_words(context: dict[str, Any]) -> str:
    """What is wrong with a list's, map's or text's length."""
    here, least = context["actual_length"], context.get("min_length")
    told = f"it has {here} {'entry' if here == 1 else 'entries'}" if here else "it is empty"
    if least is None:
        return f"{told}; write at most {context['max_length']}"
    return f"{told}; write at least {'one' if least == 1 else least}"


def knows(name: str, root: type[BaseModel]) -> bool:
    """Whether a dotted name is a setting that may be given, in some kind of its section."""
    parts = list(_walk(tuple(name.split(".")), root))
    return bool(parts) and parts[-1][1] is not None


def _choices(error: Any, name: str, root: type[BaseModel]) -> str:
    """The kinds, or methods, that one may choose from at a place, separated by commas."""
    annotation = [a for _, a, _ in _walk(error["loc"], root)][-1]
    tags = [tag for member in _members(annotation) for tag in _tags(member, (name,))]
    return ", ".join(dict.fromkeys(tags))


def shown(value: Any) -> str:
    """A value as a message quotes it: its beginning if it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _written(location: Location, root: type[BaseModel]) -> Iterator[str]:
    """A place as one writes it: without the tags that pydantic adds where a kind chooses."""
    for part, _, is_tag in _walk(location, root):
        if not is_tag and part != KEY:
            yield str(part)


def _fields_at(location: Location, root: type[BaseModel]) -> list[str]:
    """Names of the settings at a place of the configuration."""
    models: list[Any] = [root]
    for _, annotation, _ in _walk(location, root):
        models = [m for m in _members(annotation) if _is_model(m)] or models
    return [str(name) for name in _fields(models[0])]


def _walk(location: Location, root: type[BaseModel]) -> Iterator[tuple[int | str, Any, bool]]:
    """Each part of a place with the type found there, and whether it is only a union's tag."""
    annotation: Any = root
    for part in location:
        members = _members(annotation)
        tagged = [m for m in members if _is_model(m) and part in _tags(m)]
        is_tag = len(members) > 1 and bool(tagged)
        if is_tag:
            # Several models may share a kind; then the next part chooses among their methods.
            annotation = Union[tuple(tagged)]  # noqa: UP007 - their number is known at run time
        elif (
            container := next((m for m in members if get_origin(m) in (dict, list)), None)
        ) is not None:
            annotation = get_args(container)[-1]
        else:
            found = [_fields(m)[part] for m in members if _is_model(m) and part in _fields(m)]
            annotation = found[0] if found else None
        yield part, annotation, is_tag


def _members(annotation: Any) -> list[Any]:
    """The types a value may have, `Annotated` and unions taken apart."""
    if _is_model(annotation) or get_origin(annotation) in (dict, list):
        return [annotation]
    if hasattr(annotation, "__metadata__"):
        return _members(get_args(annotation)[0])
    return [m for argument in get_args(annotation) for m in _members(argument)]


def _fields(model: Any) -> dict[Any, Any]:
    """Types of a model's settings, by the name that one writes."""
    if is_typeddict(model):
        return dict(get_type_hints(model, include_extras=True))
    return {f.alias or name: f.annotation for name, f in model.model_fields.items()}


def _tags(model: Any, names: tuple[str, ...] = TAGS) -> list[Any]:
    """Values of `kind` and `method` that choose a model."""
    return [tag for name in names for tag in get_args(_fields(model).get(name))]


def _is_model(annotation: Any) -> bool:
    return is_typeddict(annotation) or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    )
