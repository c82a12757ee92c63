//! Providers that come from files: the configuration's own list, and NeMo Gym's.

use integration_tests::Home;
use nim_sim::{Sim, SimOptions};
use serde_json::json;

use crate::at::At;

const KEY: &str = "sk-from-a-file-9";

async fn keyed_sim() -> Sim {
    Sim::start(SimOptions { api_key: Some(KEY.into()), ..SimOptions::default() }).await.unwrap()
}

fn configuration(sim: &Sim, more: &str) -> String {
    format!(
        "[[providers]]\nname = \"local\"\nbase_url = \"{}\"\nmodel = \"sim/echo-8b\"\nkey_env = \"SIM_KEY\"\n{more}",
        sim.url()
    )
}

/// Starts with this file, and gives what the command line says to `line` and what the process printed.
async fn started_with(home: &Home, file: &str, line: &str) -> (String, String) {
    std::fs::write(home.path().join("nimgate.toml"), file).unwrap();
    let up = home.up(&["--config", "nimgate.toml"]).await;
    let url = up.url();
    let words = line.split_whitespace().chain(["--gateway-url", &url]);
    let said = home.run(words).await.expect_done().stdout;
    (said, up.process.printed())
}

#[tokio::test]
async fn providers_of_the_configuration_are_made_at_start_and_changed_when_it_changes() {
    let sim = keyed_sim().await;
    let mut home = Home::new().await;
    home.environment.push(("SIM_KEY".into(), KEY.into()));
    let (said, log) = started_with(&home, &configuration(&sim, ""), "provider wait local").await;
    assert!(said.contains("local is ready"), "{said}");
    assert!(log.contains("created from the configuration file"), "{log}");

    let (_, log) = started_with(&home, &configuration(&sim, ""), "provider wait local").await;
    assert!(log.contains("is as the configuration file says"), "{log}");

    let changed = configuration(&sim, "num_concurrent_requests = 7\n");
    let (said, log) = started_with(&home, &changed, "provider get local -o json").await;
    assert!(said.contains("\"num_concurrent_requests\": 7"), "{said}");
    assert!(log.contains("updated from the configuration file") && !log.contains(KEY), "{log}");

    // Neither a key that is gone nor a list that is gone takes anything away.
    home.environment.clear();
    let (said, log) = started_with(&home, &changed, "provider wait local").await;
    assert!(said.contains("local is ready") && log.contains("SIM_KEY is not set"), "{said}{log}");
    let (said, _) = started_with(&home, "", "provider wait local").await;
    assert!(said.contains("local is ready"), "{said}");
}

#[tokio::test]
async fn a_provider_that_can_not_be_had_holds_up_nobody() {
    let sim = Sim::start(SimOptions::default()).await.unwrap();
    let file = format!(
        "[[providers]]\nname = \"keyless\"\nbase_url = \"{0}\"\nkey_env = \"NOWHERE\"\n\
         [[providers]]\nname = \"fine\"\nbase_url = \"{0}\"\n",
        sim.url()
    );
    let home = Home::new().await;
    let (said, log) = started_with(&home, &file, "provider wait fine").await;
    assert!(said.contains("fine is ready"), "{said}");
    assert!(log.contains("what is declared was not applied") && log.contains("keyless"), "{log}");
}

#[tokio::test]
async fn virtual_models_of_the_configuration_answer_as_it_says_and_are_changed_by_hand_until_the_next_start()
{
    let models = vec!["x/8b".into(), "x/70b".into()];
    let sim = Sim::start(SimOptions { models, ..SimOptions::default() }).await.unwrap();
    let file = |of_tests: u32| {
        format!(
            "[[providers]]\nname = \"own\"\nbase_url = \"{}\"\n[[virtual_models]]\nname = \"chat\"\nlocal_only = true\n\
             routing = {{strategy = \"weighted\", providers = [{{provider = \"own\", model = \"x/8b\", weight = {}}}, \
             {{provider = \"own\", model = \"x/70b\", weight = {of_tests}}}]}}\n",
            sim.url(),
            100 - of_tests
        )
    };
    let home = Home::new().await;
    let (said, log) = started_with(&home, &file(25), "model route chat").await;
    assert!(
        said.contains("75 %   is asked for x/8b") && said.contains("25 %   is asked for x/70b"),
        "{said}"
    );
    assert!(log.contains("virtual model") && log.contains("default/chat"), "{log}");
    let (said, _) = started_with(&home, &file(25), "model split chat own:x/8b=1 own:x/70b=1").await;
    assert!(said.contains("50 %   is asked for x/8b"), "{said}");
    let (said, log) = started_with(&home, &file(25), "model route chat").await;
    assert!(said.contains("75 %   is asked for x/8b") && log.contains("updated from"), "{said}{log}");
    let (_, log) = started_with(&home, &file(25), "model route chat").await;
    assert!(!log.contains("updated from") && !log.contains("created from"), "{log}");
    let (said, _) = started_with(&home, "", "virtual-model get chat").await;
    assert!(said.contains("local only, by virtual model default/chat"), "{said}");

    let fault = file(25).replace("weight = 25", "wait = 25");
    std::fs::write(home.path().join("nimgate.toml"), fault).unwrap();
    let refused = home.run(["up", "--config", "nimgate.toml"]).await;
    let place = "virtual_models.chat.routing.providers.1.wait: unknown key (from nimgate.toml:7)";
    assert!(refused.code != Some(0) && refused.stderr.contains(place), "{refused:?}");
}

#[tokio::test]
async fn faults_of_declared_providers_are_told_before_anything_starts() {
    let home = Home::new().await;
    let file = "[[providers]]\nname = \"pp\"\npreset = \"tugether\"\napi_key = \"sk-oops\"\n";
    std::fs::write(home.path().join("nimgate.toml"), file).unwrap();
    let ended = home.run(["config", "check", "--config", "nimgate.toml"]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    for said in
        ["providers.pp.preset: there is no such preset", "providers.pp.api_key: a key has no place here"]
    {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("sk-oops"));
}

#[tokio::test]
async fn a_nemo_gym_folder_is_imported_and_imported_again() {
    let (at, sim) = (At::start().await, keyed_sim().await);
    let write = |name: &str, text: &str| std::fs::write(at.home.path().join(name), text).unwrap();
    write(
        "env.yaml",
        &format!("policy_api_key: {KEY}\npolicy_model_name: sim/echo-8b\nwandb_api_key: w-1\n"),
    );
    let config = format!(
        "policy_model:\n  responses_api_models:\n    inference_provider:\n      entrypoint: app.py\n      \
         base_url: {}/v1\n      api_key: ${{policy_api_key}}\n      model: ${{policy_model_name}}\n      \
         num_concurrent_requests: 16\n      extra_body:\n        seed: 7\n      weird: 1\n",
        sim.url()
    );
    write("sim.yaml", &config);
    let before = at.done("import gym env.yaml sim.yaml --dry-run").await;
    assert!(before.contains("provider sim would be made, with its key"), "{before}");
    at.fails("provider get sim", 1).await;

    let made = at.run("import gym env.yaml sim.yaml").await.expect_done();
    assert!(
        made.stdout.contains("provider sim created") && made.stdout.contains("is ready"),
        "{}",
        made.stdout
    );
    for told in ["weird has no place in a provider", "wandb_api_key is used by none"] {
        assert!(made.stdout.contains(told), "{}", made.stdout);
    }
    assert!(made.stderr.contains("chmod 600 env.yaml"), "{}", made.stderr);
    for text in [&before, &made.stdout, &made.stderr] {
        assert!(!text.contains(KEY) && !text.contains("w-1"), "{text}");
    }
    assert!(at.done("chat sim-echo-8b Hello").await.contains("You said: Hello"));

    at.done("provider update sim --description kept").await;
    let again = at.done("import gym env.yaml sim.yaml").await;
    assert!(again.contains("provider sim updated"), "{again}");
    let stored = at.json("provider get sim").await;
    assert_eq!(stored["description"], "kept");
    assert_eq!(stored["default_extra_body"], json!({"seed": 7}));
    assert_eq!(stored["num_concurrent_requests"], 16);

    write("broken.yaml", &format!("a: [{KEY}"));
    let broken = at.fails("import gym broken.yaml", 1).await;
    assert!(broken.contains("not YAML (line ") && !broken.contains(KEY), "{broken}");
    write("empty.yaml", "a: 1\n");
    at.fails("import gym empty.yaml", 1).await;
}
