"""Lists: four spellings of a filter, sorting, and pages over more objects than one holds."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

MANY = 1_050


@pytest.fixture(scope="module")
def many(sdk):
    """A workspace with more models than a page holds, and the models' names as they were made."""
    sdk.workspaces.create(name="many")
    names = [f"m-{number:04}" for number in range(MANY)]

    def make(name):
        sdk.models.create(name=name, workspace="many", description=f"of {name[-1]}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, names))
    return names


def test_all_pages_together_hold_everything_once(sdk, many):
    assert [one.name for one in sdk.models.list(workspace="many", sort="name", page_size=500)] == many
    assert sorted(one.name for one in sdk.models.list(workspace="many")) == many
    (whole, rest) = [sdk.models.list(workspace="many", sort="name", page_size=1000, page=page) for page in (1, 2)]
    assert (len(whole.data), len(rest.data)) == (1000, MANY - 1000)


def test_a_page_says_where_it_stands(sdk, many):
    page = sdk.models.list(workspace="many", page=3, page_size=400, sort="-name")
    told = page.pagination
    assert (told.page, told.page_size, told.current_page_size) == (3, 400, MANY - 800)
    assert (told.total_pages, told.total_results) == (3, MANY)
    assert [one.name for one in page.data] == many[::-1][800:]
    beyond = sdk.models.list(workspace="many", page=9, page_size=400)
    assert (beyond.data, beyond.pagination.total_results) == ([], MANY)


@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at", "updated_at", "-updated_at"])
def test_a_list_is_sorted_as_asked(sdk, many, sort):
    page = sdk.models.list(workspace="many", sort=sort, page_size=1000)
    values = [getattr(one, sort.removeprefix("-")) for one in page.data]
    assert values == sorted(values, reverse=sort.startswith("-")) and page.sort == sort


@pytest.mark.parametrize(
    "given, found",
    [
        ({"name": "m-0007"}, ["m-0007"]),
        ({"name": {"$eq": "m-0007"}}, ["m-0007"]),
        ({"name": {"$like": "m-100"}}, [f"m-100{digit}" for digit in range(10)]),
        ({"name": {"$in": ["m-0001", "m-0002", "nobody"]}}, ["m-0001", "m-0002"]),
        ({"name": {"$like": "m-100"}, "description": "of 7"}, ["m-1007"]),
        ({"project": "nobody"}, []),
    ],
    ids=str,
)
def test_the_sdks_filters_find(sdk, many, given, found):
    assert [one.name for one in sdk.models.list(workspace="many", filter=given, sort="name")] == found


SPELLINGS = [
    {"filter[name]": "m-0007"},
    {"filter[name][$eq]": "m-0007"},
    {"filter": '{"name": "m-0007"}'},
    {"filter": 'name:"m-0007"'},
    {"filter[name][$like]": "0007"},
    {"filter": 'name~"0007"'},
    {"filter": '{"$and": [{"name": {"$like": "007"}}, {"name": {"$gt": "m-0006"}}, {"name": {"$lte": "m-0007"}}]}'},
    {"filter": 'name>"m-0006" AND name<"m-0008"'},
    {"filter": 'name IN ("m-0007") OR name:"nobody"'},
    {"filter": '{"name": {"$in": ["m-0007"]}}'},
    {"filter": 'name~"m-000" AND -name:"m-0000" AND name NOT IN ("m-0001","m-0002") AND name>="m-0007" AND name<="m-0007"'},
    {"filter": '{"$or": [{"name": "m-0007"}, {"name": "nobody"}], "$not": {"name": "m-0008"}}'},
]


@pytest.mark.parametrize("query", SPELLINGS, ids=lambda query: "&".join(f"{key}={value}" for key, value in query.items()))
def test_every_spelling_finds_the_same(http, many, query):
    reply = http.get("/apis/models/v2/workspaces/many/models", params=query)
    assert [one["name"] for one in reply.json()["data"]] == ["m-0007"], reply.text


def test_times_are_filtered(sdk, many):
    half = sdk.models.retrieve("m-0500", workspace="many").created_at.isoformat()
    before, after = (
        sdk.models.list(workspace="many", filter={"created_at": {operator: half}}).pagination.total_results
        for operator in ("lte", "gte")
    )
    assert before + after == MANY + 1


def test_the_filter_is_told_back_in_one_form(http, many):
    reply = http.get("/apis/models/v2/workspaces/many/models", params={"filter": 'name:"m-0007"'}).json()
    assert reply["filter"] == {"name": {"$eq": "m-0007"}}


def test_an_unknown_field_is_refused_by_name(http, many):
    reply = http.get("/apis/models/v2/workspaces/many/models", params={"filter[zzz]": "1"})
    assert reply.status_code == 400
    assert reply.json()["detail"].startswith("Unknown filter field 'zzz'. Valid fields: [")


def test_all_workspaces_are_searched_at_once(sdk, many):
    sdk.models.create(name="m-0007", workspace="default", exist_ok=True)
    found = sdk.models.list(workspace="-", filter={"name": "m-0007"})
    assert {one.workspace for one in found} == {"default", "many"}
    only = sdk.models.list(workspace="default", filter={"workspace": "many", "name": "m-0007"})
    assert {one.workspace for one in only} == {"many"}


DEFAULTS = [
    # what, page size, most, default sort
    ("models/v2/workspaces/{ws}/models", 100, 1000, "created_at"),
    ("models/v2/workspaces/{ws}/providers", 100, 1000, "created_at"),
    ("models/v2/workspaces/{ws}/adapters", 100, 1000, "created_at"),
    ("models/v2/workspaces/{ws}/deployments", 100, 1000, "created_at"),
    ("models/v2/workspaces/{ws}/deployment-configs", 100, 1000, "created_at"),
    ("models/v2/workspaces/{ws}/prompts", 100, 1000, "created_at"),
    ("entities/v2/workspaces", 100, 1000, "-created_at"),
    ("entities/v2/workspaces/{ws}/entities/any", 100, 1000, "-created_at"),
    ("files/v2/workspaces/{ws}/filesets", 10, 100, "-created_at"),
    ("inference-gateway/v2/workspaces/{ws}/virtual-models", 20, 200, "-created_at"),
    ("secrets/v2/workspaces/{ws}/secrets", 10, None, None),
]


@pytest.mark.parametrize("path, size, most, sort", DEFAULTS, ids=[one[0].rsplit("/", 1)[1] for one in DEFAULTS])
def test_each_list_has_its_size_its_limit_and_its_order(http, workspace, path, size, most, sort):
    url = f"/apis/{path.format(ws=workspace)}"
    told = http.get(url).json()
    assert told["pagination"]["page_size"] == size and told["pagination"]["page"] == 1
    assert sort is None or told["sort"] == sort
    for query in ({"page": 0}, {"page": "x"}, {"page_size": 0}, *([{"page_size": most + 1}] if most else [])):
        refused = http.get(url, params=query)
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", next(iter(query))])
    assert not most or http.get(url, params={"page_size": most}).status_code == 200


@pytest.mark.parametrize("empty_pages, path", [(0, "models"), (0, "providers"), (1, "deployments"), (1, "deployment-configs")])
def test_an_empty_list_has_its_number_of_pages(http, workspace, empty_pages, path):
    told = http.get(f"/apis/models/v2/workspaces/{workspace}/{path}", params={"filter[name]": "nobody"}).json()
    assert (told["data"], told["pagination"]["total_pages"]) == ([], empty_pages)


def test_providers_are_sorted_by_status_too(sdk, workspace):
    for status in ("READY", "ERROR", "PENDING"):
        sdk.inference.providers.create(name=status.lower(), host_url="http://127.0.0.1:1", status=status, workspace=workspace)
    page = sdk.inference.providers.list(workspace=workspace, sort="-status")
    values = [one.status for one in page.data]
    assert values == sorted(values, reverse=True)
    found = sdk.inference.providers.list(workspace=workspace, filter={"host_url": "http://127.0.0.1:1"})
    assert found.pagination.total_results == 3


def test_nulls_are_left_out_of_lists_and_kept_in_objects(http, workspace, sdk):
    sdk.models.create(name="bare", workspace=workspace)
    base = f"/apis/models/v2/workspaces/{workspace}/models"
    listed = http.get(base, params={"filter": json.dumps({"name": "bare"})}).json()["data"][0]
    assert None not in listed.values() and "description" not in listed
    assert http.get(f"{base}/bare").json()["description"] is None
    assert "filter" not in http.get(base).json()
