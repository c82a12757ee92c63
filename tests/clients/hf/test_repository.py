"""A fileset, read by the stock client of Hugging Face as if it were a repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError

REPOSITORY = "default/weights"
TOKEN = "service:models"


@pytest.fixture
def api(endpoint):
    return HfApi(endpoint=endpoint, token=TOKEN)


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_command_pulls_all_files(endpoint, files, tmp_path):
    own = {"HF_ENDPOINT": endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [str(Path(sys.executable).with_name("hf")), "download", REPOSITORY, "--local-dir", str(tmp_path / "out")]
    ended = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "out") == files


def test_a_snapshot_is_named_by_its_commit(endpoint, api, files, tmp_path):
    folder = snapshot_download(REPOSITORY, endpoint=endpoint, token=TOKEN, cache_dir=tmp_path)
    assert contents(Path(folder)) == files
    assert Path(folder).name == api.model_info(REPOSITORY).sha


def test_files_are_listed_and_described(api, files):
    assert sorted(api.list_repo_files(REPOSITORY)) == sorted(files)
    assert {file.path: file.size for file in api.list_repo_tree(REPOSITORY, recursive=True)} == {
        path: len(data) for path, data in files.items()
    }
    [found] = api.get_paths_info(REPOSITORY, ["config.json", "absent"])
    assert (found.path, found.size) == ("config.json", 2)
    assert api.file_exists(REPOSITORY, "config.json") and not api.file_exists(REPOSITORY, "absent")


def test_what_is_missing_is_told_apart(endpoint, tmp_path):
    options = {"endpoint": endpoint, "token": TOKEN, "cache_dir": tmp_path}
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(REPOSITORY, "absent", **options)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("default/absent", "config.json", **options)


def test_the_token_of_a_service_is_needed(endpoint):
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(endpoint=endpoint, token="hf_somebody").model_info(REPOSITORY)
