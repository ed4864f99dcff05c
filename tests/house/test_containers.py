"""The container files say what is true: what they name exists."""

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from app.cli import main
from app.health import health_routes
from app.settings import Settings

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = {
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "RUN",
    "USER",
    "WORKDIR",
}
# What Compose puts in the place of `${NAME:?what to do}` and `${NAME:-default}`.
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<kind>:\?|:-)(?P<text>[^}]*)\}")
SAMPLE = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Line:
    instruction: str
    rest: str


def dockerfile() -> list[list[Line]]:
    """Return the instructions of each stage."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    stages: list[list[Line]] = []
    for line in filter(str.strip, joined.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            stages.append([])
        stages[-1].append(Line(instruction, rest.strip()))
    return stages


def of(stage: list[Line], instruction: str) -> list[str]:
    return [line.rest for line in stage if line.instruction == instruction]


def image_environment() -> dict[str, str]:
    _, last = dockerfile()
    return dict(pair.split("=", 1) for rest in of(last, "ENV") for pair in shlex.split(rest))


def health_command() -> list[str]:
    _, last = dockerfile()
    [check] = of(last, "HEALTHCHECK")
    command: list[str] = json.loads(check.partition(" CMD ")[2])
    return command


def copied() -> list[tuple[list[str], str]]:
    """Return sources and target of each copy from the build context."""
    first, _ = dockerfile()
    return [(words[:-1], words[-1]) for words in map(str.split, of(first, "COPY"))]


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return read


def ours() -> dict[str, dict[str, Any]]:
    return {
        name: service
        for name, service in compose()["services"].items()
        if service["image"].startswith("exchequer:")
    }


def service_environment(service: str, **values: str) -> dict[str, str]:
    """Return a service's variables as Compose would fill them in."""

    def fill(found: re.Match[str]) -> str:
        default = SAMPLE if found["kind"] == ":?" else found["text"]
        return values.get(found["name"], default)

    written = compose()["services"][service]["environment"]
    return {name: VARIABLE.sub(fill, value) for name, value in written.items()}


def variables() -> set[str]:
    return {
        str(field.validation_alias or f"EXCHEQUER_{name.upper()}")
        for name, field in Settings.model_fields.items()
    }


def test_the_dockerfile_knows_its_instructions() -> None:
    for stage in dockerfile():
        for line in stage:
            assert line.instruction in INSTRUCTIONS, line
            assert line.rest, line


def test_both_stages_are_the_same_python_and_the_one_that_is_tested() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        tested = tomllib.load(file)["tool"]["mypy"]["python_version"]
    first, last = dockerfile()
    [build], [run] = of(first, "FROM"), of(last, "FROM")
    assert build == f"{run} AS build"
    assert re.fullmatch(rf"python:{re.escape(tested)}-slim-\w+", run)


def test_what_the_dockerfile_copies_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split("\n")
    rules = [rule for rule in ignored if rule and not rule.startswith("#")]
    let_through = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    sources = {source for sources, _ in copied() for source in sources}
    assert rules[0] == "*"
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert sources == let_through


def test_what_runs_comes_whole_from_the_build_and_to_the_same_place() -> None:
    first, last = dockerfile()
    [folder] = of(first, "WORKDIR")
    assert of(last, "WORKDIR") == [folder]
    assert of(last, "COPY") == [
        "--from=build /opt/venv /opt/venv",
        f"--from=build {folder} {folder}",
    ]


def test_everything_is_installed_by_hash() -> None:
    first, last = dockerfile()
    installs = [run for run in of(first, "RUN") if re.search(r"\bpip (install|sync)\b", run)]
    assert [
        "--require-hashes" in run or "--no-deps --build-constraints requirements-dev.txt" in run
        for run in installs
    ] == [True, True, True]
    assert of(last, "RUN") == []
    # The constraint that gives the build back-end its hash.
    text = (ROOT / "requirements-dev.txt").read_text("utf-8")
    assert re.search(r"^setuptools==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)


def test_the_image_runs_a_real_command_as_nobody_in_particular() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    _, last = dockerfile()
    [entrypoint], [command], [user] = (of(last, name) for name in ("ENTRYPOINT", "CMD", "USER"))
    [program] = json.loads(entrypoint)
    [subcommand] = json.loads(command)
    assert program in scripts
    assert subcommand in main.commands
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_the_images_variables_and_port_are_settings() -> None:
    _, last = dockerfile()
    [port] = of(last, "EXPOSE")
    environment = image_environment()
    others = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    assert environment.keys() - others <= variables()
    assert environment["PORT"] == port == str(Settings.model_fields["port"].default)


def test_the_images_health_check_asks_a_route() -> None:
    program, option, code = health_command()
    nothing = cast("Any", None)
    routes = {route.path for route in health_routes(nothing, nothing, nothing, nothing).routes}  # type: ignore[attr-defined]
    assert (program, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert set(re.findall(r"'(/[a-z/]+)'", code)) == {"/health/live"}
    assert "/health/live" in routes


@pytest.mark.parametrize("service", ["migrate", "api", "worker"])
def test_services_run_real_commands(service: str) -> None:
    words = ours()[service].get("entrypoint", ["exchequer"]) + ours()[service]["command"]
    if words[:2] == ["/bin/sh", "-c"]:
        [line] = words[2:]
        calls = [shlex.split(call) for call in line.split("&&")]
    else:
        calls = [words]
    for program, command, *options in calls:
        assert program == "exchequer"
        known = {name for parameter in main.commands[command].params for name in parameter.opts}
        assert set(options) <= known


@pytest.mark.parametrize("service", ["migrate", "api", "worker"])
def test_services_are_given_settings_that_are_accepted(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = service_environment(service)
    assert environment.keys() <= variables()
    for name, value in (image_environment() | environment).items():
        if name in variables():
            monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.environment == "production"
    assert settings.bootstrap_admin_key is None
    assert settings.allowed_origins == []
    assert settings.database_url == f"postgresql://exchequer:{SAMPLE}@postgres:5432/exchequer"


def test_services_are_what_they_are_meant_to_be() -> None:
    services = compose()["services"]
    assert services.keys() == {"postgres", "valkey", "migrate", "api", "worker"}
    assert services["postgres"]["image"] == "postgres:18"
    assert services["valkey"]["image"] == "valkey/valkey:9"
    assert [service["image"] for service in ours().values()] == ["exchequer:0.1.0"] * 3
    assert "latest" not in (ROOT / "docker-compose.yml").read_text("utf-8")


def test_only_the_api_is_published_and_only_to_this_machine() -> None:
    [port] = of(dockerfile()[1], "EXPOSE")
    published = {
        name: service["ports"]
        for name, service in compose()["services"].items()
        if "ports" in service
    }
    assert published == {"api": [f"127.0.0.1:{port}:{port}"]}


def test_what_a_service_waits_for_exists_and_can_come() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            check = services[other].get("healthcheck", {})
            if wait["condition"] == "service_healthy":
                assert check["test"], name
            elif wait["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", name
            else:
                assert wait["condition"] == "service_started", name


def test_servers_have_volumes_and_health_checks() -> None:
    read = compose()
    mounts = {name: read["services"][name]["volumes"] for name in ("postgres", "valkey")}
    # Below another folder the image of Postgres 18 finds no data, and says so.
    assert mounts == {"postgres": ["postgres:/var/lib/postgresql"], "valkey": ["valkey:/data"]}
    assert read["volumes"].keys() == {"postgres", "valkey"}
    for name in mounts:
        assert read["services"][name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_services_restart_and_are_given_time_to_stop() -> None:
    for name, service in compose()["services"].items():
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
        assert re.fullmatch(r"\d+s", service["stop_grace_period"])
    # Requests under way, then the pool's own time-out.
    limits = ("drain_seconds", "database_command_seconds")
    patience = sum(Settings.model_fields[limit].default for limit in limits)
    for service in ours().values():
        assert int(service["stop_grace_period"].removesuffix("s")) > patience


def test_secrets_come_from_outside_and_say_what_to_set() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    found = list(VARIABLE.finditer(text))
    assert {match["name"] for match in found if match["kind"] == ":?"} == {
        "EXCHEQUER_DATABASE_PASSWORD",
        "EXCHEQUER_REDIS_PASSWORD",
        "EXCHEQUER_SECRET_KEY",
        "POSTGRES_PASSWORD",
    }
    for match in found:
        assert match["kind"] == ":-" or match["text"].startswith("set it to "), match
        assert match["name"] in operations, match
    assert len(found) == text.count("${")


def test_only_the_migration_knows_the_superuser() -> None:
    holders = {
        name
        for name, service in compose()["services"].items()
        if "POSTGRES_PASSWORD" in json.dumps(service)
    }
    assert holders == {"postgres", "migrate"}
