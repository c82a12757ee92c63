"""Model entities and their adapters."""

import nemo_platform
import pytest
from stack import NAME, SIM_KEY

SPEC = {
    "context_size": 4096, "num_virtual_tokens": 0, "is_chat": True, "checkpoint_model_name": "tiny", "family": "llama",
    "base_num_parameters": 1000, "num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_kv_heads": 2,
    "ffn_hidden_size": 128, "vocab_size": 32000, "precision": "bf16", "tied_embeddings": False, "gated_mlp": True,
    "tool_call_config": {"tool_call_parser": "llama3_json", "auto_tool_choice": True},
}  # fmt: skip
PROMPT = {"system_prompt": "Be kind.", "icl_few_shot_examples": "one", "inference_params": {"temperature": 0.5}}


def test_a_model_is_made_changed_and_removed(sdk, name):
    made = sdk.models.create(
        name=name, description="first", project="p1", base_model="default/base",
        prompt=PROMPT, custom_fields={"team": "a"}, ownership={"created_by": "ada"}, backend_format="OPENAI_CHAT",
        api_endpoint={"url": "http://127.0.0.1:1", "model_id": "m", "format": "openai"}, finetuning_type="lora",
    )  # fmt: skip
    assert made.id.startswith("model-")
    assert (made.name, made.workspace, made.description, made.project) == (name, "default", "first", "p1")
    assert made.base_model == "default/base" and made.model_providers == []
    assert made.prompt.system_prompt == "Be kind." and made.custom_fields == {"team": "a"}
    assert made.api_endpoint.url == "http://127.0.0.1:1" and made.backend_format == "OPENAI_CHAT"
    assert sdk.models.retrieve(name) == made
    changed = sdk.models.update(name, description="second")
    assert (changed.description, changed.base_model, changed.created_at) == ("second", made.base_model, made.created_at)
    sdk.models.delete(name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.models.retrieve(name)


def test_one_that_exists_is_given_back_when_that_is_ok(sdk, name):
    made = sdk.models.create(name=name)
    assert sdk.models.create(name=name, description="not taken", exist_ok=True) == made


def test_what_was_not_set_has_its_default(sdk, name):
    made = sdk.models.create(name=name)
    assert (made.adapters, made.custom_fields, made.trust_remote_code) == ([], {}, False)
    assert (made.spec, made.fileset, made.prompt, made.finetuning_type) == (None, None, None, None)


def test_a_spec_is_replaced_whole(sdk, name):
    made = sdk.models.create(name=name, spec=SPEC)
    assert made.spec.hidden_size == 64 and made.spec.tool_call_config.tool_call_parser == "llama3_json"
    replaced = sdk.models.update(name, spec={**SPEC, "tool_call_config": None, "context_size": 8192})
    assert replaced.spec.context_size == 8192 and replaced.spec.tool_call_config is None


def test_linear_layers_are_shown_on_request(sdk, name):
    layers = [{"name": "q_proj", "in_features": 64, "out_features": 64}]
    sdk.models.create(name=name, spec={**SPEC, "linear_layers": layers})
    assert not sdk.models.retrieve(name).spec.linear_layers
    assert sdk.models.retrieve(name, verbose=True).spec.linear_layers[0].name == "q_proj"


def test_what_discovery_found_is_an_entity(sdk, stack):
    found = sdk.models.retrieve(NAME)
    assert found.model_providers[0] == "default/sim" and found.description.endswith("from provider default/sim")
    assert found.api_endpoint.url == stack.sim.url and found.api_endpoint.format == "openai"


def test_the_order_of_providers_is_set(sdk, stack, workspace):
    """Who serves it is found out; which of them comes first is for its owner to say."""
    sdk.secrets.create(name="key", value=SIM_KEY, workspace=workspace)
    for name in ("first", "second"):
        sdk.inference.providers.create(name=name, host_url=stack.sim.url, api_key_secret_name="key", workspace=workspace)
        assert sdk.models.wait_for_provider(name, workspace=workspace)
    served = [f"{workspace}/first", f"{workspace}/second"]
    assert sdk.models.retrieve(NAME, workspace=workspace).model_providers == served
    asked = [served[1], f"{workspace}/nobody"]
    assert sdk.models.update(NAME, model_providers=asked, workspace=workspace).model_providers == served[::-1]


def test_a_fileset_must_be_there(sdk, name):
    with pytest.raises(nemo_platform.BadRequestError):
        sdk.models.create(name=name, fileset="default/nobody")


@pytest.fixture
def base(sdk, name):
    """A model, and a fileset with something in it."""
    sdk.files.filesets.create(name=name)
    sdk.files.upload_content(content=b"{}", remote_path="adapter_config.json", fileset=name)
    return sdk.models.create(name=name).name


def test_an_adapter_is_made_changed_and_removed_below_its_model(sdk, base, name):
    made = sdk.models.adapters.create(
        base, name=f"{name}-a", fileset=base, finetuning_type="lora", lora_config={"rank": 8, "alpha": 16}
    )
    assert (made.name, made.enabled, made.lora_config.rank) == (f"{name}-a", True, 8)
    assert [one.name for one in sdk.models.retrieve(base).adapters] == [made.name]
    changed = sdk.models.adapters.update(made.name, model_name=base, enabled=False, description="off")
    assert (changed.enabled, changed.description) == (False, "off")
    sdk.models.adapters.delete(made.name, model_name=base)
    assert sdk.models.retrieve(base).adapters == []


def test_an_adapter_is_made_changed_and_removed_by_itself(sdk, base, name):
    made = sdk.adapters.create(name=f"{name}-a", model=f"default/{base}", fileset=base, finetuning_type="lora")
    assert sdk.adapters.retrieve(made.name) == made
    assert sdk.adapters.patch(made.name, description="patched").description == "patched"
    assert [one.name for one in sdk.adapters.list(filter={"model": f"default/{base}"})] == [made.name]
    sdk.adapters.delete(made.name)
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.adapters.retrieve(made.name)


def test_an_adapter_needs_a_model_and_a_fileset_with_files(sdk, base, name):
    with pytest.raises(nemo_platform.NotFoundError):
        sdk.adapters.create(name=f"{name}-a", model="nobody", fileset=base, finetuning_type="lora")
    empty = sdk.files.filesets.create(name=f"{name}-empty").name
    for fileset in ("nobody", empty):
        with pytest.raises(nemo_platform.BadRequestError):
            sdk.adapters.create(name=f"{name}-a", model=base, fileset=fileset, finetuning_type="lora")


def test_models_with_enabled_adapters_are_found(sdk, base, name):
    sdk.adapters.create(name=f"{name}-a", model=base, fileset=base, finetuning_type="lora")
    assert base in {one.name for one in sdk.models.list(filter={"adapters": {"finetuning_type": "lora"}})}
