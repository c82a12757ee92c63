//! Whatever is wrong with a server, the very first request that meets it is answered by another; and where there is
//! no other, by its own words.

use crate::harness::failing::{FAILURE_BODY, Failing, Failure, Wire, good, good_answer};
use crate::harness::full_queue::refusing_url;
use crate::harness::h2_client::{self, H2Client};
use crate::harness::tls::Authority;
use crate::harness::*;

/// A gateway that has seen no request yet and trusts `authority`.
async fn fresh(routes: Routes, authority: &Authority) -> World {
    let files = tempfile::tempdir().unwrap();
    let root = authority.root_in(files.path());
    World::start_with(routes, |config| config.upstream_ca = Some(root)).await
}

/// Model `m1` at `p1`, which fails, and then at `p2`.
fn failing_first(failing: &Failing, other: &str) -> Routes {
    Routes::new().provider_with("p1", &failing.url, failing.settings()).provider("p2", other).model(
        "m1",
        "x/y",
        &["p1", "p2"],
    )
}

#[tokio::test]
async fn the_first_request_that_meets_a_failure_is_answered_by_the_other() {
    let authority = Authority::new();
    for failure in Failure::ALL {
        let failing = Failing::start(failure, &authority).await;
        for body in [CHAT_BODY, STREAM_BODY] {
            let good = good().await;
            let world = fresh(failing_first(&failing, &good.url()), &authority).await;
            let reply = world.post(&format!("{OPENAI}{CHAT}"), body).await;
            let seen = (reply.status, reply.header("x-nimgate-served-by"), &*reply.text(), reply.whole);
            assert_eq!(
                seen,
                (200, Some("default/p2"), good_answer(body.as_bytes()), true),
                "{failure:?} {body}"
            );
            assert_eq!(good.heard().len(), 1, "{failure:?}");
            world.settled().await;
        }
    }
}

#[tokio::test]
async fn clients_that_speak_http2_are_answered_by_the_other_as_well() {
    let authority = Authority::new();
    for failure in [Failure::Refuses, Failure::Answers(Wire::Http1, 500), Failure::Mute(Wire::Http2)] {
        let failing = Failing::start(failure, &authority).await;
        for body in [CHAT_BODY, STREAM_BODY] {
            let good = good().await;
            let world = fresh(failing_first(&failing, &good.url()), &authority).await;
            let mut client = H2Client::connect(world.address).await;
            let reply = client.ask(h2_client::post(&format!("{OPENAI}{CHAT}")), body).await;
            let seen = (reply.status, reply.header("x-nimgate-served-by"), &*reply.text());
            assert_eq!(seen, (200, Some("default/p2"), good_answer(body.as_bytes())), "{failure:?} {body}");
        }
    }
}

#[tokio::test]
async fn what_may_have_been_executed_is_not_asked_of_another_unless_that_is_harmless() {
    let authority = Authority::new();
    for failure in Failure::ALL.into_iter().filter(|failure| failure.is_ambiguous()) {
        let (failing, good) = (Failing::start(failure, &authority).await, good().await);
        let routes = Routes::new()
            .provider_with("p1", &failing.url, |provider| {
                failing.settings()(provider);
                provider.replay = Default::default();
            })
            .provider("p2", &good.url())
            .model("m1", "x/y", &["p1", "p2"]);
        let world = fresh(routes, &authority).await;
        let reply = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
        assert!(matches!(reply.status, 502 | 504), "{failure:?}: {}", reply.status);
        assert_eq!(good.connections(), 0, "{failure:?}");
    }
}

#[tokio::test]
async fn where_nobody_is_left_the_last_ones_own_answer_goes_through_byte_for_byte() {
    let authority = Authority::new();
    for failure in Failure::ALL {
        let (Failure::Answers(_, status) | Failure::AsksToWait(_, status)) = failure else { continue };
        let retry_after = matches!(failure, Failure::AsksToWait(..)).then_some("60");
        let failing = Failing::start(failure, &authority).await;
        for body in [CHAT_BODY, STREAM_BODY] {
            let routes = Routes::new()
                .provider("p1", &refusing_url().await)
                .provider_with("p2", &failing.url, failing.settings())
                .model("m1", "x/y", &["p1", "p2"]);
            let world = fresh(routes, &authority).await;
            let reply = world.post(&format!("{OPENAI}{CHAT}"), body).await;
            assert_eq!((reply.status, reply.whole), (status, true), "{failure:?}");
            let kept = ["content-type", "retry-after", "x-own"].map(|name| reply.header(name));
            assert_eq!(kept, [Some("application/json"), retry_after, Some("1")], "{failure:?}");
            assert!(reply.body == FAILURE_BODY, "{failure:?}: {:?}", String::from_utf8_lossy(&reply.body));
        }
    }
}
