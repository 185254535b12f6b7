"""What an image is made of, as a CycloneDX 1.6 bill of materials: system, packages, server and model."""

import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.package.tools import EPOCH


def write_sbom(
    output: Path,
    name: str,
    digest: str,
    system: list[dict[str, str]],
    packages: Path,
    chain: list[dict[str, Any]],
    sources: list[dict[str, Any]],
) -> None:
    """Write the bill of materials; the same parts give the same bytes.

    Args:
        output: The JSON file to write.
        name: Of the image.
        digest: Of the image, `sha256:...`.
        system: Packages of the base image where it was made here, see `base.make_base`; else empty.
        packages: Folder with the installed Python packages.
        chain: Manifests of the engine, its checkpoint and so on back to the base.
        sources: Of the data that steps may have used, as `data.json` has them.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    image = Component(name=name, type=ComponentType.CONTAINER, version=digest, bom_ref="image")
    bom = Bom(serial_number=_serial(digest))
    bom.metadata.component = image
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(EPOCH, datetime.UTC)
    model = _model(chain)
    parts = [*map(_system, system), *_python(packages), model, *map(_data, sources)]
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(image, parts)
    output.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n")


def _serial(digest: str) -> Any:
    import uuid

    return uuid.uuid5(uuid.NAMESPACE_OID, digest)


def _system(package: dict[str, str]) -> Any:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name, version = package["name"], package["version"]
    where = {"arch": package["architecture"], "distro": "debian"}
    url = PackageURL("deb", "debian", name, version, qualifiers=where)
    kind = ComponentType.LIBRARY
    return Component(name=name, version=version, type=kind, purl=url, bom_ref=str(url))


def _python(folder: Path) -> list[Any]:
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    found = []
    for package in sorted(metadata.distributions(path=[str(folder)]), key=lambda d: d.name.lower()):
        url = PackageURL("pypi", None, package.name.lower().replace("_", "-"), package.version)
        entries = package.metadata.json
        said = str(entries.get("license_expression") or entries.get("license") or "")
        first = said.strip().splitlines()[0] if said.strip() else None
        found.append(
            Component(
                name=package.name,
                version=package.version,
                type=ComponentType.LIBRARY,
                purl=url,
                bom_ref=str(url),
                licenses=[LicenseFactory().make_from_string(first)] if first else (),
            )
        )
    return found


def _model(chain: list[dict[str, Any]]) -> Any:
    """The engine; its pedigree is the chain of checkpoints that it was made from."""
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    made = []
    for manifest in chain:
        step = manifest["step"]["config"] if manifest.get("step") else {}
        told = {"drawplate:step": manifest["step"]["kind"] if manifest.get("step") else None}
        told |= {f"drawplate:{k}": step.get(k) for k in ("method", "engine", "target") if k in step}
        base = manifest.get("base") or {}
        told |= {f"drawplate:{k}": base.get(k) for k in ("source", "notes") if base.get(k)}
        made.append(
            Component(
                name=base.get("name") or manifest["name"],
                version=manifest["digest"],
                type=ComponentType.MACHINE_LEARNING_MODEL,
                bom_ref=f"model:{manifest['digest']}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=manifest["digest"])],
                licenses=[LicenseFactory().make_from_string(base["license"])] if base else (),
                properties=[Property(name=k, value=str(v)) for k, v in told.items() if v],
            )
        )
    engine, *ancestors = made
    engine.pedigree = Pedigree(ancestors=ancestors)
    licences = ancestors[-1].licenses if ancestors else ()
    engine.licenses = licences
    return engine


def _data(source: dict[str, Any]) -> Any:
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=source["name"],
        version=source["source"],
        type=ComponentType.DATA,
        bom_ref=f"data:{source['name']}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=source["sha256"])],
        licenses=[LicenseFactory().make_from_string(source["license"])],
        description=source.get("notes") or None,
    )


def parts_of(sbom: Path) -> dict[str, int]:
    """How many components of each type a bill of materials lists."""
    counts: dict[str, int] = {}
    for component in read_json(sbom)["components"]:
        counts[component["type"]] = counts.get(component["type"], 0) + 1
    return counts
