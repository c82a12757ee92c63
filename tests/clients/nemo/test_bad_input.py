"""What is wrong with a request is said as the platform says it, and nothing of it is kept.

Each row is a request that must be refused. Validation errors name the field in a list; other errors are one text.
"""

import json
from dataclasses import dataclass, field

import pytest
from deployments import PARTS, SEED

pytestmark = pytest.mark.current

WS = "/apis/{service}/v2/workspaces/default/"
WORKSPACES = "/apis/entities/v2/workspaces"
SECRETS = WS.format(service="secrets") + "secrets"
FILESETS = WS.format(service="files") + "filesets"
MODELS = WS.format(service="models") + "models"
ADAPTERS = WS.format(service="models") + "adapters"
PROVIDERS = WS.format(service="models") + "providers"
CONFIGS = WS.format(service="models") + "deployment-configs"
DEPLOYMENTS = WS.format(service="models") + "deployments"
PROMPTS = WS.format(service="models") + "prompts"
VIRTUAL = WS.format(service="inference-gateway") + "virtual-models"
PROJECTS = WS.format(service="entities") + "projects"
ENTITIES = WS.format(service="entities") + "entities/recipe"


@dataclass(frozen=True)
class Kind:
    """A kind of object: where it is made, and the least that makes one."""

    url: str
    body: dict = field(default_factory=dict)

    @property
    def id(self):
        return self.url.rsplit("/", 1)[1]


KINDS = [
    Kind(WORKSPACES),
    Kind(PROJECTS),
    Kind(ENTITIES, {"data": {}}),
    Kind(SECRETS, {"value": "x"}),
    Kind(FILESETS),
    Kind(MODELS),
    Kind(PROVIDERS, {"host_url": "http://127.0.0.1:1"}),
    Kind(CONFIGS, PARTS),
    Kind(PROMPTS),
    Kind(VIRTUAL),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)


def total(http, url):
    return http.get(url, params={"page_size": 1}).json()["pagination"]["total_results"]


def refused(reply, code, *where):
    """That it was refused so, and where it says the fault is."""
    assert reply.status_code == code, (reply.status_code, reply.text[:500])
    detail = reply.json()["detail"]
    if where:
        assert isinstance(detail, list), detail
        assert any(one["loc"][: len(where)] == list(where) for one in detail), detail
        assert all(one["type"] and one["msg"] for one in detail)
    else:
        assert isinstance(detail, str) and detail


NAMES = [
    "", "a", "A", "Upper", "1digit", "-dash", "dash-", "two--dashes", "with space", "sl/ash", "dot..dot/", "ünï", "nul\u0000",
    "new\nline", "x" * 64, "x" * 256, "☃", "%2e%2e", "a'b", 'a"b', "a;b", "a&b", "a?b", "a#b", "..", ".", "~a", None, 1, True,
    [], {}, ["a"],
]  # fmt: skip


@every_kind
def test_odd_names_are_refused_and_nothing_is_made(http, kind):
    before = total(http, kind.url)
    for name in NAMES:
        if kind.url == ENTITIES and name is None:
            continue  # The server makes one up.
        reply = http.post(kind.url, json={**kind.body, "name": name})
        refused(reply, 422, "body", "name")
    assert total(http, kind.url) == before


@every_kind
def test_good_names_are_taken(http, kind, name):
    for good in ("a9", "a" + "b" * 50 + name, f"{name}.x", f"{name}_x"):
        reply = http.post(kind.url, json={**kind.body, "name": good})
        assert reply.status_code in (200, 201, 409), (good, reply.text)


@every_kind
def test_a_second_of_the_same_name_conflicts_and_changes_nothing(http, kind, name):
    assert http.post(kind.url, json={**kind.body, "name": name}).status_code in (200, 201)
    kept = http.get(f"{kind.url}/{name}").json()
    reply = http.post(kind.url, json={**kind.body, "name": name, "description": "second"})
    refused(reply, 409)
    assert "already exists" in reply.json()["detail"] and reply.headers["x-should-retry"] == "false"
    now = http.get(f"{kind.url}/{name}").json()
    # Discovery may have looked at a provider meanwhile.
    volatile = {"updated_at", "status", "status_message"}
    assert {key: now[key] for key in now.keys() - volatile} == {key: kept[key] for key in kept.keys() - volatile}


@every_kind
def test_an_unknown_workspace_is_named(http, kind):
    if kind.url == WORKSPACES:
        return
    url = kind.url.replace("/default/", "/nows/")
    reply = http.post(url, json={**kind.body, "name": "any-thing"})
    assert reply.status_code in (404, 422) and "nows" in str(reply.json()["detail"]), reply.text
    refused(http.get(f"{url}/any-thing"), 404)


@every_kind
def test_what_is_not_there_is_not_found(http, kind):
    for method in ("GET", "DELETE"):
        refused(http.request(method, f"{kind.url}/nobody-here"), 404)


@every_kind
@pytest.mark.parametrize(
    "sent", [b"", b"{", b"nope", b'{"name": "x', b'{"name": }', b"\xff\xfe", b'{"name":"a\xff"}', b"{'name': 'x'}"], ids=repr
)
def test_what_is_not_json_is_refused(http, kind, sent):
    reply = http.post(kind.url, content=sent, headers={"content-type": "application/json"})
    refused(reply, 422, "body")
    if sent:
        assert reply.json()["detail"][0]["type"] == "json_invalid", reply.text


@every_kind
@pytest.mark.parametrize("sent", [[], "text", 1, None, True, [{}]], ids=repr)
def test_json_that_is_no_object_is_refused(http, kind, sent):
    refused(http.post(kind.url, content=json.dumps(sent), headers={"content-type": "application/json"}), 422, "body")


@every_kind
@pytest.mark.parametrize("type", ["text/plain", "application/octet-stream", None])
def test_a_body_that_does_not_say_it_is_json_is_refused(http, kind, type, name):
    body = json.dumps({**kind.body, "name": name}).encode()
    reply = http.post(kind.url, content=body, headers={"content-type": type} if type else {})
    refused(reply, 422, "body")
    assert reply.json()["detail"][0]["type"] == "model_attributes_type"


@every_kind
def test_ten_mebibytes_do_no_harm(http, kind, name):
    for body in ({**kind.body, "name": "x" * (10 << 20)}, {**kind.body, "name": name, "description": "x" * (10 << 20)}):
        reply = http.post(kind.url, json=body)
        # A kind without a description leaves the field out.
        assert reply.status_code in (413, 422) or (reply.status_code < 300 and "x" * 2000 not in reply.text), reply.text[:300]
        assert http.get(kind.url, params={"page_size": 1}).status_code == 200


def test_depth_does_no_harm(http, name):
    deep = b"[" * 100_000
    sent = b'{"name":"deep","custom_fields":{"a":' + deep
    refused(http.post(MODELS, content=sent, headers={"content-type": "application/json"}), 422, "body")


LONG, LONGER, MANY = "x" * 256, "x" * 1001, "x" * 2049
FIELDS = [
    # kind, field, values out of range or of the wrong type
    (WORKSPACES, "description", [1, [], {}, LONGER]),
    (PROJECTS, "description", [1, [], LONGER]),
    (SECRETS, "value", ["", None, 1, []]),
    (SECRETS, "description", [1, []]),
    (FILESETS, "description", [1, LONG]),
    (FILESETS, "purpose", ["weights", 1, ""]),
    (FILESETS, "storage", ["local", 1, {}, {"type": "tape"}, {"type": "huggingface"}, {"type": "s3"}, {"type": "ngc"}]),
    (FILESETS, "custom_fields", [1, "x", []]),
    (FILESETS, "metadata", [1, "x", []]),
    (FILESETS, "cache", ["maybe", {}]),
    (MODELS, "description", [1, LONGER]),
    (MODELS, "project", ["", "a b", LONG, 1]),
    (MODELS, "spec", [1, "x", [], {}, {"family": "llama"}]),
    (MODELS, "finetuning_type", ["magic", 1, ""]),
    (MODELS, "backend_format", ["SMOKE_SIGNALS", 1]),
    (MODELS, "api_endpoint", [1, "x", {"url": ""}, {"model_id": 1}]),
    (MODELS, "custom_fields", [1, []]),
    (MODELS, "model_providers", [1, "x", [1]]),
    (MODELS, "trust_remote_code", ["maybe", 2, {}]),
    (MODELS, "prompt", [1, "x", {"inference_params": {"temperature": 3}}]),
    (PROVIDERS, "host_url", [None, 1, [], "http://" + MANY]),
    (PROVIDERS, "description", [1, LONGER]),
    (PROVIDERS, "project", ["a b", LONG]),
    (PROVIDERS, "api_key_secret_name", [1, LONG]),
    (PROVIDERS, "auth_header_format", [1, "x" * 1025]),
    (PROVIDERS, "enabled_models", [1, "x", [1], {}]),
    (PROVIDERS, "default_extra_body", [1, "x", []]),
    (PROVIDERS, "required_extra_body", [1, "x", []]),
    (PROVIDERS, "default_extra_headers", [1, [], {"a": 1}]),
    (PROVIDERS, "required_extra_headers", [1, [], {"a": []}]),
    (PROVIDERS, "status", ["FINE", 1, ""]),
    (PROVIDERS, "status_message", [1, LONGER]),
    (PROVIDERS, "model_deployment_id", [1, LONG]),
    (CONFIGS, "engine", ["steam", 1, None]),
    (CONFIGS, "model_spec", [1, "x", None, [], {"model_type": "big"}, {"model_name": LONG}, {"lora_enabled": "maybe"}]),
    (CONFIGS, "executor_config", [
        1, None, {}, {"gpu": -1}, {"gpu": "many"}, {"gpu": 1.5}, {"gpu": 1, "image_name": LONG}, {"gpu": 1, "run_as_user": -1},
        {"gpu": 1, "additional_envs": {"A": 1}}, {"gpu": 1, "additional_args": "x"},
        {"gpu": 1, "k8s_nim_operator_config": {"startup_probe_grace_seconds": 0}},
    ]),
    (CONFIGS, "model_entity_id", [1, LONG]),
    (PROMPTS, "messages", [1, "x", [{}], [{"role": "cat", "content": "x"}], [{"role": "user"}]]),
    (PROMPTS, "tags", [1, "x", [1]]),
    (PROMPTS, "input_variables", [1, "x", [1]]),
    (PROMPTS, "inference_params", [1, {"temperature": 2.5}, {"max_tokens": 0}, {"top_p": -0.1}]),
    (VIRTUAL, "default_model_entity", [1, []]),
    (VIRTUAL, "models", [1, "x", [{}], [{"model": 1}], [{"model": "a", "backend_format": "X"}]]),
    (VIRTUAL, "autoprovisioned", ["maybe", {}]),
    (VIRTUAL, "request_middleware", [1, [{}], [{"name": "a"}]]),
    (ENTITIES, "data", [1, "x", None, []]),
]  # fmt: skip


@pytest.mark.parametrize("url, field, values", FIELDS, ids=[f"{url.rsplit('/', 1)[1]}.{field}" for url, field, _ in FIELDS])
def test_a_value_out_of_range_is_named_and_nothing_is_made(http, name, url, field, values):
    (kind,) = [kind for kind in KINDS if kind.url == url]
    for value in values:
        refused(http.post(url, json={**kind.body, "name": name, field: value}), 422, "body", field)
    assert http.get(f"{url}/{name}").status_code == 404


REQUIRED = [(PROVIDERS, "host_url"), (SECRETS, "value"), (CONFIGS, "engine"), (CONFIGS, "model_spec"), (ENTITIES, "data")]
REQUIRED += [(CONFIGS, "executor_config"), *((kind.url, "name") for kind in KINDS if kind.url != ENTITIES)]


@pytest.mark.parametrize("url, field", REQUIRED, ids=[f"{url.rsplit('/', 1)[1]}.{field}" for url, field in REQUIRED])
def test_a_missing_field_is_named(http, name, url, field):
    (kind,) = [kind for kind in KINDS if kind.url == url]
    body = {**kind.body, "name": name}
    del body[field]
    reply = http.post(url, json=body)
    refused(reply, 422, "body", field)
    assert reply.json()["detail"][0]["type"] == "missing"


def test_the_seeds_shape_is_checked_too(http, name):
    for wrong in ({"gpu": -1}, {"gpu": None}, {"disk_size": 1}, {"model_type": "big"}, {"image_tag": "x" * 256}):
        body = {"name": name, "nim_deployment": {**SEED, **wrong}}
        refused(http.post(CONFIGS, json=body), 422, "body", "nim_deployment", next(iter(wrong)))
    refused(http.post(CONFIGS, json={"name": name, "nim_deployment": 1}), 422, "body", "nim_deployment")
    assert http.get(f"{CONFIGS}/{name}").status_code == 404


CHANGES = [
    # A change of an object that exists, its method, and a value that is refused.
    (WORKSPACES, "PUT", {"description": 1}),
    (PROJECTS, "PUT", {"description": 1}),
    (SECRETS, "PATCH", {"value": ""}),
    (FILESETS, "PATCH", {"purpose": "weights"}),
    (MODELS, "PATCH", {"finetuning_type": "magic"}),
    (PROVIDERS, "PUT", {"host_url": 1}),
    (CONFIGS, "POST", {"engine": "steam", "model_spec": {}, "executor_config": {"gpu": 1}}),
    (PROMPTS, "PUT", {"tags": 1}),
    (VIRTUAL, "PATCH", {"models": 1}),
    (ENTITIES, "PUT", {"data": 1}),
]


@pytest.mark.parametrize("url, method, change", CHANGES, ids=[url.rsplit("/", 1)[1] for url, _, _ in CHANGES])
def test_a_refused_change_changes_nothing(http, name, url, method, change):
    (kind,) = [kind for kind in KINDS if kind.url == url]
    http.post(url, json={**kind.body, "name": name}).raise_for_status()
    kept = http.get(f"{url}/{name}").json()
    refused(http.request(method, f"{url}/{name}", json={**change}), 422, "body", next(iter(change)))
    refused(http.request(method, f"{url}/{name}", content=b"{", headers={"content-type": "application/json"}), 422, "body")
    now = http.get(f"{url}/{name}").json()
    volatile = {"updated_at", "status", "status_message"} if url == PROVIDERS else set()
    assert {key: now[key] for key in now.keys() - volatile} == {key: kept[key] for key in kept.keys() - volatile}


LISTS = [kind.url for kind in KINDS] + [ADAPTERS, DEPLOYMENTS]
QUERIES = [{"page": wrong} for wrong in (0, -1, "x", 1.5, 1 << 70)]
QUERIES += [{"page_size": wrong} for wrong in (0, -5, "all")]


@pytest.mark.parametrize("url", LISTS, ids=lambda url: url.rsplit("/", 1)[1])
def test_a_page_that_cannot_be_is_refused(http, url):
    for query in QUERIES:
        refused(http.get(url, params=query), 422, "query", next(iter(query)))


@pytest.mark.parametrize("url", [url for url in LISTS if url != SECRETS], ids=lambda url: url.rsplit("/", 1)[1])
def test_an_order_that_cannot_be_is_refused(http, url):
    for sort in ("colour", "--name", "name;drop", "-"):
        reply = http.get(url, params={"sort": sort})
        assert reply.status_code in (400, 422) and reply.json()["detail"], (sort, reply.text)


@pytest.mark.parametrize("url", [url for url in LISTS if url != SECRETS], ids=lambda url: url.rsplit("/", 1)[1])
def test_a_filter_that_cannot_be_is_refused(http, url):
    reply = http.get(url, params={"filter[zzz]": "1"})
    refused(reply, 400)
    assert reply.json()["detail"].startswith("Unknown filter field 'zzz'. Valid fields: ["), reply.text
    for query in (
        {"filter": "{"}, {"filter": "[]"}, {"filter": "1"}, {"filter": "name:"}, {"filter": 'name:"x'}, {"filter": "AND"},
        {"filter": '{"name": {"$near": 1}}'}, {"filter[name][$near]": "x"}, {"filter": "(" * 2000}, {"filter[name": "x"},
        {"filter": '{"$and": 1}'}, {"filter": '{"$and": [' * 100 + "]}" * 100},
    ):  # fmt: skip
        reply = http.get(url, params=query)
        assert reply.status_code in (400, 422) and reply.json()["detail"], (query, reply.status_code, reply.text[:200])


def test_a_deployment_of_nothing_is_refused(http, name):
    for body in ({"config": "nobody"}, {"config": "default/nobody"}, {"config": name, "config_version": 9}):
        http.post(CONFIGS, json={"name": name, **PARTS})
        refused(http.post(DEPLOYMENTS, json={"name": name, **body}), 400)
    refused(http.post(DEPLOYMENTS, json={"name": name}), 422, "body", "config")
    refused(http.post(DEPLOYMENTS, json={"name": name, "config": name, "config_version": "x"}), 422, "body", "config_version")
    refused(http.post(DEPLOYMENTS, json={"name": "Bad Name", "config": name}), 422, "body", "name")
    refused(http.get(f"{DEPLOYMENTS}/{name}"), 404)


def test_a_status_that_cannot_be_is_refused(http, name):
    http.post(CONFIGS, json={"name": name, **PARTS}).raise_for_status()
    http.post(DEPLOYMENTS, json={"name": name, "config": name}).raise_for_status()
    url = f"{DEPLOYMENTS}/{name}/status"
    for body in ({}, {"status": "FAILED"}, {"status": 1}, {"status": "READY", "status_message": "x" * 1001}):
        refused(http.post(url, json=body), 422, "body")
    refused(http.post(f"{DEPLOYMENTS}/nobody-here/status", json={"status": "READY"}), 404)


def test_versions_that_cannot_be_are_refused(http, name):
    http.post(CONFIGS, json={"name": name, **PARTS}).raise_for_status()
    refused(http.get(f"{CONFIGS}/{name}/versions/x"), 400)
    for version in ("0", "9", "99999999999"):
        refused(http.get(f"{CONFIGS}/{name}/versions/{version}"), 404)
    assert http.get(f"{CONFIGS}/nobody-here/versions").json() == []
    refused(http.put(f"{CONFIGS}/{name}", json=PARTS), 405)


def test_an_adapter_of_nothing_is_refused(http, name):
    lora = {"name": name, "fileset": "nobody", "finetuning_type": "lora"}
    refused(http.post(ADAPTERS, json={**lora, "model": "nobody"}), 404)
    bad = [{"finetuning_type": "magic"}, {"model": 1}, {"lora_config": {}}, {"lora_config": {"rank": "x"}}, {"enabled": "maybe"}]
    for wrong in bad:
        refused(http.post(ADAPTERS, json={**lora, "model": "any", **wrong}), 422, "body", next(iter(wrong)))


def test_headers_that_would_be_ours_are_refused(http, name):
    for header in ("Authorization", "authorization", "Cookie", "COOKIE"):
        for field in ("default_extra_headers", "required_extra_headers"):
            body = {"name": name, "host_url": "http://127.0.0.1:1", field: {header: "x"}}
            refused(http.post(PROVIDERS, json=body), 400)
    assert http.get(f"{PROVIDERS}/{name}").status_code == 404
