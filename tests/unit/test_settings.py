import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance import settings
from askance.cli.config import template
from askance.config import Config
from askance.errors import ConfigError
from askance.keys import KEYS, SECTIONS, variable


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str) -> Path:
    path = Path("askance.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path | None = None, overrides: dict[str, object] | None = None, **flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.load(path, overrides, flags={key.replace("__", "."): flag for key, flag in flags.items()})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_anything_the_defaults_hold() -> None:
    assert settings.load() == Config()


def test_the_file_is_overridden_by_the_environment_and_that_by_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    written("budget:\n  share: 0.1\n  advance: 1\n  horizon: 2\n")
    monkeypatch.setenv("ASKANCE_BUDGET__SHARE", "0.2")
    monkeypatch.setenv("ASKANCE_BUDGET__ADVANCE", "3")

    budget = settings.load(overrides={"budget.share": 0.3}).budget

    assert (budget.share, budget.advance, budget.horizon) == (0.3, 3, 2)


def test_every_value_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    written("\nbudget:\n  share: 0.1\n  advance: 1\n")
    monkeypatch.setenv("ASKANCE_BUDGET__ADVANCE", "3")

    effective = settings.effective(overrides={"gate.seed": 5}, flags={"gate.seed": "--seed"})
    found = {setting.key: setting[1:] for setting in effective}

    assert found.keys() == KEYS.keys()
    assert found["budget.share"] == (0.1, "askance.yaml, line 3")
    assert found["budget.advance"] == (3, "ASKANCE_BUDGET__ADVANCE")
    assert found["gate.seed"] == (5, "--seed")
    assert found["budget.horizon"] == (5000, "default")


def test_another_file_can_be_named(folder: Path) -> None:
    other = folder / "other.yaml"
    other.write_text("batch: 7", encoding="utf-8")
    written("batch: 8")

    assert settings.load(other).batch == 7


def test_a_section_with_everything_commented_out_is_empty() -> None:
    written("gate:\n#  seed: 3\nbatch: 9\n")

    assert settings.load() == Config(batch=9)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_no_mistake(text: str) -> None:
    written(text)

    assert settings.load() == Config()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("budgt:\n  share: 0.1", "line 1: budgt: unknown key; did you mean budget?"),
        ("budget:\n  shar: 0.1", "line 2: budget.shar: unknown key; did you mean budget.share?"),
        ("share: 0.1", "line 1: share: unknown key; did you mean budget.share?"),
        ("sink:\n  seed: 1", "line 2: sink.seed: unknown key; did you mean gate.seed or train.seed?"),
        ("gate:\n  qqqqqq: 1", "line 2: gate.qqqqqq: unknown key; known here: gate.measure, gate.exponent"),
        ("budget:\n  share: 7", "line 2: budget.share is 7: should be less than or equal to 1"),
        ("budget:\n  share: much", "line 2: budget.share is 'much': should be a valid number"),
        ("budget:\n  kind: all", "line 2: budget.kind is 'all': should be 'share', 'per_second' or 'm-raru'"),
        ("batch: 0\nlinger_ms: -1", "line 1: batch is 0: should be greater than or equal to 1 (and 1 more)"),
        ("teacher:\n  labels: [yes, ham]", "teacher.labels[0] is True: should be a valid string; put it in quotes"),
        ("teacher:\n  labels: [a, b, a]", "these labels stand twice: a"),
        ("gate:\n  floor: 0.5", "lower the floor or raise the share"),
        ("batch: 1\nbatch: 2", "line 2: batch: stands twice"),
        ("budget: 3", "line 1: budget must hold `key: value` lines"),
        ("- a", "line 1: the file must hold `key: value` lines"),
        ("? [a]\n: b", "line 1: a key must be a word"),
        ("gate:\n\tseed: 3", "line 2: not valid YAML"),
        ("gate: {seed: 3", "line 1: not valid YAML"),
        ("batch: 1\n---\nbatch: 2", "line 2: not valid YAML: expected a single document"),
        ("batch: 1\nstate: \x07", "line 2: not valid YAML: the character '\\x07'"),
        ("teacher:\n  descriptions: &a {b: *a}", "not valid YAML: found unconstructable recursive node"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(text: str, says: str) -> None:
    written(text)

    message = refused()

    assert says in message
    assert message.startswith("askance.yaml") or "floor" in message


@pytest.mark.parametrize("key", ["api_key", "openai_api_key", "apikey", "token"])
def test_a_secret_in_the_file_is_told_where_it_belongs_and_not_repeated(key: str) -> None:
    written(f"teacher:\n  {key}: sk-hush")

    message = refused()

    assert "keys come only from the environment" in message
    assert "OPENAI_API_KEY" in message
    assert "hush" not in message


def test_a_secret_in_place_of_the_variables_name_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKANCE_TEACHER__API_KEY_ENV", "sk-hush")

    message = refused()

    assert message.startswith("ASKANCE_TEACHER__API_KEY_ENV: must be the name of an environment variable")
    assert "hush" not in message


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ASKANCE_BUDGET__SHARE", "7", "ASKANCE_BUDGET__SHARE is '7': should be less than or equal to 1"),
        ("ASKANCE_BUDGET__SHAER", "1", "ASKANCE_BUDGET__SHAER: unknown key; did you mean ASKANCE_BUDGET__SHARE?"),
        ("ASKANCE_BUDGTE__SHARE", "1", "unknown key; did you mean ASKANCE_BUDGET__SHARE?"),
        ("ASKANCE_BATHC", "1", "unknown key; did you mean ASKANCE_BATCH?"),
        ("ASKANCE_SHARE", "1", "unknown key; did you mean ASKANCE_BUDGET__SHARE?"),
        ("ASKANCE_BUDGET__SHARE__PART", "1", "ASKANCE_BUDGET__SHARE__PART: unknown key"),
        ("ASKANCE_SOURCE__PORT", "1", "ASKANCE_SOURCE__PORT: unknown key"),
        ("ASKANCE_BUDGET", "{}", "ASKANCE_BUDGET: is a section; set its keys, such as ASKANCE_BUDGET__KIND"),
        ("ASKANCE_TEACHER__API_KEY", "sk-hush", "keys come only from the environment"),
        ("ASKANCE_REGISTRY", "s3://id:hush@models/a", "registry holds a password; keys come only from the environment"),
        ("ASKANCE_TEACHER__LABELS", '["a", ', "ASKANCE_TEACHER__LABELS is '[\"a\", '"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)

    message = refused()

    assert says in message
    assert "hush" not in message


@pytest.mark.parametrize("text", ["spam,ham", "spam, ham", '["spam", "ham"]'])
def test_labels_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ASKANCE_TEACHER__LABELS", text)

    assert settings.load().teacher.labels == ("spam", "ham")


def test_descriptions_in_the_environment_keep_their_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKANCE_TEACHER__DESCRIPTIONS", '{"Spam": "Not wanted"}')

    assert settings.load().teacher.descriptions == {"Spam": "Not wanted"}


def test_an_empty_variable_is_unset_and_null_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    written("source: {topic: tickets, rate: 3}")
    monkeypatch.setenv("ASKANCE_SOURCE__TOPIC", "")
    monkeypatch.setenv("ASKANCE_SOURCE__RATE", "null")

    source = settings.load().source

    assert (source.topic, source.rate) == ("tickets", None)


@pytest.mark.parametrize(
    "name",
    ["ASKANCE_SERVICE_HOST", "ASKANCE_PORT", "ASKANCE_PORT_9090_TCP_ADDR", "ASKANCE_TEACH_SERVICE_PORT_HTTP"],
)
def test_what_kubernetes_puts_beside_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:9090")

    assert settings.load() == Config()


@pytest.mark.parametrize("name", ["ASKANCE_TEST_KAFKA", "ASKANCE_TEST_CHROMIUM", "ASKANCE_TEST_KAFKA_VERSION"])
def test_what_tells_the_tests_their_broker_is_no_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "localhost:9092")

    assert settings.load() == Config()
    monkeypatch.setenv("ASKANCE_TESTS", "x")
    with pytest.raises(ConfigError, match="ASKANCE_TESTS"):
        settings.load()


def test_a_mistake_in_a_flag_names_the_flag() -> None:
    assert refused(None, {"budget.share": 7}, budget__share="--share").startswith("--share is 7: should be less")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("budget.shar=1", "--set budget.shar: unknown key; did you mean budget.share?"),
        ("budget.share", "write it as KEY=VALUE"),
        ("teacher.labels=[a", "is no value"),
    ],
)
def test_a_mistake_in_an_assignment_is_named(assignment: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.assigned([assignment])

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file; `askance init --config there.yaml` writes one"),
        (lambda path: path.mkdir(), "there.yaml: cannot be read"),
        (lambda path: path.write_bytes(b"state: \xff"), "there.yaml: is not UTF-8 at byte 7"),
    ],
)
def test_a_file_that_cannot_be_read(make, says: str) -> None:
    path = Path("there.yaml")
    make(path)

    assert says in refused(path)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:hush@host/v1", "https://***@host/v1"),
        ("postgresql+psycopg://u:hu%40sh@host:5432/db", "postgresql+psycopg://***@host:5432/db"),
        ("https://host/v1?api_key=hush&page=2", "https://host/v1?api_key=***&page=2"),
        ("https://host/v1?X-Amz-Signature=hush", "https://host/v1?X-Amz-Signature=***"),
        ("https://host/v1?monkey=banana", "https://host/v1?monkey=banana"),
        ("a line to someone@example.org", "a line to someone@example.org"),
        ({"a": ["x://u:hush@h"]}, {"a": ["x://***@h"]}),
        (("x://u:hush@h", 3), ("x://***@h", 3)),
        (0.5, 0.5),
    ],
)
def test_credentials_are_blotted_out(value: object, shown: object) -> None:
    assert settings.redacted(value) == shown


def test_a_shown_url_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKANCE_TEACHER__BASE_URL", "http://user:hush@host/v1")

    assert "hush" not in repr(settings.effective())
    assert "hush" in repr(settings.load())


def test_every_key_and_every_section_has_a_docstring() -> None:
    undocumented = [key for key, field in KEYS.items() if not field.description]

    assert not undocumented


def test_the_template_loads_back_equal_to_the_defaults() -> None:
    text = template()
    written(text)

    assert settings.load() == Config()
    assert all(f"{name.partition('.')[2]}:" in text for name in KEYS if "." in name)
    assert all(f"{name}:" in text for name in SECTIONS if "." not in name)


def test_the_template_with_every_key_uncommented_loads_back_equal_to_the_defaults() -> None:
    lines = template().splitlines()
    keyed = [
        line.replace("#", "", 1) if line.lstrip()[:1] == "#" and line.lstrip()[:2] != "# " else line for line in lines
    ]
    written("\n".join(keyed))

    assert settings.load() == Config()
    assert all(setting.origin != "default" for setting in settings.effective())


@given(key=st.sampled_from(sorted(KEYS)), place=st.integers(0, 30), letter=st.sampled_from("abcxyz_"))
def test_a_typing_error_in_any_key_is_found_and_a_near_one_named(key: str, place: int, letter: str) -> None:
    section, dot, last = key.rpartition(".")
    place %= len(last) + 1
    wrong = f"{section}{dot}{last[:place]}{letter}{last[place:]}"

    with pytest.raises(ConfigError) as caught:
        settings.load(overrides={wrong: 1})

    # Very short names have no near ones.
    if difflib.SequenceMatcher(None, wrong.rpartition(".")[2], last).ratio() > 0.75:
        assert "did you mean" in str(caught.value) or "keys come only from the environment" in str(caught.value)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_can_be_set_from_the_environment(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    value = {"source.follow": "false"}.get(key, "null")
    monkeypatch.setenv(variable(key), value)

    try:
        found = {setting.key: setting.origin for setting in settings.effective()}[key]
    except ConfigError as exc:
        found = str(exc)

    assert found.startswith(variable(key))


@pytest.mark.parametrize(
    "servers", ["", "a:b:c", "localhost:", "localhost:http", "kafka://localhost:9092", "a:9092,,b:9092", "[::1]:x"]
)
def test_what_is_no_brokers_address_is_refused_with_the_form(servers: str) -> None:
    assert "write host:port" in refused(overrides={"kafka.bootstrap.servers": servers})


@pytest.mark.parametrize("servers", ["localhost", "a:9092, b.example:9093", "::1", "[::1]:9092", "127.0.0.1:9092"])
def test_every_form_of_a_brokers_address_is_taken(servers: str) -> None:
    assert settings.load(overrides={"kafka.bootstrap.servers": servers}).kafka.bootstrap.servers == servers


@pytest.mark.parametrize("key", ["predictions", "queries", "labels", "dead_letters"])
def test_a_topic_has_one_purpose(key: str) -> None:
    message = refused(overrides={f"kafka.{key}": "documents"})
    assert "the topic documents is named for two purposes" in message
