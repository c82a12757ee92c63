//! The command's nouns against the real registry: made, listed, changed, shown as data, deleted.

use integration_tests::Home;
use nim_sim::{Sim, SimOptions};
use serde_json::Value;

use crate::at::At;

/// A kind of object: how to make one named `it`, to change it, and what is somewhere in it then.
struct Kind {
    noun: &'static str,
    create: &'static str,
    update: &'static str,
    then: (&'static str, &'static str),
}

const KINDS: [Kind; 5] = [
    Kind {
        noun: "model",
        create: "--base-model base --trust-remote-code",
        update: "--description tuned",
        then: ("/trust_remote_code", "true"),
    },
    Kind {
        noun: "virtual-model",
        create: "--default-model default/m",
        update: "--default-model default/other",
        then: ("/default_model_entity", r#""default/other""#),
    },
    Kind {
        noun: "fileset",
        create: "--purpose model --tool-call-parser llama3_json",
        update: "--auto-tool-choice",
        then: ("/metadata/model/tool_calling/tool_call_parser", r#""llama3_json""#),
    },
    Kind {
        noun: "prompt",
        create: "--system Brief. --user {{text}} --input-variables text --tags a,b",
        update: "--temperature 0.5",
        then: ("/inference_params/temperature", "0.5"),
    },
    Kind {
        noun: "deployment-config",
        create: "--image sim:1 --model meta/llama --gpus 1",
        update: "--gpus 2",
        then: ("/executor_config/gpu", "2"),
    },
];

#[tokio::test]
async fn every_kind_of_object_is_made_listed_changed_and_deleted() {
    let at = At::start().await;
    for Kind { noun, create, update, then: (pointer, value) } in KINDS {
        let made = at.done(&format!("{noun} create one {create}")).await;
        assert!(made.starts_with(&format!("{noun} one created")), "{made}");
        let taken = at.fails(&format!("{noun} create one {create}"), 1).await;
        assert!(taken.contains(&format!("nimgate {noun} update one")), "{noun}: {taken}");
        at.done(&format!("{noun} create one {create} --exist-ok")).await;
        at.done(&format!("{noun} create two {create}")).await;
        assert_eq!(at.names(&format!("{noun} list --sort -name")).await, ["two", "one"], "{noun}");
        assert_eq!(at.names(&format!("{noun} list --filter name=two -A")).await, ["two"], "{noun}");
        at.done(&format!("{noun} update one {update}")).await;
        let has = async |name: &str| {
            let object = at.json(&format!("{noun} get {name}")).await;
            assert_eq!(
                object.pointer(pointer).unwrap_or(&Value::Null).to_string(),
                value,
                "{noun} {name}: {object}"
            );
        };
        has("one").await;
        at.fails(&format!("{noun} update one"), 2).await;
        let copy = at.done(&format!("{noun} get one -o yaml")).await;
        at.fed(&format!("{noun} create copy --file -"), &copy).await.expect_done();
        has("copy").await;
        for name in ["one", "two", "copy"] {
            at.done(&format!("{noun} delete {name}")).await;
        }
        let unknown = at.fails(&format!("{noun} get one"), 1).await;
        assert!(unknown.contains(&format!("nimgate {noun} list")), "{noun}: {unknown}");
        let empty = at.done(&format!("{noun} list")).await;
        assert!(empty.contains(": nimgate "), "{noun}: {empty}");
    }
}

#[tokio::test]
async fn an_adapter_belongs_to_a_model_and_is_switched_off() {
    let at = At::start().await;
    std::fs::write(at.home.path().join("adapter.bin"), "weights").unwrap();
    at.done("model create base").await;
    let missing = at.fails("adapter create poems --model base --fileset files", 1).await;
    assert!(missing.contains("nimgate fileset create files"), "{missing}");
    at.done("fileset create files").await;
    at.done("file upload adapter.bin files").await;
    at.done("adapter create poems --model base --fileset files --lora-rank 8").await;
    at.done("adapter update poems --enabled=false").await;
    let adapter = at.json("adapter get poems").await;
    assert_eq!(
        (&adapter["enabled"], &adapter["lora_config"]["rank"]),
        (&false.into(), &8.into()),
        "{adapter}"
    );
    assert_eq!(at.names("adapter list --filter enabled=false").await, ["poems"]);
    at.done("adapter delete poems").await;
}

#[tokio::test]
async fn a_virtual_model_is_called_as_soon_as_it_is_made() {
    let at = At::start().await;
    let sim = Sim::start(SimOptions::default()).await.unwrap();
    at.done(&format!("provider create sim --url {}", sim.url())).await;
    at.done("vm create friend --default-model default/sim-echo-8b").await;
    let said = at.done("chat friend Hello").await;
    assert!(said.contains("You said: Hello"), "{said}");
    assert_eq!(at.names("vm list --exclude-autoprovisioned").await, ["friend"]);
}

#[tokio::test]
async fn a_secret_is_renewed_and_read_back_to_the_byte() {
    let at = At::start().await;
    at.fed("secret create build-key --description old", "sk-one\n").await.expect_done();
    assert_eq!(at.done("secret access build-key").await, "sk-one");
    at.fed("secret update build-key --from-file -", "sk-two\n").await.expect_done();
    assert_eq!(at.done("secret access build-key").await, "sk-two");
    at.done("secret update build-key --description new").await;
    let shown = at.done("secret get build-key").await;
    assert!(shown.contains("new") && !shown.contains("sk-"), "{shown}");
    assert_eq!(at.json("secret access build-key").await["value"], "sk-two");
    let unknown = at.fails("secret access nobody", 1).await;
    assert!(unknown.contains("nimgate secret list"), "{unknown}");
    at.fails("secret update build-key", 2).await;
}

#[tokio::test]
async fn a_provider_and_its_key_are_one_command_and_an_update_keeps_the_rest() {
    let at = At::start().await;
    let options = SimOptions { api_key: Some("sim-key".into()), ..SimOptions::default() };
    let sim = Sim::start(options).await.unwrap();
    let line = format!("provider create sim --url {} --key-env SIM_KEY --description first", sim.url());
    let url = at.gateway.url();
    let words = line.split_whitespace().chain(["--gateway-url", &url]);
    let output = at.home.command(words).env("SIM_KEY", "sim-key").output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(at.done("secret access sim").await, "sim-key");

    at.done("provider update sim --enabled-models sim-echo-8b").await;
    let provider = at.json("provider get sim").await;
    assert_eq!(provider["description"], "first");
    assert_eq!(provider["api_key_secret_name"], "sim");
    at.done("provider wait sim").await;
    assert_eq!(at.names("provider list --filter status=READY --filter name~im").await, ["sim"]);
    assert!(at.names("provider list --filter status=ERROR").await.is_empty());
    let table = at.done("provider list --all-workspaces --sort -name").await;
    assert!(table.contains("WORKSPACE") && table.contains("default"), "{table}");
    let field = at.fails("provider list --filter colour=red", 1).await;
    assert!(field.contains("colour"), "{field}");
}

#[tokio::test]
async fn what_is_shown_as_yaml_can_be_given_as_a_file() {
    let at = At::start().await;
    let sim = Sim::start(SimOptions::default()).await.unwrap();
    at.done(&format!("provider create one --url {} --description shown", sim.url())).await;
    let shown = at.done("provider get one -o yaml").await;
    at.fed("provider create two --file -", &shown).await.expect_done();
    assert_eq!(at.json("provider get two").await["description"], "shown");
    let taken = at.fails(&format!("provider create two --url {}", sim.url()), 1).await;
    assert!(taken.contains("nimgate provider update two"), "{taken}");
    at.done(&format!("provider create two --exist-ok --url {}", sim.url())).await;
}

#[tokio::test]
async fn an_error_names_the_next_step() {
    let at = At::start().await;
    for (line, code, step) in [
        ("provider create pr --url http://127.0.0.1:1 --secret absent", 1, "nimgate secret create absent"),
        ("secret create k2 --value v --workspace nows", 1, "nimgate workspace create nows"),
        ("provider create pr", 2, "--url"),
        ("workspace get nope", 1, "nimgate workspace"),
        ("provider get nope", 1, "nimgate provider list"),
    ] {
        let said = at.fails(line, code).await;
        assert!(said.contains(step), "{line}: {said}");
    }
    let several = at.fed("provider create --file -", "name: 3\nhost_url: 4\n").await;
    assert_eq!(several.code, Some(2), "a name is a text: {}", several.stderr);
}

#[tokio::test]
async fn completions_are_scripts_of_their_shell() {
    let home = Home::new().await;
    for (shell, words) in
        [("bash", "complete -F _nimgate"), ("zsh", "#compdef nimgate"), ("fish", "complete -c nimgate")]
    {
        let script = home.run(["completions", shell]).await.expect_done().stdout;
        assert!(script.contains(words) && script.contains("deployment-config"), "{shell}");
    }
}
