//! Providers by preset: made in one go, shown, changed.

use integration_tests::Home;
use nim_sim::{Sim, SimOptions};
use serde_json::json;

use crate::at::At;

async fn keyed_sim() -> Sim {
    Sim::start(SimOptions { api_key: Some("sk-sim-7".into()), ..SimOptions::default() }).await.unwrap()
}

async fn at_with_key() -> At {
    let mut at = At::start().await;
    at.home.environment.push(("SIM_KEY".into(), "sk-sim-7".into()));
    at
}

#[tokio::test]
async fn a_preset_a_key_and_a_model_make_a_provider_that_answers() {
    let (at, sim) = (at_with_key().await, keyed_sim().await);
    let line = format!(
        "provider create sim --preset vllm --base-url {}/v1 --key-env SIM_KEY --model sim/echo-8b \
         --num-concurrent-requests 16 --uses-reasoning-parser --extra-body {{\"top_k\":5}} \
         --backend-format openai-chat --reasoning-replay think-tags --replay safe",
        sim.url()
    );
    let made = at.done(&line).await;
    assert!(made.contains("provider sim is ready") && made.contains("sim-echo-8b"), "{made}");
    assert!(!made.contains("sk-sim-7"));
    assert!(at.done("chat sim-echo-8b Hello").await.contains("You said: Hello"));

    let shown = at.done("provider get sim").await;
    for line in ["vllm", "sim/echo-8b", "16", "reasoning_replay=think_tags", "top_k=5", "safe"] {
        assert!(shown.contains(line), "no {line} in {shown}");
    }
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_an_empty_value_clears() {
    let (at, sim) = (at_with_key().await, keyed_sim().await);
    std::fs::write(at.home.path().join("key"), "sk-sim-7\n").unwrap();
    let create =
        format!("provider create sim --preset gemini --base-url {} --key-file key --model mine", sim.url());
    at.done(&create).await;
    let before = at.json("provider get sim").await;
    assert_eq!(before["served_models"][0]["served_model_name"], "mine", "listed or not");
    at.done("provider update sim --uses-reasoning-parser --num-concurrent-requests 8").await;
    at.done("provider update sim --uses-reasoning-parser=false").await;
    let after = at.json("provider get sim").await;
    for field in ["preset", "host_url", "pinned_model", "chat_traits", "api_key_secret_name"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!((after.get("uses_reasoning_parser"), &after["num_concurrent_requests"]), (None, &json!(8)));

    let url = at.gateway.url();
    let words = ["provider", "update", "sim", "--model", "", "--gateway-url", &url];
    at.home.run(words).await.expect_done();
    at.done("provider wait sim").await;
    let freed = at.json("provider get sim").await;
    assert!(freed.get("pinned_model").is_none(), "{freed}");
}

#[tokio::test]
async fn a_host_without_a_list_of_models_is_ready_with_its_pinned_model() {
    let (at, sim) = (At::start().await, Sim::start(SimOptions::default()).await.unwrap());
    let made =
        at.done(&format!("provider create bare --url {}/nowhere/v1 --model Org/Some", sim.url())).await;
    assert!(made.contains("is ready") && made.contains("org-some"), "{made}");
    let without = at.done(&format!("provider create other --url {}/nowhere/v1", sim.url())).await;
    assert!(without.contains("without models of its own"), "{without}");
}

#[tokio::test]
async fn the_presets_are_a_table_and_data() {
    let at = At::start().await;
    let table = at.done("provider presets").await;
    for line in ["together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", "generic"] {
        assert!(table.contains(line), "{table}");
    }
    assert!(at.names("provider presets").await.contains(&"nebius".to_owned()));
}

#[tokio::test]
async fn a_wrong_setting_is_named_before_or_by_the_server() {
    let at = At::start().await;
    for (line, code, says) in [
        ("provider create pp --preset tugether", 1, "preset"),
        ("provider create pp --preset generic", 1, "host_url"),
        ("provider create pp", 2, "--preset NAME or --url URL"),
        ("provider create pp --preset vllm --key-env A --key-file b", 2, "--key-file"),
        ("provider create pp --preset vllm --num-concurrent-requests 0", 2, "--num-concurrent-requests"),
        ("provider create pp --preset vllm --backend-format soap", 2, "openai-responses"),
        ("provider create pp --preset vllm --key-env NO_SUCH_KEY", 1, "NO_SUCH_KEY is not set"),
    ] {
        let said = at.fails(line, code).await;
        assert!(said.contains(says), "{line}: {said}");
    }
    let home = Home::new().await;
    let help = home.run(["provider", "create", "--help"]).await.expect_done().stdout;
    assert!(help.contains("--preset <NAME>") && help.contains("nimgate provider presets"), "{help}");
}
