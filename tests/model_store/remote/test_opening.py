from pathlib import Path

from model_store import ModelStore, open_store
from model_store.remote.remote_store import RemoteStore
from model_store.remote.version_cache import CacheSettings


def test_location_decides_on_the_kind_of_store(tmp_path: Path) -> None:
    assert type(open_store(tmp_path)) is ModelStore
    one, other = (open_store(f"memory://{name}", CacheSettings(tmp_path)) for name in ("one", "other"))
    assert isinstance(one, RemoteStore)
    assert one.location == "memory://one"
    assert one.root != other.root
    assert one.root.parent == tmp_path
