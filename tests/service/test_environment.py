import pytest

from service.environment import unknown_variables
from service.settings import Settings

SERVICE = {
    "PASTICHE_SERVICE_HOST": "10.0.0.7",
    "PASTICHE_SERVICE_PORT": "8000",
    "PASTICHE_SERVICE_PORT_HTTP": "8000",
    "PASTICHE_PORT": "tcp://10.0.0.7:8000",
    "PASTICHE_PORT_8000_TCP": "tcp://10.0.0.7:8000",
    "PASTICHE_PORT_8000_TCP_PROTO": "tcp",
    "PASTICHE_PORT_8000_TCP_PORT": "8000",
    "PASTICHE_PORT_8000_TCP_ADDR": "10.0.0.7",
    "PASTICHE_METRICS_PORT": "tcp://10.0.0.8:9000",
}
"""What Kubernetes tells pods of the Services `pastiche` and `pastiche-metrics`."""


def test_services_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.port, settings.metrics_port) == (8000, Settings.model_fields["metrics_port"].default)
    assert unknown_variables(SERVICE, Settings.model_fields) == []
    monkeypatch.setenv("PASTICHE_PORT", "8080")
    assert Settings().port == 8080
    monkeypatch.setenv("PASTICHE_PORT", "http")
    with pytest.raises(ValueError, match="valid integer"):
        Settings()


@pytest.mark.parametrize("name", ["PASTICHE_MAX_PIXLES", "pastiche_max_pixles", "PASTICHE_PORTS", "PASTICHE_SERVICE"])
def test_what_is_no_setting_is_found(name: str) -> None:
    others = ("PATH", "PASTICHE", "PASTICHE_KEY", "PASTICHE_SERVER", "PASTICHE_MAX_PIXELS", "pastiche_max_pixels")
    assert unknown_variables([*others, name], Settings.model_fields) == [name]
