"""docker/helm/pastiche: rendered by Helm itself, held to Kubernetes' schemas, and to the service that it starts."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.http.probes import PROBES_AND_METRICS
from service.settings import Settings
from service.telemetry.metrics import Metrics

CHART = Path(__file__).parents[2] / "docker" / "helm" / "pastiche"
KSERVE = CHART.parents[1] / "kserve" / "inference-service.yaml"
HELM = shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="needs helm")

KUBERNETES = "1.34"

OPTIONS: Mapping[str, dict[str, Any]] = {
    "defaults": {},
    "bucket": {"models": {"url": "s3://bucket/models"}, "serviceAccount": {"name": "reader"}},
    "volume": {"models": {"claim": "models", "shipped": False}},
    "gpu": {"gpus": 1, "image": {"tag": "cuda"}, "nodeSelector": {"gpu": "h200"}, "tolerations": [{"key": "gpu"}]},
    "hpa": {"autoscaling": {"kind": "hpa"}},
    "keda": {"autoscaling": {"kind": "keda"}},
    "monitor": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "network": {
        "networkPolicy": {
            "enabled": True,
            "clients": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
            "monitoring": [{"namespaceSelector": {}}],
        }
    },
    "settings": {"settings": {"max_queue_requests": 64, "log_format": "json"}, "secretEnvironment": "pastiche"},
    "delay": {"settings": {"shutdown_delay_seconds": 40.5}, "drain": {"seconds": 60}},
    "files": {
        "image": {"repository": "registry.example/pastiche", "pullSecrets": ["registry"]},
        "settings": {"keys_file": "/etc/pastiche/keys.toml", "threads": 3},
        "environment": {"AWS_ENDPOINT_URL": "https://s3.example", "AWS_CA_BUNDLE": "/etc/authority/ca.crt"},
        "volumes": [
            {"name": "keys", "secret": {"secretName": "keys"}},
            {"name": "authority", "configMap": {"name": "authority"}},
        ],
        "volumeMounts": [
            {"name": "keys", "mountPath": "/etc/pastiche", "readOnly": True},
            {"name": "authority", "mountPath": "/etc/authority", "readOnly": True},
        ],
    },
    "placement": {
        "service": {"type": "LoadBalancer", "port": 8080},
        "podAnnotations": {"team": "images"},
        "affinity": {"podAntiAffinity": {}},
        "runtimeClassName": "nvidia",
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "disruption": {"maxUnavailable": "50%"},
    },
}

FOREIGN = {"ScaledObject", "ServiceMonitor", "InferenceService"}
"""Kinds of other projects, whose schemas are not Kubernetes' own."""


@cache
def render(option: str) -> dict[str, dict[str, Any]]:
    """The manifests with the values of an option, by kind and, of several, by name."""
    done = helm("template", "photos", CHART, values=OPTIONS[option])
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    named = {f"{manifest['kind']} {manifest['metadata']['name']}": manifest for manifest in manifests}
    assert len(named) == len(manifests)
    return {name.removesuffix(" photos-pastiche"): manifest for name, manifest in named.items()}


def helm(*arguments: str | Path, values: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    command = [HELM, *map(str, arguments), "--values", "-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)


def pod(option: str) -> dict[str, Any]:
    spec: dict[str, Any] = render(option)["Deployment"]["spec"]["template"]["spec"]
    return spec


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a container is given, by their names; what follows its resources is 2."""
    names = [entry["name"] for entry in container["env"]]
    assert len(set(names)) == len(names)
    given = {entry["name"]: entry.get("value", "2") for entry in container["env"]}
    return {
        name.removeprefix("PASTICHE_").lower(): value for name, value in given.items() if name.startswith("PASTICHE_")
    }


@needs_helm
def test_lint_is_silent() -> None:
    done = helm("lint", "--strict", CHART, values={})
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@needs_helm
@pytest.mark.parametrize("option", OPTIONS)
def test_manifests_are_those_of_the_schemas(option: str) -> None:
    for manifest in render(option).values():
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@needs_helm
def test_schemas_find_mistakes() -> None:
    broken = render("defaults")["Deployment"] | {"spec": {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


@needs_helm
@pytest.mark.parametrize("option", OPTIONS)
def test_service_accepts_its_settings(option: str) -> None:
    (container,) = pod(option)["containers"]
    given = environment(container)
    assert set(given) <= set(Settings.model_fields)
    settings = Settings.model_validate(given)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "metrics": settings.metrics_port}
    written = {Path(str(place)) for place in (settings.jobs_folder, settings.store_cache_folder, "/tmp")}
    mounts = {Path(mount["mountPath"]): mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert {path for path, read_only in mounts.items() if not read_only} == written
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod(option)["volumes"]
    }


@needs_helm
def test_options_become_settings() -> None:
    def of(option: str) -> Settings:
        return Settings.model_validate(environment(pod(option)["containers"][0]))

    assert of("bucket").stores[-1] == "s3://bucket/models"
    assert of("volume").stores == (Path("/models"),)
    assert (of("gpu").device, of("defaults").device) == ("cuda:all", "cpu")
    assert (of("settings").max_queue_requests, of("settings").log_format) == (64, "json")
    assert pod("gpu")["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


LARGE = {"max_body_bytes": 2**27, "max_body_bytes_in_flight": 2**30, "max_pixels": 50_000_000, "job_bytes": 10**15}
"""Helm takes the numbers of a file of values for floats, and writes large ones with an exponent."""


@needs_helm
def test_numbers_become_settings_as_they_are() -> None:
    values = {
        **LARGE,
        "request_timeout": 30.5,
        "min_bytes_per_second": 0.000001,
        "playground": False,
        "precision": "fp32",
    }
    given = environment(container_of(helm("template", "photos", CHART, values={"settings": values})))
    settings = Settings.model_validate(given)
    assert {name: getattr(settings, name) for name in values} == values


def container_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The container of the Deployment that was rendered."""
    assert done.returncode == 0, done.stderr
    (deployment,) = [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "Deployment"]
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


@needs_helm
@pytest.mark.parametrize("release", ["photos", "pastiche", "p" * 53, "pastiche" + "p" * 45])
def test_names_are_no_longer_than_kubernetes_accepts(release: str) -> None:
    """53 characters are the most that Helm accepts of the name of a release."""
    done = helm("template", release, CHART, values={"serviceMonitor": {"enabled": True}})
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(done.stdout) if each]
    assert len(set(names)) == 2
    assert all(len(name) <= 63 for name in names)
    assert all(name.startswith(release[:20]) for name in names)


@needs_helm
def test_threads_and_codec_workers_follow_the_requested_processors() -> None:
    def following(option: str) -> dict[str, str]:
        entries = pod(option)["containers"][0]["env"]
        return {
            entry["name"]: entry["valueFrom"]["resourceFieldRef"]["resource"]
            for entry in entries
            if "valueFrom" in entry
        }

    assert following("defaults") == dict.fromkeys(["PASTICHE_THREADS", "PASTICHE_CODEC_WORKERS"], "requests.cpu")
    assert following("files") == {"PASTICHE_CODEC_WORKERS": "requests.cpu"}


@needs_helm
@pytest.mark.parametrize(
    ("requests", "processes", "each"),
    [({"cpu": "8"}, 2, "4"), ({"cpu": 7}, 3, "2"), ({"cpu": "3500m"}, 2, "2"), ({"cpu": "1"}, 4, "1")],
)
def test_processes_share_the_requested_processors(requests: dict[str, Any], processes: int, each: str) -> None:
    values: dict[str, dict[str, Any]] = {"resources": {"requests": requests}, "settings": {"processes": processes}}
    given = environment(container_of(helm("template", "photos", CHART, values=values)))
    assert (given["threads"], given["codec_workers"]) == (each, each)
    values["settings"]["threads"] = 9
    given = environment(container_of(helm("template", "photos", CHART, values=values)))
    assert (given["threads"], given["codec_workers"]) == ("9", each)


@needs_helm
@pytest.mark.parametrize("resources", [None, {"requests": None, "limits": None}, {"requests": {"cpu": None}}])
def test_without_requested_processors_there_is_a_thread(resources: dict[str, Any] | None) -> None:
    """A field that refers to them would be 0, which the service refuses."""
    container = container_of(helm("template", "photos", CHART, values={"resources": resources, "settings": None}))
    assert "cpu" not in container["resources"].get("requests", {})
    given = environment(container)
    assert (given["threads"], given["codec_workers"]) == ("1", "1")


OF_THE_CHART = {"host", "port", "uds", "metrics_host", "metrics_port", "device", "stores", "store_cache_folder"}
OF_THE_CHART |= {"store_cache_bytes", "jobs_folder", "drain_seconds"}
"""Settings that the chart makes of other values."""


def test_chart_accepts_the_settings_of_the_service() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["settings"]["properties"]) == set(Settings.model_fields) - OF_THE_CHART


@needs_helm
def test_variables_of_libraries_and_places_of_pods_are_passed_on() -> None:
    (container,) = pod("files")["containers"]
    assert {"name": "AWS_CA_BUNDLE", "value": "/etc/authority/ca.crt"} in container["env"]
    assert pod("files")["imagePullSecrets"] == [{"name": "registry"}]
    placement = render("placement")["Deployment"]["spec"]
    (spread,) = placement["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == placement["selector"]
    assert placement["template"]["spec"]["runtimeClassName"] == "nvidia"


@needs_helm
def test_probes_ask_what_the_service_answers() -> None:
    (container,) = pod("defaults")["containers"]
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {probe["path"] for probe in probes.values()} <= PROBES_AND_METRICS
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/livez",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {probe["port"] for probe in probes.values()} == {"metrics"}


@needs_helm
@pytest.mark.parametrize("option", ["defaults", "delay"])
def test_pod_may_finish_what_it_has_admitted(option: str) -> None:
    settings = Settings.model_validate(environment(pod(option)["containers"][0]))
    before = pod(option)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    least = before + settings.shutdown_delay_seconds + settings.drain_seconds
    assert pod(option)["terminationGracePeriodSeconds"] >= least + 10


@needs_helm
def test_pod_has_no_more_rights_than_it_needs() -> None:
    (container,) = pod("defaults")["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod("defaults")["securityContext"]["runAsNonRoot"] is True
    assert pod("defaults")["automountServiceAccountToken"] is False
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text()
    assert f"--uid {pod('defaults')['securityContext']['runAsUser']}" in dockerfile


@needs_helm
def test_scaling_follows_a_metric_of_the_service() -> None:
    series = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    hpa = render("hpa")["HorizontalPodAutoscaler"]["spec"]
    assert hpa["metrics"][0]["pods"]["metric"]["name"] in series
    (trigger,) = render("keda")["ScaledObject"]["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert set(re.findall(r"pastiche_\w+", trigger["metadata"]["query"])) <= series
    for option in ("hpa", "keda"):
        assert "replicas" not in render(option)["Deployment"]["spec"]


@needs_helm
@pytest.mark.parametrize(
    ("release", "pod_name", "is_own"),
    [
        ("pastiche", "pastiche-7d9c5b6f48-x2x9k", True),
        ("photos", "photos-pastiche-64f8f5b7c-abcde", True),
        (
            "pastiche" + "p" * 45,
            "pastiche" + "p" * 45 + "-7d9cx2x9k",
            True,
        ),  # cut before the five letters
        ("pastiche", "pastiche-gpu-7d9c5b6f48-x2x9k", False),
        ("pastiche", "other-pastiche-7d9c5b6f48-x2x9k", False),
    ],
)
def test_keda_asks_for_the_pods_of_the_release(release: str, pod_name: str, is_own: bool) -> None:
    done = helm("template", release, CHART, values={"autoscaling": {"kind": "keda"}})
    (scaled,) = [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "ScaledObject"]
    (trigger,) = scaled["spec"]["triggers"]
    pattern = re.search(r'pod=~"([^"]+)"', trigger["metadata"]["query"])
    assert pattern is not None
    assert (re.fullmatch(pattern[1], pod_name) is not None) == is_own


@needs_helm
def test_services_and_policies_meet_the_pods() -> None:
    manifests = render("network") | render("monitor")
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        manifests["Deployment"]["spec"]["selector"]["matchLabels"],
        manifests["Service"]["spec"]["selector"],
        manifests["Service photos-pastiche-metrics"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    monitor = manifests["ServiceMonitor"]["spec"]
    service = manifests["Service photos-pastiche-metrics"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]
    assert monitor["endpoints"][0]["path"] in PROBES_AND_METRICS


@needs_helm
def test_scraped_pods_have_the_job_of_the_alerts() -> None:
    """The operator takes the value of a label of the Service for it, and else the name of that."""
    files = (
        CHART.parents[1] / "prometheus" / "alerts.yml",
        CHART.parents[1] / "grafana" / "dashboards" / "pastiche.json",
    )
    jobs = {job for path in files for job in re.findall(r'job=\\?"(\w+)', path.read_text())}
    monitor = render("monitor")["ServiceMonitor"]["spec"]
    labels = render("monitor")["Service photos-pastiche-metrics"]["metadata"]["labels"]
    assert jobs == {labels[monitor["jobLabel"]]}


@needs_helm
@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replicas": "two"}, "replicas"),
        ({"unknown": 1}, "unknown"),
        ({"settings": {"port": 80}}, "'port'"),
        ({"settings": {"max_queue_request": 64}}, "'max_queue_request'"),
        ({"autoscaling": None}, "'autoscaling'"),
        ({"drain": {"seconds": None}}, "'seconds'"),
        ({"settings": {"uds": "/tmp/pastiche.sock"}}, "'uds'"),
        ({"environment": {"PASTICHE_PORT": "80"}}, "PASTICHE_PORT"),
        ({"models": {"shipped": False}}, "models"),
        ({"autoscaling": {"kind": "cron"}}, "autoscaling"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], complaint: str) -> None:
    done = helm("template", "photos", CHART, values=values)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_inference_service_starts_what_the_service_accepts() -> None:
    manifest = yaml.safe_load(KSERVE.read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = manifest["spec"]["predictor"]
    (container,) = predictor["containers"]
    settings = Settings.model_validate(environment(container))
    assert set(environment(container)) <= set(Settings.model_fields)
    requested = int(container["resources"]["requests"]["cpu"])
    assert {environment(container).get(name) for name in ("threads", "codec_workers")} == {str(requested)}
    assert [port["containerPort"] for port in container["ports"]] == [settings.port]
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")} <= (
        PROBES_AND_METRICS
    )
    assert predictor["terminationGracePeriodSeconds"] >= settings.drain_seconds + 10
    pod_fields = {"securityContext", "serviceAccountName", "terminationGracePeriodSeconds", "containers", "volumes"}
    spec = {field: value for field, value in predictor.items() if field in pod_fields}
    as_pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pastiche"}, "spec": spec}
    kubernetes_validate.validate(as_pod, KUBERNETES, strict=True)
