//! Six canaries, put through what succeeds and what fails, with the most talkative log: none of them may
//! sing anywhere but where it belongs.

use std::net::SocketAddr;
use std::path::Path;

use http::{Method, Request};
use http_body_util::Full;
use integration_tests::client::{Reply, RequestBody, chat_body, request, send, stream_body};
use integration_tests::process::Signal;
use integration_tests::{Home, Serving, eventually};
use nim_sim::{Sim, SimOptions};
use serde_json::{Value, json};

const PROVIDER_KEY: &str = "sk-canary-provider-8c1f";
const REPLACED_KEY: &str = "sk-canary-replaced-51ab";
const CLIENT_KEY: &str = "sk-canary-client-77d0";
const PULL_SECRET: &str = "nvapi-canary-pull-90ee";
const PROMPT: &str = "the canary prompt sings 3f2a";

const SECRETS: &str = "/apis/secrets/v2/workspaces/default/secrets";
const PROVIDERS: &str = "/apis/models/v2/workspaces/default/providers";
const CHAT: &str = "/v1/chat/completions";

/// With the client's own credentials, which are nobody's business further on.
async fn call(at: SocketAddr, method: Method, path: &str, body: Option<&Value>) -> Reply {
    send(at, with_credentials(request(method, path, body))).await.unwrap()
}

fn with_credentials(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {CLIENT_KEY}").parse().unwrap());
    headers.insert("x-api-key", CLIENT_KEY.parse().unwrap());
    request
}

/// What a canary may not be in.
struct Sinks(Vec<(String, Vec<u8>)>);

impl Sinks {
    fn answer(&mut self, of: &str, reply: &Reply) {
        let mut bytes = format!("{:?}", reply.headers).into_bytes();
        bytes.extend_from_slice(&reply.body);
        self.0.push((format!("the answer {} of {of}", reply.status), bytes));
    }

    fn folder(&mut self, folder: &Path, but: &Path) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                self.folder(&path, but);
            } else if kind.is_file() && path != but {
                self.0.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }

    fn are_silent_about(&self, canaries: &[&str]) {
        for canary in canaries {
            for (sink, bytes) in &self.0 {
                let at = bytes.windows(canary.len()).position(|window| window == canary.as_bytes());
                let around = at.map(|at| {
                    let part = &bytes[at.saturating_sub(200)..(at + canary.len() + 100).min(bytes.len())];
                    String::from_utf8_lossy(part).into_owned()
                });
                assert!(around.is_none(), "{canary} is in {sink}: {}", around.unwrap_or_default());
            }
        }
    }
}

async fn start(home: &mut Home) -> Serving {
    home.launcher = Some(r#"exec "$@" 2>>"$HOME/log""#.to_owned());
    home.environment = vec![
        ("NIMGATE_LOG".to_owned(), "trace".to_owned()),
        ("NGC_API_KEY".to_owned(), PULL_SECRET.to_owned()),
    ];
    home.up(&["--access-log", "stderr"]).await
}

/// Everything that may be asked of secrets and providers, right and wrong.
async fn manage(at: SocketAddr, sim: &Sim, sinks: &mut Sinks) {
    let provider = |name: &str, url: String, secret: &str| json!({"name": name, "host_url": url, "api_key_secret_name": secret});
    let calls = [
        (Method::POST, SECRETS.to_owned(), json!({"name": "key1", "value": REPLACED_KEY}), 201),
        (Method::PATCH, format!("{SECRETS}/key1"), json!({"value": PROVIDER_KEY}), 200),
        (Method::POST, SECRETS.to_owned(), json!({"name": "key1", "value": PROVIDER_KEY}), 409),
        (Method::POST, SECRETS.to_owned(), json!({"name": "KEY", "value": PROVIDER_KEY}), 422),
        (Method::POST, SECRETS.to_owned(), json!({"name": "key2", "value": [PROVIDER_KEY]}), 422),
        (Method::POST, SECRETS.to_owned(), json!({"value": PROVIDER_KEY}), 422),
        (Method::POST, SECRETS.to_owned(), json!({"name": "wrong", "value": CLIENT_KEY}), 201),
        (Method::POST, PROVIDERS.to_owned(), provider("good", sim.url(), "key1"), 201),
        (Method::POST, PROVIDERS.to_owned(), provider("denied", sim.url(), "wrong"), 201),
        (Method::POST, PROVIDERS.to_owned(), provider("dead", "http://127.0.0.1:1".into(), "key1"), 201),
        (Method::POST, "/apis/secrets/v2/rotate-encryption-keys".to_owned(), json!({}), 202),
    ];
    for (method, path, body, status) in calls {
        let reply = call(at, method, &path, Some(&body)).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        sinks.answer(&path, &reply);
    }
    let secret = "/apis/secrets/v2/workspaces/system/secrets/ngc-api-key";
    for path in
        [SECRETS, PROVIDERS, &format!("{SECRETS}/key1"), secret, "/status", "/openapi.json", "/v1/models"]
    {
        sinks.answer(path, &call(at, Method::GET, path, None).await);
    }
    let mut foreign = with_credentials(request(Method::GET, &format!("{SECRETS}/key1/access"), None));
    foreign.headers_mut().insert("host", "evil.example".parse().unwrap());
    foreign.headers_mut().insert("x-nimgate-caller", "loopback".parse().unwrap());
    let refused = send(at, foreign).await.unwrap();
    assert_eq!(refused.status, 403);
    sinks.answer("access from elsewhere", &refused);
}

/// Chats that end well, and chats that do not.
async fn infer(at: SocketAddr, sinks: &mut Sinks) {
    let route = |name: &str| format!("/v2/workspaces/default/inference/gateway/provider/{name}/-{CHAT}");
    let model = "sim-echo-8b";
    for body in [chat_body(model, PROMPT), stream_body(model, PROMPT)] {
        let told = call(at, Method::POST, CHAT, Some(&body)).await;
        assert_eq!(told.status, 200, "{}", told.text());
    }
    for (path, model) in [(route("denied"), model), (route("dead"), model), (CHAT.to_owned(), "nobody")] {
        let reply = call(at, Method::POST, &path, Some(&chat_body(model, PROMPT))).await;
        assert!(reply.status.as_u16() >= 400, "{path}: {}", reply.text());
        sinks.answer(&path, &reply);
    }
    for text in [
        format!("{{\"model\":\"a\",\"model\":\"{PROMPT}\"}}"),
        format!("{{\"messages\":\"{PROMPT}"),
        PROMPT.into(),
    ] {
        let broken = Request::post(CHAT).header("host", "h").header("content-type", "application/json");
        let reply = send(at, with_credentials(broken.body(Full::from(text)).unwrap())).await.unwrap();
        assert_eq!(reply.status, 400, "{}", reply.text());
        sinks.answer("a broken body", &reply);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_prompt_is_in_any_file_log_metric_or_answer() {
    let mut home = Home::new().await;
    let sim =
        Sim::start(SimOptions { api_key: Some(PROVIDER_KEY.into()), ..SimOptions::default() }).await.unwrap();
    let mut serving = start(&mut home).await;
    let mut sinks = Sinks(Vec::new());
    manage(serving.address, &sim, &mut sinks).await;
    serving.serves("sim-echo-8b").await;
    infer(serving.address, &mut sinks).await;
    for path in ["/metrics", "/routes", "/explain?path=/v1/chat/completions&model=sim-echo-8b"] {
        sinks.answer(path, &call(serving.admin, Method::GET, path, None).await);
    }
    // Where a value belongs.
    let given = call(serving.address, Method::GET, &format!("{SECRETS}/key1/access"), None).await;
    assert_eq!(given.json()["value"], PROVIDER_KEY, "{}", given.text());

    let log = home.path().join("log");
    let logged =
        async || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(" DEBUG ")).then_some(());
    eventually("the log talks", logged).await;
    serving.process.signal(Signal::Hangup);
    home.environment.clear();
    home.run(["registry", "backup", "copy", "--data-dir", "data"]).await.expect_done();
    eventually("the routes are saved", async || {
        home.path().join("data/routes-0.json").exists().then_some(())
    })
    .await;
    sinks.folder(home.path(), &home.key_file());
    serving.process.signal(Signal::Terminate);
    serving.process.ended().await;
    sinks.folder(home.path(), &home.key_file());
    for name in [
        "data/nimgate.sqlite",
        "data/nimgate.sqlite-wal",
        "data/routes-0.json",
        "copy/nimgate.sqlite",
        "/log",
    ] {
        assert!(sinks.0.iter().any(|(sink, _)| sink.ends_with(name)), "{name} was not looked at");
    }
    let names_it = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"\"key1\"");
    assert!(sinks.0.iter().any(|(_, bytes)| names_it(bytes)), "what is no secret is found");
    let master_key = std::fs::read_to_string(home.key_file()).unwrap();
    sinks.are_silent_about(&[PROVIDER_KEY, REPLACED_KEY, CLIENT_KEY, PULL_SECRET, PROMPT, master_key.trim()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_read_through_a_loopback_listener_and_not_when_it_is_switched_off() {
    let path = format!("{SECRETS}/key1/access");
    let home = Home::new().await;
    for (listen, flags, status) in [
        ("127.0.0.1:0", &[][..], 200),
        ("0.0.0.0:0", &["--insecure-no-auth"], 403),
        ("127.0.0.1:0", &["--set", "secrets.access=false"], 403),
    ] {
        let mut serving = home.up_at(listen, "127.0.0.1:0", flags).await;
        // The first round makes it.
        serving.post(SECRETS, &json!({"name": "key1", "value": "v"})).await.unwrap();
        let reply = serving.get(&path).await.unwrap();
        assert_eq!(reply.status, status, "{listen} {flags:?}: {}", reply.text());
        let mut page = request(Method::GET, &path, None);
        page.headers_mut().insert("origin", "http://localhost:3000".parse().unwrap());
        assert_eq!(send(serving.address, page).await.unwrap().status, 403, "a web page gets none");
        serving.process.kill().await;
    }
}
