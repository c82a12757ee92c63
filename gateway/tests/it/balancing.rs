//! Several providers for one model: who is asked, who is left out, and what the client sees of it.

use std::time::Duration;

use gateway::health::CONSECUTIVE_FAULTS_MAX;
use proto_shared::routing::{ProviderShare, Routing, StickyKey, Strategy};
use proto_shared::snapshot::Replay;

use crate::harness::scripted::{SOON, Scripted, json_reply};
use crate::harness::*;

/// Well beyond what counts as equally fast.
const SLOW: Duration = Duration::from_millis(300);

/// Model `m1`, served by `p1` and `p2`, with one weight each.
fn two(one: &Scripted, other: &Scripted, strategy: Strategy, weights: [u32; 2]) -> Routes {
    let shares = ["p1", "p2"].into_iter().zip(weights).map(|(provider, weight)| ProviderShare {
        model: None,
        workspace: "default".parse().unwrap(),
        provider: provider.parse().unwrap(),
        weight,
        tier: None,
    });
    let routing = Routing { strategy, sticky: StickyKey::Auto, providers: shares.collect() };
    Routes::new()
        .provider("p1", &one.url())
        .provider("p2", &other.url())
        .model("m1", "x/y", &["p1", "p2"])
        .but(|model| model.routing = routing)
}

fn in_order(one: &Scripted, other: &Scripted) -> Routes {
    two(one, other, Strategy::Priority, [1, 1])
}

fn answer(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} Because\r\nContent-Length: 4\r\n{more}\r\nself")
}

async fn chat(world: &World) -> Reply {
    world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await
}

fn passed_over(world: &World) -> Option<f64> {
    world.metric("nimgate_upstream_attempts_total{provider=\"p1\",result=\"passed_over\"")
}

#[tokio::test]
async fn an_answer_that_says_busy_or_failed_is_bettered_on_the_first_request() {
    for status in [429, 500, 503, 529] {
        let (bad, good) = (Scripted::answering(answer(status, "")).await, Scripted::obliging().await);
        let world = World::start(in_order(&bad, &good)).await;
        assert_eq!(chat(&world).await.status, 200, "{status}");
        assert_eq!((bad.heard().len(), good.heard().len(), passed_over(&world)), (1, 1, Some(1.0)));
        world.settled().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_the_clients_fault_or_leaves_open_what_was_done_passes_as_it_is() {
    for status in [400, 401, 403, 404, 408, 413, 422, 501, 502, 504] {
        let (bad, good) = (Scripted::answering(answer(status, "")).await, Scripted::obliging().await);
        let world = World::start(in_order(&bad, &good)).await;
        let reply = chat(&world).await;
        assert_eq!((reply.status, &*reply.text()), (status, "self"));
        assert_eq!((bad.heard().len(), good.heard().len()), (1, 0));
    }
}

#[tokio::test]
async fn on_the_last_candidate_the_upstreams_own_answer_goes_through() {
    let busy = |seconds| answer(503, &format!("Retry-After: {seconds}\r\n"));
    let (one, other) = (Scripted::answering(busy(60)).await, Scripted::answering(busy(61)).await);
    let world = World::start(in_order(&one, &other)).await;
    let reply = chat(&world).await;
    assert_eq!((reply.status, reply.header("retry-after"), &*reply.text()), (503, Some("61"), "self"));
    assert_eq!((one.heard().len(), other.heard().len()), (1, 1));
    // Both have asked to be left alone: one attempt for each request, and no 503 of ours.
    for _ in 0..5 {
        assert_eq!(&*chat(&world).await.text(), "self");
    }
    assert_eq!(one.heard().len() + other.heard().len(), 2 + 5);
}

#[tokio::test]
async fn who_says_how_long_it_is_busy_is_left_alone_so_long() {
    let busy = Scripted::answering(answer(429, "Retry-After: 60\r\n")).await;
    let good = Scripted::obliging().await;
    let world = World::start(in_order(&busy, &good)).await;
    for _ in 0..20 {
        assert_eq!(chat(&world).await.status, 200);
    }
    assert_eq!((busy.heard().len(), good.heard().len()), (1, 20));
}

#[tokio::test]
async fn how_long_it_is_busy_may_be_a_date_by_its_own_clock() {
    let until = |time| {
        answer(
            429,
            &format!("Date: Fri, 31 Dec 1999 23:58:00 GMT\r\nRetry-After: Fri, 31 Dec 1999 {time} GMT\r\n"),
        )
    };
    for (time, asked) in [("23:59:00", 1), ("23:57:00", 5)] {
        let (busy, good) = (Scripted::answering(until(time)).await, Scripted::obliging().await);
        let world = World::start(in_order(&busy, &good)).await;
        for _ in 0..5 {
            assert_eq!(chat(&world).await.status, 200);
        }
        assert_eq!((busy.heard().len(), good.heard().len()), (asked, 5));
    }
}

#[tokio::test]
async fn an_address_that_breaks_is_left_out_and_found_again_when_it_is_back() {
    let bad = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_bad = std::sync::Arc::clone(&bad);
    let upstream = Scripted::start(move |mut line| {
        let is_bad = std::sync::Arc::clone(&is_bad);
        async move {
            while line.request().await.is_some() {
                let fails = is_bad.load(std::sync::atomic::Ordering::SeqCst);
                line.write(if fails { answer(500, "") } else { json_reply("1") }).await;
            }
        }
    })
    .await;
    let good = Scripted::obliging().await;
    let world = World::start(in_order(&upstream, &good)).await;
    let faults = CONSECUTIVE_FAULTS_MAX as usize;
    for _ in 0..faults + 5 {
        assert_eq!(chat(&world).await.status, 200);
    }
    assert_eq!((upstream.heard().len(), good.heard().len()), (faults, faults + 5));
    assert_eq!(world.metric("nimgate_ejections_total{provider=\"p1\""), Some(1.0));
    bad.store(false, std::sync::atomic::Ordering::SeqCst);
    within("the address is asked again", async {
        while upstream.heard().len() < faults + 3 {
            assert_eq!(chat(&world).await.status, 200);
            tokio::task::yield_now().await;
        }
    })
    .await;
    let before = good.heard().len();
    assert_eq!(chat(&world).await.status, 200);
    assert_eq!(good.heard().len(), before, "all goes there again");
}

#[tokio::test]
async fn an_address_whose_answers_break_off_is_left_out_as_well() {
    let broken = Scripted::start(|mut line| async move {
        line.request().await;
        line.write("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"begun\":").await;
    });
    let broken = broken.await;
    let good = Scripted::obliging().await;
    let world = World::start(in_order(&broken, &good)).await;
    let faults = CONSECUTIVE_FAULTS_MAX as usize;
    for _ in 0..faults {
        assert!(!chat(&world).await.whole);
        world.settled().await;
    }
    assert!(chat(&world).await.whole);
    assert_eq!((broken.heard().len(), good.heard().len()), (faults, 1));
}

#[tokio::test]
async fn explain_shows_who_is_left_out() {
    let busy = Scripted::answering(answer(429, "Retry-After: 60\r\n")).await;
    let (broken, good) = (Scripted::answering(answer(500, "")).await, Scripted::obliging().await);
    let world = World::start(in_order(&busy, &broken).provider("p3", &good.url()).but(|model| {
        let p3 = proto_shared::Candidate { provider: "p3".parse().unwrap(), ..model.candidates[0].clone() };
        model.candidates.push(p3);
    }))
    .await;
    for _ in 0..CONSECUTIVE_FAULTS_MAX {
        assert_eq!(chat(&world).await.status, 200);
    }
    let mut admin = RawClient::connect(world.admin).await;
    let shown = admin.ask(&Ask::get("/explain?path=/v1/chat/completions&model=m1")).await.json();
    assert_eq!(shown["strategy"], "priority");
    let standing = |at: usize| shown["candidates"][at]["standing"].as_str().unwrap().to_owned();
    assert_eq!((&*standing(0), &*standing(1), &*standing(2)), ("busy", "out", "open"));
}

#[tokio::test]
async fn when_all_fail_attempts_stay_within_the_budget() {
    let (one, other) =
        (Scripted::answering(answer(500, "")).await, Scripted::answering(answer(500, "")).await);
    let world = World::start(two(&one, &other, Strategy::RoundRobin, [1, 1])).await;
    for _ in 0..200 {
        assert_eq!(chat(&world).await.status, 500);
    }
    let attempts = one.heard().len() + other.heard().len();
    assert!((200..=240).contains(&attempts), "{attempts} attempts for 200 requests");
}

#[tokio::test]
async fn a_silent_upstream_is_given_up_for_another_where_that_is_harmless() {
    let silent = Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await;
    let other = Scripted::obliging().await;
    let routes = Routes::new()
        .provider_with("p1", &silent.url(), |p| {
            p.timeouts.first_byte_timeout_ms = SOON.as_millis() as u64;
            p.replay = Replay::Safe;
        })
        .provider("p2", &other.url())
        .model("m1", "x/y", &["p1", "p2"]);
    let world = World::start(routes).await;
    assert_eq!(chat(&world).await.status, 200);
    silent.left_alone().await;
    assert_eq!((silent.heard().len(), other.heard().len()), (1, 1));
    world.settled().await;
}

#[tokio::test]
async fn a_server_that_sends_its_head_at_once_and_then_thinks_is_a_slow_one() {
    let slow = Scripted::start(|mut line| async move {
        while line.request().await.is_some() {
            line.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
            tokio::time::sleep(SLOW).await;
            line.write("{}").await;
        }
    })
    .await;
    let fast = Scripted::obliging().await;
    let world = World::start(two(&slow, &fast, Strategy::LeastBusy, [1, 1])).await;
    // One answer of the fast one that this machine held up is believed for a while; it doesn't last.
    within("the fast one gets nearly all", async {
        loop {
            let before = slow.heard().len();
            for _ in 0..10 {
                assert_eq!(chat(&world).await.status, 200);
            }
            if slow.heard().len() - before <= 1 {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_user_stays_with_one_arm_of_a_split_and_provider_routes_pin() {
    let (one, other) = (Scripted::obliging().await, Scripted::obliging().await);
    let world = World::start(two(&one, &other, Strategy::Weighted, [1, 1])).await;
    for user in 0..30 {
        let before = one.heard().len();
        for _ in 0..3 {
            let body = format!("{{\"user\":\"u{user}\",\"model\":\"m1\"}}");
            assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), body).await.status, 200);
        }
        assert!(matches!(one.heard().len() - before, 0 | 3), "user {user} changed the arm");
    }
    // All at one of two has a chance of one in five hundred million.
    let (heard, others) = (one.heard().len(), other.heard().len());
    assert!(heard > 0 && others > 0, "{heard}, {others}");
    for _ in 0..5 {
        assert_eq!(world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await.status, 200);
    }
    assert_eq!((one.heard().len(), other.heard().len()), (heard + 5, others));
}

#[tokio::test]
async fn requests_without_a_user_are_split_by_weight() {
    let (one, other) = (Scripted::obliging().await, Scripted::obliging().await);
    let world = World::start(two(&one, &other, Strategy::Weighted, [90, 10])).await;
    for _ in 0..100 {
        assert_eq!(chat(&world).await.status, 200);
    }
    assert!(one.heard().len().abs_diff(90) <= 3, "{}", one.heard().len());
}

#[tokio::test]
async fn a_session_stays_where_its_cache_is() {
    let (one, other) = (Scripted::obliging().await, Scripted::obliging().await);
    let world = World::start(two(&one, &other, Strategy::PrefixAffinity, [1, 1])).await;
    for session in 0..20 {
        let before = one.heard().len();
        for turn in 0..3 {
            let body =
                format!("{{\"model\":\"m1\",\"messages\":[{{\"role\":\"user\",\"content\":\"{turn}\"}}]}}");
            let ask = Ask::post(&format!("{OPENAI}{CHAT}"), body);
            assert_eq!(world.ask(ask.header("x-session-id", &format!("s{session}"))).await.status, 200);
        }
        assert!(matches!(one.heard().len() - before, 0 | 3), "session {session} changed the replica");
    }
    assert!(!one.heard().is_empty() && !other.heard().is_empty());
}

#[tokio::test]
async fn what_was_found_out_about_an_address_outlives_the_table() {
    let busy = Scripted::answering(answer(429, "Retry-After: 60\r\n")).await;
    let good = Scripted::obliging().await;
    let world = World::start(in_order(&busy, &good)).await;
    assert_eq!(chat(&world).await.status, 200);
    world.publish(in_order(&busy, &good)).await;
    for _ in 0..5 {
        assert_eq!(chat(&world).await.status, 200);
    }
    assert_eq!((busy.heard().len(), good.heard().len()), (1, 6));
}
