//! With a split or a stand-in, who answered is told with the answer.

use crate::harness::scripted::Scripted;
use crate::harness::*;

const HEADER: &str = "x-nimgate-served-by";

#[tokio::test]
async fn answers_on_routes_that_name_a_model_say_who_gave_them() {
    let upstream = Scripted::answering(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nx-nimgate-served-by: somebody/else\r\n\r\nno",
    )
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for (base, served_by) in [(OPENAI, Some("default/p1")), (MODEL, Some("default/p1")), (PROVIDER, None)] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!((reply.status, reply.header(HEADER)), (404, served_by), "{base}");
    }
}

#[tokio::test]
async fn a_stand_in_names_itself_and_a_refusal_names_nobody() {
    let upstream = Scripted::obliging().await;
    let routes = Routes::new()
        .provider("down", "http://127.0.0.1:1")
        .provider("up", &upstream.url())
        .model("m1", "m1", &["down", "up"])
        .model("m2", "m2", &["down"]);
    let world = World::start(routes).await;
    let reply = world.post("/v1/chat/completions", r#"{"model":"m1"}"#).await;
    assert_eq!((reply.status, reply.header(HEADER)), (200, Some("default/up")));
    let refused = world.post("/v1/chat/completions", r#"{"model":"m2"}"#).await;
    assert_eq!((refused.status, refused.header(HEADER)), (502, None));
}
