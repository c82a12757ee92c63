"""The `nmp` command on deployments, and its waits."""

import json

import pytest
from deployments import PARTS

pytestmark = pytest.mark.current

NO_RUNTIME = "container runtime"


def plain(text: str) -> str:
    """Without the line breaks of a narrow terminal."""
    return " ".join(text.split())


@pytest.fixture
def deployment(nmp, name):
    nmp("inference", "deployment-configs", "create", name, "--input-data", json.dumps(PARTS))
    made = nmp("inference", "deployments", "create", name, "--config", name, "--config-version", "1").json
    assert (made["config"], made["config_version"], made["entity_version"]) == (name, 1, 1)
    return name


@pytest.fixture
def ready(nmp, stack, deployment):
    """One whose container is the simulated server, a controller says."""
    nmp("wait", "inference", "deployment", deployment, "--status", "ERROR", "--poll-interval", "1", "--timeout", "20")
    nmp(
        "inference", "providers", "create", deployment, "--host-url", stack.sim.url, "--api-key-secret-name", "sim-key",
        "--model-deployment-id", f"default/{deployment}",
    )  # fmt: skip
    for status, message in (("PENDING", "pulling image"), ("READY", "running and ready")):
        moved = nmp(
            "inference", "deployments", "update-status", deployment, "--status", status, "--status-message", message,
            "--model-provider-id", f"default/{deployment}",
        ).json  # fmt: skip
        assert moved["status"] == status
    return deployment


def test_a_wait_for_what_will_not_come_ends_and_says_why(nmp, deployment):
    waited = nmp("wait", "inference", "deployment", deployment, "--timeout", "20", "--poll-interval", "1")
    assert waited.code == 1 and "Deployment entered ERROR state" in waited.out and NO_RUNTIME in plain(waited.out)


def test_create_with_wait_ends_and_says_why(nmp, name):
    nmp("inference", "deployment-configs", "create", name, "--input-data", json.dumps(PARTS))
    made = nmp("inference", "deployments", "create", name, "--config", name, "--wait", "--timeout", "20", "--poll-interval", "1")
    assert made.code != 0 and NO_RUNTIME in plain(made.out + made.err)


def test_a_wait_for_ready_checks_the_gateway_and_ends(nmp, ready):
    waited = nmp("wait", "inference", "deployment", ready, "--status", "READY", "--timeout", "20", "--poll-interval", "1")
    assert waited.code == 0, waited
    assert "Status: PENDING - pulling image" in waited.out and "✓ Deployment reached READY status!" in waited.out
    assert "Gateway is ready!" in waited.out


def test_a_deployment_is_shown_and_listed(nmp, ready):
    assert nmp("inference", "deployments", "get", ready).json["model_provider_id"] == f"default/{ready}"
    listed = nmp("inference", "deployments", "list", "--filter.status", "READY", "--filter.name", ready).json
    assert [one["name"] for one in listed["data"]] == [ready]
    assert nmp("inference", "deployments", "list-models", ready).json["name"] == ready


def test_an_update_makes_the_next_version(nmp, deployment):
    nmp("inference", "deployment-configs", "update", deployment, "--input-data", json.dumps(PARTS))
    second = nmp("inference", "deployments", "update", deployment, "--config", deployment, "--config-version", "2").json
    assert (second["entity_version"], second["config_version"]) == (2, 2)
    listed = nmp("inference", "deployments", "versions", "list", deployment).json
    assert [one["entity_version"] for one in (listed["data"] if isinstance(listed, dict) else listed)] == [2, 1]
    assert nmp("inference", "deployments", "versions", "get", "1", "--deployment", deployment).json["config_version"] == 1
    every = nmp("inference", "deployments", "list", "--all-versions", "--filter.name", deployment).json
    assert len(every["data"]) == 2
    assert nmp("inference", "deployments", "versions", "delete", "1", "--deployment", deployment).code == 0


def test_a_wait_for_deleted_ends(nmp, deployment):
    nmp("wait", "inference", "deployment", deployment, "-s", "ERROR", "--poll-interval", "1", "-t", "20")
    assert nmp("inference", "deployments", "delete", deployment).code == 0
    waited = nmp("wait", "inference", "deployment", deployment, "-s", "DELETED", "-t", "50", "--poll-interval", "1")
    assert waited.code == 0 and "✓ Deployment DELETED!" in waited.out
