"""The generic store that plugins keep their objects in."""

import nemo_platform
import pytest

KIND = "recipe"


def test_an_entity_is_made_changed_and_removed(sdk, workspace, name):
    made = sdk.entities.create(KIND, data={"steps": [1, 2], "note": None}, name=name, workspace=workspace)
    assert (made.name, made.workspace, made.entity_type, made.data) == (name, workspace, KIND, {"steps": [1, 2], "note": None})
    assert sdk.entities.get_entity_by_name(name, entity_type=KIND, workspace=workspace) == made
    assert sdk.entities.get_entity_by_id(made.id) == made
    changed = sdk.entities.update_entity_by_name(name, entity_type=KIND, data={"steps": []}, workspace=workspace)
    assert (changed.id, changed.data) == (made.id, {"steps": []}) and changed.db_version > made.db_version
    sdk.entities.delete_entity_by_name(name, entity_type=KIND, workspace=workspace)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.entities.get_entity_by_id(made.id)


def test_an_update_of_an_older_version_is_refused(sdk, workspace, name):
    made = sdk.entities.create(KIND, data={}, name=name, workspace=workspace)
    sdk.entities.update_entity_by_name(
        name, entity_type=KIND, data={"v": 2}, expected_db_version=made.db_version, workspace=workspace
    )
    with pytest.raises(nemo_platform.ConflictError):
        sdk.entities.update_entity_by_name(
            name, entity_type=KIND, data={"v": 3}, expected_db_version=made.db_version, workspace=workspace
        )
    assert sdk.entities.get_entity_by_name(name, entity_type=KIND, workspace=workspace).data == {"v": 2}


def test_an_entity_gets_a_new_name(sdk, workspace, name):
    made = sdk.entities.create(KIND, data={}, name=name, workspace=workspace)
    sdk.entities.update_entity_by_name(name, entity_type=KIND, data={}, new_name=f"{name}-new", workspace=workspace)
    assert sdk.entities.get_entity_by_name(f"{name}-new", entity_type=KIND, workspace=workspace).id == made.id
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.entities.get_entity_by_name(name, entity_type=KIND, workspace=workspace)


def test_entities_of_a_kind_are_listed_newest_first(sdk, workspace):
    for name in ("one", "two"):
        sdk.entities.create("card", data={"suit": name}, name=name, workspace=workspace)
    assert [one.name for one in sdk.entities.list("card", workspace=workspace).data] == ["two", "one"]
    found = sdk.entities.list("card", filter='name:"one"', sort="name", page_size=1, workspace=workspace)
    assert [one.data for one in found.data] == [{"suit": "one"}]
