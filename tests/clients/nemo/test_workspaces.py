"""Workspaces, and the projects and members inside them."""

import nemo_platform
import pytest
from stack import eventually


def test_the_first_start_makes_two(sdk):
    assert {"default", "system"} <= {one.name for one in sdk.workspaces.list()}


def test_a_workspace_is_made_changed_and_removed(sdk, name):
    made = sdk.workspaces.create(name=name, description="first")
    assert (made.name, made.description) == (name, "first")
    assert made.id.startswith("workspace-")
    assert sdk.workspaces.retrieve(name) == made
    changed = sdk.workspaces.update(name, description="second")
    assert (changed.id, changed.description, changed.created_at) == (made.id, "second", made.created_at)
    assert changed.updated_at > made.updated_at
    sdk.workspaces.delete(name)
    eventually(f"{name} to go", lambda: name not in {one.name for one in sdk.workspaces.list()})
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.workspaces.retrieve(name)


def test_one_that_exists_is_given_back_when_that_is_ok(sdk, name):
    made = sdk.workspaces.create(name=name, description="kept", exist_ok=True)
    assert sdk.workspaces.create(name=name, description="not taken", exist_ok=True) == made


def test_what_it_holds_goes_with_it(sdk, name):
    sdk.workspaces.create(name=name)
    sdk.models.create(name="held", workspace=name)
    sdk.secrets.create(name="held", value="x", workspace=name)
    sdk.workspaces.delete(name)
    eventually(f"{name} to go", lambda: name not in {one.name for one in sdk.workspaces.list()})
    sdk.workspaces.create(name=name)
    assert list(sdk.models.list(workspace=name)) == []
    assert list(sdk.secrets.list(workspace=name)) == []


def test_a_project_is_made_changed_and_removed(sdk, workspace, name):
    made = sdk.projects.create(name=name, description="first", workspace=workspace)
    assert (made.name, made.workspace, made.description) == (name, workspace, "first")
    assert sdk.projects.retrieve(name, workspace=workspace) == made
    assert sdk.projects.create(name=name, workspace=workspace, exist_ok=True) == made
    changed = sdk.projects.update(name, description="second", workspace=workspace)
    assert (changed.id, changed.description) == (made.id, "second")
    assert [one.name for one in sdk.projects.list(workspace=workspace)] == [name]
    sdk.projects.delete(name, workspace=workspace)
    assert list(sdk.projects.list(workspace=workspace)) == []


@pytest.mark.current
def test_without_authentication_nobody_is_a_member(sdk, workspace):
    """Everyone may do everything, and a role that means nothing is not taken as if it did."""
    assert sdk.workspaces.members.list(workspace=workspace).data == []
    for change in (
        lambda: sdk.workspaces.members.create(principal="ada@example.com", roles=["Viewer"], workspace=workspace),
        lambda: sdk.workspaces.members.update("ada@example.com", roles=["Editor"], workspace=workspace),
        lambda: sdk.workspaces.members.delete("ada@example.com", workspace=workspace),
    ):
        with pytest.raises(nemo_platform.PermissionDeniedError) as caught:
            change()
        assert "Authentication is off" in caught.value.body["detail"]
