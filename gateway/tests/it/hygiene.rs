//! Which headers cross the gateway (R4.1 to R4.5), in both directions and both protocols.

use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::Scripted;
use crate::harness::*;

/// Never to an upstream, with a value that is allowed on a request.
const NEVER_UP: [(&str, &str); 34] = [
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("TE", "trailers"),
    ("Trailer", "x-checksum"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("Upgrade", "h2c"),
    ("Proxy-Authenticate", "Basic"),
    ("Proxy-Authorization", "Basic canary"),
    ("Proxy-Anything", "canary"),
    ("Authorization", "Bearer canary"),
    ("X-Api-Key", "canary"),
    ("Api-Key", "canary"),
    ("X-Goog-Api-Key", "canary"),
    ("Ocp-Apim-Subscription-Key", "canary"),
    ("Cookie", "session=canary"),
    ("Cookie2", "canary"),
    ("Forwarded", "for=192.0.2.1"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Anything", "x"),
    ("X-Real-IP", "192.0.2.1"),
    ("True-Client-IP", "192.0.2.1"),
    ("Via", "1.1 evil"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Original-Host", "evil.test"),
    ("X-Host", "evil.test"),
    ("X-Envoy-Original-Path", "/admin"),
    ("X-Nimgate-Generation", "9"),
    ("X-NMP-Principal-Id", "root"),
];

/// What passes, because applications need it.
const MAY_GO_UP: [(&str, &str); 8] = [
    ("Accept", "text/event-stream"),
    ("OpenAI-Beta", "assistants=v2"),
    ("OpenAI-Organization", "org-1"),
    ("anthropic-version", "2023-06-01"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("Idempotency-Key", "k1"),
    ("X-Stainless-Lang", "python"),
    ("Origin", "http://app.test"),
];

#[tokio::test]
async fn credentials_cookies_hops_and_overrides_never_reach_an_upstream() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let mut ask = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY);
        for (name, value) in NEVER_UP {
            ask = ask.header(name, value);
        }
        for (name, value) in MAY_GO_UP {
            ask = ask.header(name, value);
        }
        assert_eq!(world.ask(ask).await.status, 200, "{base}");
        let heard = upstream.heard().pop().unwrap();
        for (name, _) in NEVER_UP {
            assert_eq!(heard.header(name), None, "{base} {name}");
        }
        for (name, value) in MAY_GO_UP {
            assert_eq!(heard.all(name), [value], "{base} {name}");
        }
        assert!(!heard.head.contains("canary"), "{}", heard.head);
    }
}

#[tokio::test]
async fn the_same_holds_for_http2_clients() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = H2Client::connect(world.address).await;
    let mut request = h2_client::post(&format!("{PROVIDER}{CHAT}"));
    // HTTP/2 itself forbids the names of the hop.
    let of_the_hop = ["Keep-Alive", "Proxy-Connection", "Upgrade", "TE"];
    let allowed = || NEVER_UP.iter().filter(|(name, _)| !of_the_hop.contains(name));
    for (name, value) in allowed().chain(&MAY_GO_UP) {
        request = request.header(*name, *value);
    }
    let reply = client.ask(request.header("te", "trailers"), CHAT_BODY).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let heard = upstream.heard().pop().unwrap();
    for (name, _) in NEVER_UP {
        assert_eq!(heard.header(name), None, "{name}");
    }
    for (name, value) in MAY_GO_UP {
        assert_eq!(heard.all(name), [value], "{name}");
    }
}

#[tokio::test]
async fn what_connection_nominates_stays_here_except_what_the_message_stands_on() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let ask = Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY)
        .header("Connection", "close, X-Hop , Content-Type,content-length")
        .header("connection", "x-other,Host,Authorization")
        .header("x-hop", "1")
        .header("X-Other", "1")
        .header("x-stays", "1");
    assert_eq!(world.ask(ask).await.status, 200);
    let heard = upstream.heard().pop().unwrap();
    assert_eq!((heard.header("x-hop"), heard.header("x-other")), (None, None));
    assert_eq!(heard.header("x-stays"), Some("1"));
    assert_eq!(heard.header("content-type"), Some("application/json"));
    assert_eq!(heard.header("content-length"), Some(&*CHAT_BODY.len().to_string()));
    assert_eq!(heard.header("host"), Some(&*upstream.address.to_string()));
}

#[tokio::test]
async fn header_names_with_an_underscore_are_refused() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for name in ["content_length", "X_Api_Key", "_x", "x_"] {
        let ask = Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).header(name, "1");
        world.ask(ask).await.assert_refusal(400, "bad_header_name");
        let mut client = H2Client::connect(world.address).await;
        let reply =
            client.ask(h2_client::post(&format!("{PROVIDER}{CHAT}")).header(name, "1"), CHAT_BODY).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &"bad_header_name".into()));
    }
    assert_eq!(upstream.connections(), 0);
}

/// An answer with everything that must not go down, and some that may.
const CHATTY: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=canary\r\nset-cookie: b=canary\r\n\
    Set-Cookie2: c=canary\r\nServer: canary/1\r\nAlt-Svc: h3=\":443\"\r\nConnection: keep-alive, X-Hop\r\n\
    X-Hop: canary\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: canary\r\nUpgrade: h2c\r\nTrailer: x-t\r\n\
    X-Nimgate-Generation: 7\r\nX-Request-Id: canary\r\nopenai-organization: canary\r\n\
    ETag: \"1\"\r\nRetry-After: 7\r\nX-Custom: kept\r\nx-custom: twice\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    x-ratelimit-remaining-requests: 5\r\nContent-Length: 2\r\n\r\nok";

const NEVER_DOWN: [&str; 13] = [
    "set-cookie",
    "set-cookie2",
    "server",
    "alt-svc",
    "x-hop",
    "keep-alive",
    "proxy-authenticate",
    "upgrade",
    "trailer",
    "te",
    "x-nimgate-generation",
    "openai-organization",
    "transfer-encoding",
];

#[tokio::test]
async fn cookies_server_names_and_hops_of_an_upstream_never_reach_a_client() {
    let upstream = Scripted::answering(CHATTY).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!((reply.status, &*reply.text()), (200, "ok"));
        for name in NEVER_DOWN {
            assert_eq!(reply.header(name), None, "{base} {name}");
        }
        assert!(!reply.head.contains("canary"), "{}", reply.head);
        assert_eq!(reply.all("x-custom"), ["kept", "twice"]);
        for (name, value) in
            [("etag", "\"1\""), ("retry-after", "7"), ("x-ratelimit-remaining-requests", "5")]
        {
            assert_eq!(reply.header(name), Some(value));
        }
        assert!(reply.header("date").is_some_and(|date| date.contains("2024")));
    }
}

#[tokio::test]
async fn nor_do_they_reach_an_http2_client() {
    let upstream = Scripted::answering(CHATTY).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = H2Client::connect(world.address).await;
    let reply = client.ask(h2_client::post(&format!("{PROVIDER}{CHAT}")), CHAT_BODY).await;
    assert_eq!((reply.status, &*reply.text()), (200, "ok"));
    for name in NEVER_DOWN.iter().chain(&["connection"]) {
        assert_eq!(reply.header(name), None, "{name}");
    }
    assert_eq!(reply.headers.get_all("x-custom").iter().collect::<Vec<_>>(), ["kept", "twice"]);
    assert_eq!(reply.header("etag"), Some("\"1\""));
}

#[tokio::test]
async fn one_request_id_names_a_request_on_both_sides() {
    let upstream = Scripted::answering(CHATTY).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let ask = || Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY);
    let reply = world.ask(ask().header("x-request-id", "client-id_1.A")).await;
    assert_eq!(reply.all("x-request-id"), ["client-id_1.A"]);
    assert_eq!(upstream.heard()[0].all("x-request-id"), ["client-id_1.A"]);
    let long = "x".repeat(65);
    for odd in ["a b", "a\"b", "a,b", "é", long.as_str(), ""] {
        let reply = world.ask(ask().header("x-request-id", odd)).await;
        let [id] = reply.all("x-request-id")[..] else { panic!("{}", reply.head) };
        assert!(id.starts_with("req_"), "{odd:?} became {id:?}");
        assert_eq!(upstream.heard().pop().unwrap().all("x-request-id"), [id]);
    }
    let (first, second) = (world.ask(ask()).await, world.ask(ask()).await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    // The gateway's own answers have one too.
    let reply = world.ask(Ask::get("/nothing").header("x-request-id", "mine")).await;
    assert_eq!(reply.header("x-request-id"), Some("mine"));
}
