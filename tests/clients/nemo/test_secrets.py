"""Secrets: kept, given to nobody but who asks for access, rotated."""

import nemo_platform
import pytest


def test_a_secret_is_made_changed_and_removed(sdk, name):
    made = sdk.secrets.create(name=name, value="first", description="a key")
    assert (made.name, made.workspace, made.description) == (name, "default", "a key")
    assert sdk.secrets.retrieve(name) == made
    changed = sdk.secrets.update(name, value="second")
    assert (changed.description, changed.created_at) == ("a key", made.created_at)
    assert sdk.secrets.update(name, description="another").description == "another"
    assert sdk.secrets.access(name).value == "second"
    sdk.secrets.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.secrets.access(name)


def test_only_access_shows_the_value(sdk, http, name):
    word = f"value-of-{name}"
    sdk.secrets.create(name=name, value=word)
    accessed = sdk.secrets.access(name)
    assert (accessed.name, accessed.workspace, accessed.value) == (name, "default", word)
    for path in (name, ""):
        assert word not in http.get(f"/apis/secrets/v2/workspaces/default/secrets/{path}".rstrip("/")).text


def test_an_empty_update_changes_nothing(sdk, name):
    made = sdk.secrets.create(name=name, value="kept")
    assert sdk.secrets.update(name).description == made.description
    assert sdk.secrets.access(name).value == "kept"


def test_lists_come_newest_first_ten_to_a_page(sdk, workspace):
    names = [f"secret-{number}" for number in range(12)]
    for one in names:
        sdk.secrets.create(name=one, value="x", workspace=workspace)
    page = sdk.secrets.list(workspace=workspace)
    assert [one.name for one in page.data] == names[:1:-1]
    assert page.pagination.total_results == 12
    assert [one.name for one in page] == names[::-1]


def test_values_survive_a_rotation_of_the_keys(sdk, name):
    sdk.secrets.create(name=name, value="kept")
    assert sdk.secrets.admin.rotate_encryption_keys().success
    assert sdk.secrets.access(name).value == "kept"


def test_values_keep_every_byte(sdk, name):
    value = ' \n"quotes"\\ ünï\u0000\U0001f511\t'
    sdk.secrets.create(name=name, value=value)
    assert sdk.secrets.access(name).value == value
