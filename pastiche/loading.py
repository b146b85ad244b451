"""Loads models from stores, and lists those that there are."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from model_store import Location, Manifest, ModelStore, StoreError, open_store, parse_location
from model_store.error_messages import in_words
from pastiche.catalogue import Catalogue
from pastiche.model import Model
from pastiche.options import Target, checked
from service.engine.device_assembly import assemble_device
from service.errors import InvalidRequest, ModelUnavailable
from service.settings import Settings
from service.telemetry.metrics import Metrics

Stores = str | PathLike[str] | Sequence[str | PathLike[str]]


def load(
    model: str | float,
    *,
    stores: Stores | None = None,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model onto a device.

    `model`: a style ("great-wave"), a version ("great-wave@3"), styles that are mixed
    ("great-wave:0.7,the-scream:0.3"), an upscaler ("x4"), or a number, 4: how many times sides grow, by the networks
    that the service would choose. `stores`: one or several folders of models, or URLs of stores (s3://…), of which a
    later one hides models of the same name; by default the shipped models and ./models. `device`: auto (one GPU,
    if there is any), cpu, cuda, cuda:1, or several GPUs: cuda:0,cuda:1 or cuda:all.
    These and all else that decides on pixels, memory and threads are settings of the service, whose PASTICHE_…
    variables apply here, too.

    Configures torch for the whole process: no TF32, deterministic cuDNN. Raises UnknownModel, UnknownVersion,
    ModelUnavailable, InvalidRequest, or ValueError for a device that does not exist.
    """
    target = Target.parse(model) if isinstance(model, str) else model
    settings = _settings(stores, device=device, precision=precision, threads=threads)
    assembled = assemble_device(settings, Metrics({"torch": str(torch.__version__)}), timed=False)
    try:
        pinned = target.pinned if isinstance(target, Target) else {}
        catalogue = Catalogue(_open_stores(settings), assembled.loader, pinned)
        return Model(target, settings, catalogue, assembled)
    except (StoreError, OSError) as error:
        assembled.pool.close()
        raise ModelUnavailable(in_words(error)) from error
    except BaseException:
        assembled.pool.close()
        raise


def models(*, stores: Stores | None = None) -> list[Manifest]:
    """The manifests of the models that the stores promote, by name: name, version, task, scale and all else.

    Raises StoreError where one cannot be read.
    """
    found = {name: store for store in _open_stores(_settings(stores)) for name in store.names()}
    return [found[name].manifest(name) for name in sorted(found)]


def _settings(stores: Stores | None, **options: Any) -> Settings:
    given = {name: value for name, value in options.items() if value is not None}
    if stores is not None:
        given["stores"] = tuple(_locations(stores))
    return checked(Settings, given)


def _open_stores(settings: Settings) -> list[ModelStore]:
    return [open_store(location, settings.store_cache) for location in settings.stores]


def _locations(stores: Stores) -> list[Location]:
    given = [stores] if isinstance(stores, str | PathLike) else stores
    locations = [parse_location(str(store)) for store in given]
    for place in locations:
        if isinstance(place, Path) and not place.is_dir():
            raise InvalidRequest(f"{place} is no folder; stores are folders of models, as pastiche-train makes them")
    return locations
