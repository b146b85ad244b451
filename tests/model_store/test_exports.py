import pytest

import model_store
from model_store.exports import EXPORTS, import_name


def test_every_public_name_is_found() -> None:
    assert set(model_store.__all__) == EXPORTS.keys()
    for name in model_store.__all__:
        assert getattr(model_store, name) is import_name(name)
    with pytest.raises(AttributeError, match="has no attribute 'Modelstore'"):
        import_name("Modelstore")
