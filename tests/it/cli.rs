//! The command as a person at a terminal meets it: help, mistakes, exit codes, and the demo.

use std::time::Duration;

use http::Method;
use integration_tests::client::{chat_body, request, send};
use integration_tests::{Ended, Home, Process, eventually, in_ci, within};
use nim_sim::{Sim, SimOptions};

const DEMO_WORDS: &str = "Say hello to the person who just started nimgate.";

async fn run(args: &[&str]) -> Ended {
    Home::new().await.run(args).await
}

#[tokio::test]
async fn help_names_the_first_steps_and_every_command_has_its_own() {
    let home = Home::new().await;
    let help = home.run(["--help"]).await.expect_done().stdout;
    for words in ["nimgate demo", "nimgate up", "Exit codes"] {
        assert!(help.contains(words), "no {words:?} in {help}");
    }
    for command in ["up", "gateway", "registry", "demo", "provider", "chat", "status", "explain"] {
        assert!(help.contains(command), "no {command} in {help}");
        home.run([command, "--help"]).await.expect_done();
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2_and_says_what_is_known() {
    let ended = run(&["upp"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("up"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_bad_configuration_is_exit_code_64_with_all_that_is_wrong() {
    let home = Home::new().await;
    let file = home.path().join("bad.toml");
    std::fs::write(&file, "listen = \"nowhere\"\ncolour = 1\n[limits]\nhead_bytes_max = 1\n").unwrap();
    let file = file.to_str().unwrap();
    for check in [["up", "--check"], ["config", "check"]] {
        let args = [check[0], check[1], "--config", file, "--threads", "many", "--listen", "0.0.0.0:1"];
        let ended = home.run(args).await;
        assert_eq!(ended.code, Some(64), "{}", ended.stderr);
        for words in ["--insecure-no-auth", "colour: unknown key", "limits.head_bytes_max", "threads"] {
            assert!(ended.stderr.contains(words), "no {words:?} in {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "");
    }
}

#[tokio::test]
async fn check_prints_the_effective_configuration_and_serves_nothing() {
    let ended = run(&["up", "--check", "--listen", "127.0.0.1:4711"]).await.expect_done();
    assert!(ended.stdout.contains("127.0.0.1:4711"), "{}", ended.stdout);
    assert!(ended.stdout.contains("--listen"), "says where a value came from: {}", ended.stdout);
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_exit_code_1_and_a_hint() {
    // Port 1: nobody listens there.
    for args in
        [&["status", "--url", "http://127.0.0.1:1"][..], &["chat", "m", "hi", "--url", "http://127.0.0.1:1"]]
    {
        let ended = run(args).await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("nimgate up"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_exit_code_1_and_a_sentence() {
    let home = Home::new().await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let key = home.key_file();
    let args = ["up", "--listen", &address, "--admin-listen", "127.0.0.1:0", "--data-dir", "d"];
    let ended = home.run(args.into_iter().chain(["--master-key-file", key.to_str().unwrap()])).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("is in use"), "{}", ended.stderr);
}

#[tokio::test]
async fn from_a_secret_to_a_chat_with_the_commands_alone() {
    let home = Home::new().await;
    let options = SimOptions { api_key: Some("sim-key".into()), ..SimOptions::default() };
    let sim = Sim::start(options).await.unwrap();
    let gateway = home.up(&[]).await;
    let (url, upstream) = (gateway.url(), sim.url());
    home.run_with_input(["secret", "create", "key", "--url", &url], "sim-key\n").await.expect_done();
    let listed = home.run(["secret", "list", "--url", &url]).await.expect_done();
    assert!(listed.stdout.contains("key") && !listed.stdout.contains("sim-key"), "{}", listed.stdout);

    let create = ["provider", "create", "sim", "--url", &upstream, "--secret", "key", "--gateway-url", &url];
    let created = home.run(create).await.expect_done();
    assert!(created.stdout.contains("sim-echo-8b"), "{}", created.stdout);
    let again = home.run(create).await;
    assert_eq!(again.code, Some(1), "a name is taken once");

    let chat = home.run(["chat", "sim-echo-8b", "good morning", "--url", &url]).await.expect_done();
    assert!(chat.stdout.contains("You said: good morning"), "{}", chat.stdout);
    let unknown = home.run(["chat", "nobody", "hi", "--url", &url]).await;
    assert_eq!(unknown.code, Some(1));

    let admin = format!("http://{}", gateway.admin);
    let status = home.run(["status", "--url", &url, "--admin-url", &admin]).await.expect_done();
    assert!(status.stdout.contains("READY"), "{}", status.stdout);
    let explain = ["explain", "/v1/chat/completions", "--model", "sim-echo-8b", "--admin-url", &admin];
    let explained = home.run(explain).await.expect_done();
    assert!(explained.stdout.contains("sim"), "{}", explained.stdout);

    let asked =
        request(Method::POST, "/v1/chat/completions", Some(&chat_body("sim-echo-8b", "good evening")));
    let reply = send(gateway.address, asked).await.unwrap();
    let id = reply.header("x-request-id").unwrap();
    let told = home.run(["explain", id, "--admin-url", &admin]).await.expect_done().stdout;
    assert!(told.contains("default/sim") && told.contains("answered") && told.contains("tokens"), "{told}");
    assert!(!told.contains("evening") && !told.contains("sim-key"), "{told}");
    let other = home.run(["explain", "req_000000000000000001", "--admin-url", &admin]).await;
    assert!(other.code == Some(1) && other.stderr.contains("ask the admin listeners"), "{}", other.stderr);
}

#[tokio::test]
async fn the_demo_chats_over_each_route_and_what_it_prints_works() {
    let home = Home::new().await;
    let once = home.run(["demo", "--once", "--listen", "127.0.0.1:0"]).await.expect_done();
    assert!(once.stdout.contains("SIMULATED"), "{}", once.stdout);
    assert_eq!(once.stdout.matches(&format!("You said: {DEMO_WORDS}")).count(), 3, "{}", once.stdout);
    for route in ["model route", "provider route", "OpenAI route"] {
        assert!(once.stdout.contains(route), "no {route} in {}", once.stdout);
    }

    let (_, address) = once.stdout.split_once("Running and ready at http://").unwrap();
    let address = address.split_whitespace().next().unwrap().to_owned();
    let is_gone = async || tokio::net::TcpStream::connect(&address).await.is_err().then_some(());
    eventually("the deployed server ended with the demo", is_gone).await;

    let mut demo = Process::start(home.command(["demo", "--listen", "127.0.0.1:0"]));
    let printed = demo
        .prints("what to try next", |text| text.contains("Ctrl-C stops it").then(|| text.to_owned()))
        .await;
    run_printed_curl(&home, &printed).await;
    run_printed_command(&home, &printed).await;
    demo.signal(integration_tests::process::Signal::Interrupt);
    assert!(demo.ended().await.success(), "{}", demo.printed());
}

/// The lines from `curl` to the one that is not continued.
async fn run_printed_curl(home: &Home, printed: &str) {
    let lines = printed.lines().map(str::trim_start).skip_while(|line| !line.starts_with("curl "));
    let mut script = String::new();
    for line in lines {
        script.push_str(line);
        script.push('\n');
        if !line.ends_with('\\') {
            break;
        }
    }
    assert!(!script.is_empty(), "no curl line in {printed}");
    let mut curl = tokio::process::Command::new("sh");
    curl.args(["-c", &format!("command -v curl >/dev/null || exit 127\n{script}")]).current_dir(home.path());
    let output = within("the end of curl", curl.output()).await.unwrap();
    if output.status.code() == Some(127) && !in_ci() {
        println!("skipped: curl is not installed");
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("You said: Hello"),
        "{script} gave {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn run_printed_command(home: &Home, printed: &str) {
    let line = printed.lines().find(|line| line.trim_start().starts_with("nimgate chat")).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).map(|word| word.trim_matches('"')).collect();
    let chat = home.run(words).await.expect_done();
    assert!(chat.stdout.contains("You said: Hello"), "{}", chat.stdout);
}

#[tokio::test]
async fn an_idle_server_stops_at_ctrl_c() {
    let home = Home::new().await;
    let mut gateway = home.up(&[]).await;
    gateway.process.signal(integration_tests::process::Signal::Interrupt);
    let ended = tokio::time::timeout(Duration::from_secs(5), gateway.process.ended()).await;
    assert!(ended.is_ok_and(|status| status.success()), "{}", gateway.process.printed());
}
