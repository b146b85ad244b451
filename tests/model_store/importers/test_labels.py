from model_store.importers.labels import Labels


def test_nothing_but_the_name_must_be_said() -> None:
    assert Labels("wave") == Labels("wave", title="", license="", author="", source="", output=None)
