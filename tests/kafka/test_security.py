"""TLS both ways and every way to log in, at a broker that insists on them; and what a refusal looks like."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from tests.kafka.certificates import PASSWORD, Certificates
from tests.kafka.conftest import cluster_or_skip
from tests.kafka.fleet import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.kafka.broker import Cluster

pytestmark = pytest.mark.slow
SECRETS = {"admin": "admin's word", "reader": "reader's word"}
ADMIN = SECRETS["admin"]
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_TOKEN = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    missing = [tool for tool in ("openssl", "keytool") if shutil.which(tool) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{' and '.join(missing)} not found")
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def guarded(certificates: Certificates) -> Iterator[Cluster]:
    """A broker that wants a certificate, a log-in and, of everybody but `admin`, a permission."""
    context = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    context.load_cert_chain(certificates.folder / "client.pem", certificates.folder / "client.key")
    users = " ".join(f'user_{name}="{secret}"' for name, secret in SECRETS.items())
    listener = "listener.name.sasl_ssl"
    cluster = cluster_or_skip(
        1,
        protocol="SASL_SSL",
        client={"security_protocol": "SASL_SSL", "ssl_context": context, "sasl_mechanism": "PLAIN",
                "sasl_plain_username": "admin", "sasl_plain_password": ADMIN},
        credentials=[f"SCRAM-SHA-256=[name=admin,password={ADMIN}]", f"SCRAM-SHA-512=[name=admin,password={ADMIN}]"],
        **certificates.broker_properties,
        **{
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            f"{listener}.plain.sasl.jaas.config": f'{_PLAIN} username="admin" password="{ADMIN}" {users};',
            f"{listener}.scram-sha-256.sasl.jaas.config": f"{_SCRAM};",
            f"{listener}.scram-sha-512.sasl.jaas.config": f"{_SCRAM};",
            f"{listener}.oauthbearer.sasl.jaas.config": f'{_TOKEN} unsecuredLoginStringClaim_sub="admin";',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",
        },
    )  # fmt: skip
    with cluster:
        yield cluster


def token() -> str:
    """An unsigned one, which a broker takes that was told of no authority."""
    claims = {"sub": "admin", "iat": time.time() - 10, "exp": time.time() + 3600}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


def settings(guarded: Cluster, certificates: Certificates, **changed: Any) -> dict[str, Any]:
    folder = certificates.folder
    name = f"safe-{uuid.uuid4().hex[:8]}"
    return {
        "bootstrap.servers": guarded.bootstrap_servers,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "admin",
        "ssl.ca.location": str(folder / "ca.pem"),
        "ssl.certificate.location": str(folder / "client.pem"),
        "ssl.key.location": str(folder / "client.key"),
        "documents": ["documents"],
        "group.id": name,
        **{topic: f"{name}.{topic}" for topic in ("predictions", "queries", "labels", "tallies", "dead_letters")},
        **changed,
    }


def create_topics(folder: Path, kafka: dict[str, Any], **variables: str) -> subprocess.CompletedProcess[str]:
    """`askance topics create`, which needs everything that a worker needs to be let in."""
    return run(folder, kafka, "topics", "create", **variables)


def run(folder: Path, kafka: dict[str, Any], *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    tree: dict[str, Any] = {}
    for key, value in kafka.items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    (folder / "askance.yaml").write_text(yaml.safe_dump({"kafka": tree}))
    done = subprocess.run(
        [*COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=240,
        env={**environment(), **variables},
    )  # fmt: skip
    assert not [secret for secret in (*SECRETS.values(), PASSWORD) if secret in done.stdout + done.stderr]
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_logs_in(guarded: Cluster, certificates: Certificates, tmp_path: Path, mechanism: str) -> None:
    kafka = settings(guarded, certificates, **{"sasl.mechanism": mechanism})

    done = create_topics(tmp_path, kafka, KAFKA_SASL_PASSWORD=ADMIN)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created") == 5


def test_a_token_logs_in(guarded: Cluster, certificates: Certificates, tmp_path: Path) -> None:
    kafka = settings(guarded, certificates, **{"sasl.mechanism": "OAUTHBEARER"})

    assert create_topics(tmp_path, kafka, KAFKA_SASL_TOKEN=token()).returncode == 0


def test_secrets_may_be_in_files_and_the_key_may_be_locked(
    guarded: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "word").write_text(ADMIN + "\n")
    kafka = settings(guarded, certificates, **{"ssl.key.location": str(certificates.folder / "locked.key")})

    done = create_topics(
        tmp_path, kafka, KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "word"), KAFKA_SSL_KEY_PASSWORD=PASSWORD
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changed", "variables", "code", "says"),
    [
        ({}, {}, 2, "KAFKA_SASL_PASSWORD"),
        ({"sasl.username": None}, {}, 2, "kafka.sasl.username"),
        ({}, {"KAFKA_SASL_PASSWORD_FILE": "nowhere"}, 2, "nowhere"),
        ({}, {"KAFKA_SASL_PASSWORD": "another word"}, 1, "Authentication"),
        ({"ssl.ca.location": None}, {"KAFKA_SASL_PASSWORD": ADMIN}, 1, "certificate"),
        ({"ssl.ca.location": "nowhere.pem"}, {"KAFKA_SASL_PASSWORD": ADMIN}, 2, "ssl.ca.location"),
        ({"ssl.certificate.location": None}, {"KAFKA_SASL_PASSWORD": ADMIN}, 1, "cannot be used"),
    ],
)
def test_who_is_not_let_in_hears_why_in_one_line(
    guarded: Cluster,
    certificates: Certificates,
    tmp_path: Path,
    changed: dict[str, Any],
    variables: dict[str, str],
    code: int,
    says: str,
) -> None:
    done = create_topics(tmp_path, settings(guarded, certificates, **changed), **variables)

    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("check", "code"), [("https", 1), ("none", 0)])
def test_a_certificate_for_another_host_is_refused_unless_told_otherwise(
    guarded: Cluster, certificates: Certificates, tmp_path: Path, check: str, code: int
) -> None:
    elsewhere = guarded.bootstrap_servers.replace("127.0.0.1", "localhost")
    changed = {"bootstrap.servers": elsewhere, "ssl.endpoint.identification.algorithm": check}

    done = create_topics(tmp_path, settings(guarded, certificates, **changed), KAFKA_SASL_PASSWORD=ADMIN)

    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_worker_without_the_right_to_its_topics_ends_with_one_line(
    guarded: Cluster, certificates: Certificates, tmp_path: Path, delivery: str
) -> None:
    kafka = settings(guarded, certificates, delivery=delivery)
    done = run(tmp_path, kafka, "topics", "create", "--documents", KAFKA_SASL_PASSWORD=ADMIN)
    assert done.returncode == 0, done.stderr
    kafka["sasl.username"] = "reader"

    done = run(tmp_path, kafka, "classify", KAFKA_SASL_PASSWORD=SECRETS["reader"])

    assert done.returncode == 1, done.stderr
    assert "AuthorizationFailed" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def allow(guarded: Cluster, certificates: Certificates, resource: int, name: str, operation: int) -> None:
    """To `reader`, by the numbers of Kafka's protocol."""

    async def create() -> None:
        context = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
        context.load_cert_chain(certificates.folder / "client.pem", certificates.folder / "client.key")
        admin = AIOKafkaAdminClient(
            bootstrap_servers=guarded.bootstrap_servers, security_protocol="SASL_SSL", ssl_context=context,
            sasl_mechanism="PLAIN", sasl_plain_username="admin", sasl_plain_password=ADMIN,
        )  # fmt: skip
        await admin.start()
        try:
            literally, allowed = 3, 3
            request = CreateAclsRequest(resource, name, literally, "User:reader", "*", operation, allowed)
            [(code, message)] = (await admin._send_request(request)).creation_responses
            assert code == 0, message
        finally:
            await admin.close()

    asyncio.run(create())


def test_the_doctor_names_the_rights_that_are_missing_without_trying_them(
    guarded: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    kafka = settings(guarded, certificates, documents=[f"seen-{uuid.uuid4().hex[:8]}"])
    done = run(tmp_path, kafka, "topics", "create", "--documents", KAFKA_SASL_PASSWORD=ADMIN)
    assert done.returncode == 0, done.stderr

    def findings(password: str) -> dict[str, dict[str, str]]:
        told = json.loads(run(tmp_path, kafka, "doctor", "--json", KAFKA_SASL_PASSWORD=password).stdout)
        return {found["part"]: found for found in told}

    told = findings(ADMIN)
    assert told["rights"]["state"] == "well", told["rights"]["found"]
    assert told["broker's clock"]["found"] == "within 5 seconds of the broker"
    topic, group, read, write = 2, 3, 3, 4
    for name in (kafka["documents"][0], kafka["labels"], kafka["tallies"]):
        allow(guarded, certificates, topic, name, read)
    for name in (kafka["predictions"], kafka["queries"], kafka["dead_letters"]):
        allow(guarded, certificates, topic, name, write)
    allow(guarded, certificates, group, kafka["group.id"], read)
    kafka["sasl.username"] = "reader"
    told = findings(SECRETS["reader"])
    assert told["broker's clock"]["state"] == "well"
    assert "may not describe the cluster" in told["broker's clock"]["found"]
    assert told["rights"]["state"] == "doubtful"
    assert told["rights"]["found"] == (
        f"not allowed: read {kafka['queries']} (for `teach`), write {kafka['labels']} (for `teach`), "
        f"write {kafka['tallies']} (for `classify`), read group {kafka['group.id']}-teach (for `teach`)"
    )
