"""What `setup` and probes ask before anything else."""

import pytest


def test_the_platform_is_healthy(http):
    status = http.get("/status").json()
    assert status["status"] == "healthy" and status["services"]["not_ready"] == []
    assert status["controllers"]["healthy"] is True and all(status["controllers"]["status"].values())
    assert {"workspace_cleanup", "models_controller"} <= status["controllers"]["status"].keys()


@pytest.mark.parametrize("path, told", [("/health/live", "live"), ("/health/ready", "ready")])
def test_health_is_told(http, path, told):
    assert http.get(path).json()["status"] == told


def test_the_version_is_told(http):
    assert http.get("/cluster-info").json().keys() >= {"platform_version", "revision"}


def test_no_login_is_needed(http):
    assert http.get("/apis/auth/discovery").json() == {"auth_enabled": False, "oidc": None}


@pytest.mark.current
def test_the_probes_of_setup_pass(stack):
    from nemo_platform.cli.commands import setup

    assert setup._check_platform_reachable(stack.url)
    assert setup._check_controller_health(stack.url) == (True, "")


def test_the_api_is_described(http):
    described = http.get("/openapi.json").json()
    assert described["openapi"].startswith("3.") and "/apis/entities/v2/workspaces" in described["paths"]
