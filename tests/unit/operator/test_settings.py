"""Settings come from SMALT_* variables; what cannot be used is named, and no two processes share an identity."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smalt.operate import main
from smalt.settings import PREFIX, Settings, unique_identity


def test_without_variables_there_are_defaults_and_an_identity() -> None:
    made = Settings.from_environment({})
    assert made.model_copy(update={"identity": ""}) == Settings()
    assert made.identity


VALUES = {
    "namespace": ("team-a", "team-a"),
    "trainer_image": ("registry.example/trainer:1", "registry.example/trainer:1"),
    "scorer_image": ("registry.example/scorer:1", "registry.example/scorer:1"),
    "tracking_image": ("registry.example/tracking:1", "registry.example/tracking:1"),
    "image_pull_policy": ("Never", "Never"),
    "docker_hosts": ("docker.build:2376, *.example", "docker.build:2376, *.example"),
    "docker_without_tls": ("true", True),
    "workers": ("3", 3),
    "lease_name": ("other", "other"),
    "lease_namespace": ("elsewhere", "elsewhere"),
    "cluster_domain": ("cluster.example", "cluster.example"),
    "metrics_port": ("0", 0),
}


@pytest.mark.parametrize(("field", "given", "expected"), [(name, *pair) for name, pair in VALUES.items()])
def test_every_field_has_its_variable(field: str, given: str, expected: object) -> None:
    assert getattr(Settings.from_environment({PREFIX + field.upper(): given}), field) == expected


def test_no_field_is_forgotten_above() -> None:
    assert VALUES.keys() | {"identity"} == Settings.model_fields.keys()


def test_an_empty_variable_and_another_programs_count_as_absent() -> None:
    made = Settings.from_environment({"SMALT_WORKERS": "", "WORKERS": "3", "SMALT_UNHEARD_OF": "x"})
    assert made.workers == Settings().workers


def test_one_name_gives_every_process_its_own_identity() -> None:
    made = {Settings.from_environment({"SMALT_IDENTITY": "pod-1"}).identity for _ in range(20)}
    assert len(made) == 20 and all(each.startswith("pod-1_") for each in made)
    assert unique_identity("a") != unique_identity("a")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMALT_WORKERS", "0"),
        ("SMALT_WORKERS", "65"),
        ("SMALT_WORKERS", "many"),
        ("SMALT_METRICS_PORT", "65536"),
        ("SMALT_METRICS_PORT", "-1"),
        ("SMALT_IMAGE_PULL_POLICY", "Sometimes"),
        ("SMALT_DOCKER_WITHOUT_TLS", "perhaps"),
    ],
)
def test_the_process_ends_at_once_and_names_the_variable_and_its_value(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValidationError):
        Settings.from_environment({variable: value})
    monkeypatch.setenv(variable, value)
    assert main() == 2
    assert f"{variable} is '{value}': " in capsys.readouterr().err


def test_settings_do_not_change_and_each_has_its_sentence() -> None:
    with pytest.raises(ValidationError):
        Settings().workers = 3
    assert all(field.description for field in Settings.model_fields.values())
