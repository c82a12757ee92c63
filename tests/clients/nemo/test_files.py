"""Filesets, and the files in them."""

import io

import nemo_platform
import pytest
from answers import same_fields
from stack import eventually

DATA = b"".join(number.to_bytes(3, "big") for number in range(100_000))


@pytest.fixture
def fileset(sdk, name):
    return sdk.files.filesets.create(name=name).name


def paths(sdk, fileset, **options):
    return sorted(one.path for one in sdk.files.list(fileset=fileset, **options).data)


def test_a_fileset_is_made_changed_and_removed(sdk, name):
    calling = {"chat_template": "{{ x }}", "tool_call_parser": "llama3_json", "auto_tool_choice": True}
    made = sdk.files.filesets.create(
        name=name, description="first", project="p1", purpose="model", custom_fields={"team": "a"},
        metadata={"model": {"tool_calling": calling}},
    )  # fmt: skip
    assert made.id.startswith("fileset-")
    assert (made.name, made.workspace, made.description, made.project) == (name, "default", "first", "p1")
    assert (made.purpose, made.custom_fields, made.storage.type) == ("model", {"team": "a"}, "local")
    assert same_fields(calling, made.metadata.model.tool_calling) == calling
    assert sdk.files.filesets.retrieve(name) == made
    changed = sdk.files.filesets.update(name, description="second", custom_fields={})
    assert (changed.description, changed.custom_fields, changed.purpose) == ("second", {}, "model")
    sdk.files.filesets.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.files.filesets.retrieve(name)


def test_one_that_exists_is_given_back_when_that_is_ok(sdk, name):
    made = sdk.files.filesets.create(name=name)
    assert sdk.files.filesets.create(name=name, exist_ok=True) == made


@pytest.mark.parametrize(
    "storage",
    [
        {"type": "huggingface", "repo_id": "meta-llama/Llama-3.2-1B", "revision": "v2", "token_secret": "hf-token"},
        {"type": "ngc", "org": "nvidia", "team": "nemo", "target": "m", "version": "1", "api_key_secret": "default/ngc"},
        {"type": "s3", "bucket": "b", "prefix": "p/", "access_key_id_secret": "s3-id", "secret_access_key_secret": "s3-key"},
    ],
    ids=lambda storage: storage["type"],
)
def test_what_is_stored_elsewhere_is_remembered(sdk, name, storage):
    for secret in ("hf-token", "ngc", "s3-id", "s3-key"):
        try:
            sdk.secrets.create(name=secret, value="x")
        except nemo_platform.ConflictError:
            pass
    made = sdk.files.filesets.create(name=name, storage=storage)
    assert same_fields(storage, made.storage) == storage
    assert sdk.files.filesets.retrieve(name).storage == made.storage


def test_filesets_are_listed(sdk, workspace):
    for name in ("one", "two"):
        sdk.files.filesets.create(name=name, purpose="dataset" if name == "two" else "model", workspace=workspace)
    assert [one.name for one in sdk.files.filesets.list(workspace=workspace)] == ["two", "one"]
    found = sdk.files.filesets.list(workspace=workspace, filter={"purpose": "dataset", "storage_type": "local"})
    assert [one.name for one in found] == ["two"]


def test_folders_go_up_and_come_down(sdk, fileset, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for path in ("a.txt", "sub/b.bin", "sub/deep er/ü+%.txt"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(path.encode() + DATA)
    sdk.files.upload(local_path=f"{source}/", fileset=fileset)
    assert paths(sdk, fileset) == ["a.txt", "sub/b.bin", "sub/deep er/ü+%.txt"]
    assert paths(sdk, fileset, remote_path="sub/") == ["sub/b.bin", "sub/deep er/ü+%.txt"]
    sdk.files.download(fileset=fileset, local_path=f"{target}/")
    for path in paths(sdk, fileset):
        assert (target / path).read_bytes() == path.encode() + DATA


def test_one_file_goes_up_and_comes_down(sdk, fileset, tmp_path):
    (tmp_path / "one.bin").write_bytes(DATA)
    sdk.files.upload(local_path=str(tmp_path / "one.bin"), remote_path="in/two.bin", fileset=fileset)
    (found,) = sdk.files.list(fileset=fileset).data
    assert (found.path, found.size, found.file_ref) == ("in/two.bin", len(DATA), f"default/{fileset}#in/two.bin")
    sdk.files.download(remote_path="in/two.bin", fileset=fileset, local_path=str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    "content, kept",
    [(DATA, DATA), ("text ü", "text ü".encode()), (io.BytesIO(DATA), DATA), (iter([b"a", b"b"]), b"ab"), (b"", b"")],
    ids=["bytes", "text", "file", "iterator", "nothing"],
)
def test_content_of_any_kind_goes_up(sdk, fileset, content, kept):
    sdk.files.upload_content(content=content, remote_path="it", fileset=fileset)
    assert sdk.files.download_content(remote_path="it", fileset=fileset) == kept


def test_an_upload_makes_its_fileset_if_asked(sdk, name):
    made = sdk.files.upload_content(content=b"x", remote_path="it", fileset=name, fileset_auto_create=True)
    assert made.name == name and paths(sdk, name) == ["it"]
    # There already: nothing is lost.
    sdk.files.upload_content(content=b"y", remote_path="more", fileset=name, fileset_auto_create=True)
    assert paths(sdk, name) == ["it", "more"]


def test_a_later_upload_replaces(sdk, fileset):
    for content in (b"long content", b"short"):
        sdk.files.upload_content(content=content, remote_path="it", fileset=fileset)
    assert sdk.files.download_content(remote_path="it", fileset=fileset) == b"short"
    assert [one.size for one in sdk.files.list(fileset=fileset).data] == [5]


def test_a_file_is_removed(sdk, fileset):
    for path in ("a", "b"):
        sdk.files.upload_content(content=b"x", remote_path=path, fileset=fileset)
    sdk.files.delete(remote_path="a", fileset=fileset)
    assert paths(sdk, fileset) == ["b"]
    with pytest.raises(Exception):
        sdk.files.download_content(remote_path="a", fileset=fileset)


def test_files_are_seen_as_a_file_system(sdk, fileset):
    sdk.files.upload_content(content=DATA, remote_path="sub/it", fileset=fileset)
    path = f"default/{fileset}#sub/it"
    assert sdk.files.fsspec.exists(path) and sdk.files.fsspec.info(path)["size"] == len(DATA)
    with sdk.files.fsspec.open(path) as opened:
        opened.seek(1000)
        assert opened.read(500) == DATA[1000:1500]


def test_tool_calling_reaches_the_model(sdk, name):
    calling = {"chat_template": "{{ x }}", "tool_call_parser": "llama3_json", "auto_tool_choice": True}
    sdk.files.filesets.create(name=name, purpose="model", metadata={"model": {"tool_calling": calling}})
    config = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64}'
    sdk.files.upload_content(content=config, remote_path="config.json", fileset=name)
    sdk.models.create(name=name, fileset=f"default/{name}")
    spec = eventually("a spec", lambda: sdk.models.retrieve(name).spec)
    assert (spec.chat_template, spec.family, spec.num_layers, spec.hidden_size) == ("{{ x }}", "llama", 2, 64)
    assert (spec.tool_call_config.tool_call_parser, spec.tool_call_config.auto_tool_choice) == ("llama3_json", True)


def test_the_cache_status_is_told(sdk, fileset):
    sdk.files.upload_content(content=b"x", remote_path="it", fileset=fileset)
    assert sdk.files.list(fileset=fileset, include_cache_status=True).cache_status == "not_cacheable"


# --- As any HTTP client sees it --------------------------------------------------------------------------------------


@pytest.fixture
def file_url(sdk, fileset):
    sdk.files.upload_content(content=DATA, remote_path="it", fileset=fileset)
    return f"/apis/files/v2/workspaces/default/filesets/{fileset}/-/it"


@pytest.mark.parametrize("sent, start, end", [("0-9", 0, 10), ("10-", 10, None), ("-7", -7, None), ("5-5", 5, 6)])
def test_a_part_is_sent_on_request(http, file_url, sent, start, end):
    reply = http.get(file_url, headers={"range": f"bytes={sent}"})
    assert (reply.status_code, reply.content) == (206, DATA[start:end])
    assert reply.headers["content-range"].endswith(f"/{len(DATA)}")


def test_a_part_beyond_the_end_is_refused(http, file_url):
    reply = http.get(file_url, headers={"range": f"bytes={len(DATA)}-"})
    assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


def test_the_size_is_known_without_the_content(http, file_url):
    reply = http.head(file_url)
    assert (reply.status_code, reply.headers["content-length"], reply.content) == (200, str(len(DATA)), b"")
    assert http.get(file_url).headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("path", ["../it", "%2e%2e/it", "a/../../it", "..%2fit", "/etc/passwd", "a//b", "a/./b"])
def test_no_path_leads_out_of_the_fileset(stack, fileset, path):
    # Clients tidy paths up, so this one is written by hand.
    import socket

    address = stack.url.removeprefix("http://")
    host, port = address.split(":")
    target = f"/apis/files/v2/workspaces/default/filesets/{fileset}/-/{path}"
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(f"PUT {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".encode())
        reply = b"".join(iter(lambda: wire.recv(4096), b""))
    assert reply.startswith(b"HTTP/1.1 400 "), reply


def test_weight_pullers_read_as_from_their_hub(http, sdk, fileset):
    sdk.files.upload_content(content=b"{}", remote_path="config.json", fileset=fileset)
    hub, token = "/apis/files/v2/hf", {"authorization": "Bearer service:models"}
    file = f"{hub}/default/{fileset}/resolve/main/config.json"
    assert http.get(file).status_code == 401
    reply = http.get(file, headers=token)
    assert (reply.status_code, reply.content) == (200, b"{}")
    assert reply.headers["x-repo-commit"] and reply.headers["etag"]
    assert http.head(file, headers=token).headers["content-length"] == "2"
    info = http.get(f"{hub}/api/models/default/{fileset}/revision/main", headers=token).json()
    assert [one["rfilename"] for one in info["siblings"]] == ["config.json"]
    tree = http.get(f"{hub}/api/models/default/{fileset}/tree/main", headers=token).json()
    assert [(one["path"], one["size"]) for one in tree] == [("config.json", 2)]
