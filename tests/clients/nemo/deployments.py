"""Deployment configurations in both shapes, as the installed version of the package takes them."""

from answers import same_fields
from conftest import CURRENT

SEED = {
    "model_type": "llm", "lora_enabled": False, "gpu": 1, "disk_size": "60Gi", "image_name": "nvcr.io/nim/meta/llama",
    "image_tag": "1.8.5", "model_namespace": "default", "model_name": "my-nim", "model_revision": "main",
    "chat_template": "{{ messages }}", "additional_envs": {"NIM_LOG_LEVEL": "INFO"},
    "tool_call_config": {"tool_call_parser": "llama3_json", "auto_tool_choice": True},
    "k8s_nim_operator_config": {"startup_probe_grace_seconds": 900, "node_selector": {"gpu": "h100"}},
}  # fmt: skip
_MODEL = ["model_type", "lora_enabled", "model_namespace", "model_name", "model_revision", "chat_template", "tool_call_config"]
PARTS = {
    "engine": "nim",
    "model_spec": {field: SEED[field] for field in _MODEL},
    "executor_config": {
        **{field: value for field, value in SEED.items() if field not in _MODEL},
        "additional_args": [], "health_check_path": "/v1/health/ready",
    },
}  # fmt: skip
if CURRENT:
    # Only the newest generation has these.
    PARTS["executor_config"] |= {"run_as_user": 1000, "run_as_group": 2000}


def body(gpu: int = 1) -> dict:
    """What create and update take beside the name."""
    if CURRENT:
        return {**PARTS, "executor_config": {**PARTS["executor_config"], "gpu": gpu}}
    return {"nim_deployment": {**SEED, "gpu": gpu}}


def shape(config) -> dict:
    """What was sent, out of what came back."""
    return same_fields(body(), config)


def gpus(config) -> int:
    return config.executor_config.gpu if CURRENT else config.nim_deployment.gpu
