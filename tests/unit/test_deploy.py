"""What is deployed names only what exists: metrics in rules and dashboards, settings in compose file and chart."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from askance.cli.main import app
from askance.keys import KEYS, variable
from askance.settings import load
from askance.telemetry import Telemetry

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "askance"


def scraped() -> set[str]:
    """Every name under which a sample of ours is scraped."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {metric.name + suffix for metric in Telemetry().registry.collect() for suffix in suffixes[metric.type]}


def metrics_in(text: str) -> set[str]:
    """
    >>> sorted(metrics_in("sum(rate(askance_a_total{x='y'}[5m])) > askance_b"))
    ['askance_a_total', 'askance_b']
    """
    return set(re.findall(r"\baskance_\w+", text))


def test_the_alerts_are_about_metrics_that_exist() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    used = {
        name for rule in rules for text in (rule["expr"], *rule["annotations"].values()) for name in metrics_in(text)
    }

    assert len(rules) >= 8
    assert used <= scraped()
    assert all(rule["annotations"]["action"] for rule in rules)


def test_the_dashboard_shows_metrics_that_exist() -> None:
    board = json.loads((DEPLOY / "grafana" / "askance.json").read_text(encoding="utf-8"))
    used = [metrics_in(target["expr"]) for panel in board["panels"] for target in panel["targets"]]

    assert len(used) >= 12
    assert all(used)
    assert set().union(*used) <= scraped()


def variables_in(value: Any) -> set[str]:
    return set(re.findall(r"\bASKANCE_[A-Z_]+", json.dumps(value)))


def test_the_compose_file_and_the_chart_set_settings_that_exist() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    chart = "\n".join(path.read_text(encoding="utf-8") for path in CHART.rglob("*.tpl"))
    known = {variable(key) for key in KEYS}

    assert variables_in(compose["services"]) <= known
    assert variables_in(chart) <= known


def test_the_image_has_every_extra_but_torch() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [extras] = re.findall(r"^ARG EXTRAS=(\S+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)

    assert set(extras.split(",")) == set(project["optional-dependencies"]) - {"transformers"}


def test_what_the_compose_file_runs_are_commands_with_their_flags() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    commands = {name: service["command"] for name, service in services.items() if "command" in service}

    assert {"classify", "teach", "train", "page", "topics"} == set(commands)
    for words in commands.values():
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        known = {option for param in command.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= known, words
    ports = services["page"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in ports), "the page has no login"
    [metrics] = {
        variable: value for variable, value in services["page"]["environment"].items() if "PORT" in variable
    }.values()
    read = [word for word in commands["page"] if word.startswith("http://")]
    assert read == [f"http://{worker}:{metrics}/metrics" for worker in ("classify", "teach", "train")]


@pytest.mark.parametrize("values", ["values.yaml", "ci/full-values.yaml", "ci/volume-values.yaml"])
def test_the_settings_in_the_charts_values_are_in_order(tmp_path: Path, values: str) -> None:
    config = yaml.safe_load((CHART / values).read_text(encoding="utf-8"))["config"]
    if not config["teacher"]["labels"]:
        # Left empty for the user to fill in: the chart refuses to render so.
        del config["teacher"]["labels"]
    path = tmp_path / "askance.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    assert load(path).teacher.kind in {"openai", "none"}
