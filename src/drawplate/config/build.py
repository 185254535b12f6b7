"""A checked configuration as plain data: no Hydra or pydantic type leaves this package but `Build`."""

from typing import Any

from drawplate.config.pairs import Asked, all_pairs
from drawplate.config.schema import Configuration


class Build:
    """A checked configuration as plain data, with the pairs it asks for.

    Attributes:
        experiment: Name in `conf/experiment/`.
        model: First folder under `artifacts/` and `results/`.
        base, data, evaluate, benchmark, gate, package, bundle, deploy, sweep, cost, phase, track, update: The sections as plain dictionaries.
        recipes: By name; `steps` is an ordered map from label to the step's plain dictionary.
        engines: By name, see `sections.EngineSettings`.
        search: The checked section, None if the experiment does not search.
    """

    def __init__(self, checked: Configuration) -> None:
        dump = checked.model_dump(mode="json", by_alias=True)
        self.experiment, self.model = checked.experiment, checked.model
        self.base: dict[str, Any] = dump["base"]
        self.data: dict[str, Any] = dump["data"]
        self.evaluate: dict[str, Any] = dump["evaluate"]
        self.benchmark: dict[str, Any] = dump["benchmark"]
        self.gate: dict[str, Any] = dump["gate"]
        self.package: dict[str, Any] = dump["package"]
        self.deploy: dict[str, Any] = dump["deploy"]
        self.bundle: dict[str, Any] = dump["bundle"]
        self.bundle_servers = checked.bundle.servers
        self.sweep: dict[str, Any] = dump["sweep"]
        self.cost: dict[str, Any] = dump["cost"]
        self.phase: dict[str, Any] = dump["phase"]
        self.track: dict[str, Any] = dump["track"]
        self.update: dict[str, Any] = dump["update"]
        self.recipes = {k: PlainRecipe(v["steps"]) for k, v in dump["recipes"].items()}
        self.engines = checked.engines
        self.search = checked.search
        self._variants = checked.variants
        self._dump = dump

    @property
    def source_packages(self) -> list[str]:
        """Packages that the base's kind of source needs besides the stage's own."""
        return source_packages(self.base["source"])

    def asked(self) -> list[Asked]:
        """Every variant as listed; else every recipe on every engine that is no other's source."""
        if self._variants is not None:
            return [Asked.read(line) for line in self._variants]
        sources = {engine.compiled_from for engine in self.engines.values()}
        wanted = {name: e for name, e in self.engines.items() if name not in sources}
        return all_pairs(self.recipes, wanted)

    def pairs(self) -> list[tuple[str, str]]:
        """Recipe and engine of every variant."""
        return list(dict.fromkeys((line.recipe, line.engine) for line in self.asked()))

    def wanted_recipes(self) -> list[str]:
        """Recipes that a variant is made of, as target or draft, in their order."""
        pairs = self.pairs()
        drafts = {self.engines[engine].draft for _, engine in pairs}
        wanted = {recipe for recipe, _ in pairs} | drafts
        return [name for name in self.recipes if name in wanted]

    def plain(self) -> dict[str, Any]:
        """Everything, for the record."""
        return dict(self._dump)


def source_packages(source: dict[str, Any]) -> list[str]:
    """Packages that a kind of source needs besides the stage's own."""
    return {"hub": ["huggingface-hub"], "dvc": ["dvc"], "mlflow": ["mlflow"]}.get(
        source["kind"], []
    )


class PlainRecipe:
    """A recipe's steps as plain data."""

    def __init__(self, steps: dict[str, dict[str, Any]]) -> None:
        self.steps = steps
