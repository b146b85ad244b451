import errno
import subprocess
import sys
from pathlib import Path

import pytest

import pastiche
from model_store import ModelStore
from service.errors import InvalidRequest, ModelUnavailable, UnknownModel, UnknownVersion
from tests.networks import network
from tests.service.live import publish, publish_upscaler

FRESH = """
import sys, threading
import pastiche
heavy = {"torch", "numpy", "PIL", "pydantic", "service", "model_store", "asyncio"} & set(sys.modules)
print(sorted(heavy), threading.active_count(), pastiche.load is pastiche.load)
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DEVICE": "cpu", "PRECISION": "fp32", "THREADS": "1"}.items():
        monkeypatch.setenv(f"PASTICHE_{name}", value)


def test_importing_loads_nothing_and_starts_no_thread() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "1", "True"]


def test_later_store_hides_models_of_the_same_name(tmp_path: Path) -> None:
    for root, names in (("one", ("wave", "scream")), ("two", ("wave",))):
        for name in names:
            publish(tmp_path / root, name)
    publish(tmp_path / "two", "wave")
    stores: list[str | Path] = [tmp_path / "one", str(tmp_path / "two")]
    assert [manifest.label for manifest in pastiche.models(stores=stores)] == ["scream@1", "wave@2"]
    with pastiche.load("wave", stores=stores) as model:
        assert model.versions == ("wave@2",)


def test_shipped_models_and_those_of_the_current_folder_are_there_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "models", "own")
    monkeypatch.chdir(tmp_path)
    names = {manifest.name for manifest in pastiche.models()}
    assert {"great-wave", "x4", "own"} <= names


def test_unknown_names_are_refused_with_those_that_there_are(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with pytest.raises(UnknownModel, match="'wav'; there are: wave, x4"):
        pastiche.load("wav", stores=tmp_path)
    with pytest.raises(UnknownVersion, match="no version 7; there are: 1"):
        pastiche.load("wave@7", stores=tmp_path)
    with pytest.raises(InvalidRequest, match="names no model"):
        pastiche.load("wave@new", stores=tmp_path)
    with pytest.raises(UnknownModel, match="no style is named 'x4'"):
        pastiche.load("wave,x4", stores=tmp_path)
    with pytest.raises(InvalidRequest, match="is no folder"):
        pastiche.load("wave", stores=tmp_path / "none")


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with pytest.raises(InvalidRequest, match=r"^device is 'gpu': must be auto, cpu, cuda:all, .* such as [^;]*$"):
        pastiche.load("wave", stores=tmp_path, device="gpu")
    with pytest.raises(ValueError, match="cuda:99 does not exist"):
        pastiche.load("wave", stores=tmp_path, device="cuda:99")


def test_store_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(store: ModelStore) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", str(store.root))  # which does not hold back root

    monkeypatch.setattr(ModelStore, "names", refuse)
    with pytest.raises(ModelUnavailable, match=f"{tmp_path}: Permission denied"):
        pastiche.load("wave", stores=tmp_path)


def test_broken_model_is_refused_alone(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "broken", network(seed=1))
    ModelStore(tmp_path).manifest("broken")
    (tmp_path / "broken" / "1" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match="broken@1 could not be loaded"):
        pastiche.load("broken", stores=tmp_path)
    (tmp_path / "broken" / "1" / "manifest.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="broken could not be loaded"):
        pastiche.load("broken", stores=tmp_path)
    with pastiche.load("wave", stores=tmp_path) as model:
        assert model.versions == ("wave@1",)
