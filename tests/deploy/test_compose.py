"""The image and the compose file fit each other, and the broker's image: who may write, what is kept, who can connect.

No container engine is at hand: both files are read as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from askance.settings import load

if TYPE_CHECKING:
    import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
BROKER: dict[str, str] = SERVICES["kafka"]["environment"]


def listeners(setting: str) -> dict[str, str]:
    """Of a setting such as `A://:1,B://b:2`: each name's address.

    >>> listeners("KAFKA_LISTENERS")["HOST"]
    ':9094'
    """
    return dict(each.split("://") for each in BROKER[setting].split(","))


def test_every_folder_that_a_worker_writes_belongs_to_the_images_user() -> None:
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    [made] = re.findall(r"install --directory --owner askance ([/\w ]+)", image)
    workers = [service for service in SERVICES.values() if service.get("image") == "askance"]
    mounts = [mount.split(":") for service in workers for mount in service.get("volumes", ())]

    assert {service["user"] for service in workers} == set(re.findall(r"^USER (\d+)$", image, re.MULTILINE))
    assert {"/state", "/registry"} <= {mount[1] for mount in mounts} <= set(made.split())
    # Versions are published by `train` and promoted by the page.
    for worker in ("train", "page"):
        assert "registry:/registry" in SERVICES[worker]["volumes"]


def test_the_broker_keeps_its_topics_in_its_volume() -> None:
    [mount] = SERVICES["kafka"]["volumes"]

    assert BROKER["KAFKA_LOG_DIRS"] == mount.split(":")[1]
    # The folder that the broker's own image gives to its own user.
    assert BROKER["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"


def test_each_client_of_the_broker_is_told_an_address_that_it_can_reach() -> None:
    bound, told = listeners("KAFKA_LISTENERS"), listeners("KAFKA_ADVERTISED_LISTENERS")
    [port] = SERVICES["kafka"]["ports"]
    address, published, inside = port.split(":")

    assert told["WORKERS"] == SERVICES["classify"]["environment"]["ASKANCE_KAFKA__BOOTSTRAP__SERVERS"]
    assert told["WORKERS"] == f"kafka{bound['WORKERS']}"
    assert (told["HOST"], bound["HOST"]) == (f"{address}:{published}", f":{inside}")
    assert address == "127.0.0.1", "the broker has no login"
    controller = BROKER["KAFKA_CONTROLLER_LISTENER_NAMES"]
    assert set(bound) - set(told) == {controller}
    assert BROKER["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"{BROKER['KAFKA_NODE_ID']}@kafka{bound[controller]}"
    assert BROKER["KAFKA_INTER_BROKER_LISTENER_NAME"] in told
    assert {each.split(":")[0] for each in BROKER["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")} == set(bound)


def test_the_page_says_how_to_feed_the_broker_and_how_to_read_from_it() -> None:
    page = (DEPLOY.parent / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")

    for tool, topic in (("producer", "documents"), ("consumer", "askance.predictions")):
        [command] = re.findall(rf"kafka-console-{tool}\.sh [^\n]*\\\n[^\n]*", page)
        assert f"--topic {topic}" in command
        assert f"--bootstrap-server {listeners('KAFKA_ADVERTISED_LISTENERS')['WORKERS']}" in command
    assert listeners("KAFKA_ADVERTISED_LISTENERS")["HOST"] in page


def test_what_a_person_sets_for_compose_does_not_upset_askance(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = set(re.findall(r"\$\{(\w+):", TEXT))
    for name in theirs:
        monkeypatch.setenv(name, "1")

    assert {"TEACHER_LABELS", "TEACHER_MODEL", "OPENAI_API_KEY"} <= theirs
    load(None)
