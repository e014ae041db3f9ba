"""Environment variables of the commands: empty, misspelt and Kubernetes' own."""

import pytest
import typer

from isobatch.cli import app
from isobatch.cli.environment import check_environment
from isobatch.errors import OptionError

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
VARIABLES = {
    (name, option.envvar)
    for name, command in COMMANDS.items()
    for option in command.params
    if option.envvar
}
ALL = {variable for _, variable in VARIABLES}


def checked(*own: str, **environment: str) -> None:
    check_environment(set(own), ALL, environment)


@pytest.mark.parametrize(("command", "variable"), sorted(VARIABLES))
@pytest.mark.parametrize("value", ["", " \t"])
def test_an_empty_variable_is_refused_and_following_the_message_works(
    monkeypatch: pytest.MonkeyPatch, command: str, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    parent = typer.main.get_command(app).make_context("isobatch", [command, "--help"])
    with pytest.raises(OptionError, match=rf"^{variable} is empty\. .* unset {variable}$"):
        COMMANDS[command].make_context(command, [], parent)
    monkeypatch.delenv(variable)
    checked(variable)


def test_a_variable_of_another_command_may_be_empty() -> None:
    checked("ISOBATCH_MODEL", ISOBATCH_API_KEY="")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("ISOBATCH_APIKEY", "ISOBATCH_API_KEY"),
        ("ISOBATCH_API_KEYS", "ISOBATCH_API_KEY"),
        ("ISOBATCH_PRECISSION", "ISOBATCH_PRECISION"),
        ("ISOBATCH_CORS_ALLOW_ORIGINS", "ISOBATCH_CORS_ALLOW_ORIGIN"),
    ],
)
def test_a_misspelt_variable_is_refused_and_the_suggestion_exists(wrong: str, right: str) -> None:
    with pytest.raises(OptionError, match=f"Did you mean {right}?"):
        checked("ISOBATCH_API_KEY", **{wrong: "x"})
    assert right in ALL


@pytest.mark.parametrize(
    "name", ["ISOBATCH_DATA", "ISOBATCH_LESSON_MODEL", "ISOBATCH_TEST_RUN", "OTHER_APIKEY"]
)
def test_other_variables_are_accepted(name: str) -> None:
    checked("ISOBATCH_API_KEY", **{name: "x"})


def test_the_variables_of_a_kubernetes_service_are_explained_or_ignored() -> None:
    others = {"ISOBATCH_SERVICE_HOST": "10.0.0.1", "ISOBATCH_PORT_80_TCP_PORT": "80"}
    checked("ISOBATCH_PORT", ISOBATCH_PORT="8080", **others)
    with pytest.raises(OptionError, match="enableServiceLinks: false"):
        checked("ISOBATCH_PORT", ISOBATCH_PORT="tcp://10.0.0.1:80", **others)
