//! Each fault, one short specification.

use crate::wire::{CHAT, DEADLINE, End, STREAM, chat, connect, get, post, raw, read_until, rest, sim};
use nim_sim::{Outcome, Sim};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Whatever the marker in the prompt asks for.
async fn marked(sim: &Sim, fault: &str) -> crate::wire::Reply {
    raw(sim.addr(), &post("/v1/chat/completions", "", &CHAT.replace("hello", &format!("[[sim: {fault}]]"))))
        .await
}

#[tokio::test]
async fn a_status_with_retry_after_comes_as_an_error_in_openais_form() {
    let reply = chat(&sim().await, "status=503,retry-after=7", CHAT).await;
    assert_eq!((reply.status(), reply.header("retry-after")), (503, Some("7")));
    assert_eq!(reply.json()["error"]["code"], 503);
}

#[tokio::test]
async fn a_204_has_no_body() {
    let reply = chat(&sim().await, "status=204", CHAT).await;
    assert_eq!((reply.status(), reply.body.len(), reply.complete), (204, 0, true));
}

#[tokio::test]
async fn a_marker_in_the_prompt_works_like_the_header_and_the_header_wins() {
    let sim = sim().await;
    assert_eq!(marked(&sim, "status=429").await.status(), 429);
    let both = chat(&sim, "status=500", &CHAT.replace("hello", "[[sim: status=429]]")).await;
    assert_eq!(both.status(), 500);
}

#[tokio::test]
async fn an_unknown_key_is_refused_by_name() {
    let sim = sim().await;
    for reply in [chat(&sim, "explode", CHAT).await, marked(&sim, "explode").await] {
        assert_eq!(reply.status(), 400);
        assert!(reply.text().contains("`explode`"));
    }
}

#[tokio::test]
async fn hang_reads_the_request_and_never_answers() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    stream.write_all(&post("/v1/chat/completions", "x-sim-fault: hang\r\n", CHAT)).await.unwrap();
    let seen = sim.wait_for(|all| all.iter().any(|r| r.body_complete), DEADLINE).await.unwrap();
    assert_eq!((seen[0].status, seen[0].outcome), (None, Outcome::Open));
    drop(stream);
    sim.wait_for(|all| all[0].client_left(), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn pauses_are_kept() {
    let sim = sim().await;
    for (spec, body) in [
        ("delay-ms=60", CHAT),
        ("silent-ms=60", STREAM),
        ("tokens=4,token-ms=20", STREAM),
        ("drip-ms=15", STREAM),
        ("drip-ms=30,split=90", CHAT),
    ] {
        let start = Instant::now();
        assert!(chat(&sim, spec, body).await.complete, "{spec}");
        assert!(start.elapsed() >= Duration::from_millis(60), "{spec}");
    }
}

#[tokio::test]
async fn silence_comes_after_the_head() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    let request = post("/v1/chat/completions", "x-sim-fault: silent-ms=3600000\r\n", STREAM);
    stream.write_all(&request).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.ends_with("\r\n\r\n"));
}

#[tokio::test]
async fn tokens_sets_their_number() {
    let reply = chat(&sim().await, "tokens=50", STREAM).await;
    // The role and the end are frames too, and so is the terminator.
    assert_eq!(reply.text().matches("data: ").count(), 53);
}

#[tokio::test]
async fn cut_after_ends_the_connection_after_exactly_so_many_bytes() {
    let sim = sim().await;
    for (body, bytes) in [(STREAM, 300), (CHAT, 40), (STREAM, 0)] {
        let reply = chat(&sim, &format!("cut-after={bytes}"), body).await;
        assert_eq!((reply.status(), reply.body.len(), reply.complete), (200, bytes, false));
        assert_eq!(reply.end, End::Fin);
    }
    assert!(sim.requests().iter().all(|r| r.outcome == Outcome::Cut));
}

#[tokio::test]
async fn a_cut_beyond_a_streams_end_still_withholds_the_clean_end() {
    let reply = chat(&sim().await, "cut-after=100000", STREAM).await;
    assert!(reply.text().contains("[DONE]"));
    assert!(!reply.complete);
}

#[tokio::test]
async fn reset_after_resets() {
    let reply = chat(&sim().await, "reset-after=300", STREAM).await;
    assert_eq!((reply.end, reply.complete), (End::Reset, false));
    assert!(reply.body.len() <= 300);
}

#[tokio::test]
async fn cut_utf8_leaves_half_a_character() {
    let sim = sim().await;
    for body in [STREAM, CHAT] {
        let reply = chat(&sim, "cut-utf8", body).await;
        assert!(!reply.complete);
        let error = std::str::from_utf8(&reply.body).unwrap_err();
        assert_eq!(error.error_len(), None, "the character is not wrong but unfinished");
    }
}

#[tokio::test]
async fn no_done_ends_cleanly_without_the_terminator() {
    let reply = chat(&sim().await, "no-done", STREAM).await;
    assert!(reply.complete);
    assert!(!reply.text().contains("[DONE]"));
}

#[tokio::test]
async fn crlf_and_comments_change_the_framing_only() {
    let sim = sim().await;
    let text = chat(&sim, "crlf,comments", STREAM).await.text();
    assert!(text.starts_with(": ping\r\n\r\nevent: message\r\ndata: {"));
    assert!(text.ends_with("data: [DONE]\r\n\r\n"));
    assert!(!text.replace("\r\n", "").contains('\n'));
}

#[tokio::test]
async fn big_makes_a_large_answer() {
    let reply = chat(&sim().await, "big=3000000", CHAT).await;
    assert!(reply.complete);
    assert!((3_000_000..3_001_000).contains(&reply.body.len()));
}

#[tokio::test]
async fn close_says_so_and_does_so() {
    let sim = sim().await;
    let request = post("/v1/chat/completions", "x-sim-fault: close\r\n", CHAT);
    let keep_alive = String::from_utf8(request).unwrap().replace("connection: close\r\n", "");
    let reply = raw(sim.addr(), keep_alive.as_bytes()).await;
    assert_eq!((reply.header("connection"), reply.complete), (Some("close"), true));
}

#[tokio::test]
async fn early_answers_while_the_client_still_uploads() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    let head =
        "POST /echo/x HTTP/1.1\r\nhost: sim\r\nx-sim-fault: early=5\r\ncontent-length: 5000000\r\n\r\n12345";
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = rest(&mut stream).await;
    assert_eq!((reply.status(), reply.header("connection"), reply.complete), (413, Some("close"), true));
    let seen = sim.requests();
    assert_eq!((seen[0].body_len, seen[0].body_complete), (5, false));
}

#[tokio::test]
async fn redirects_and_cookies_are_sent_as_asked() {
    let sim = sim().await;
    let moved = chat(&sim, "redirect=http://example.test/x", CHAT).await;
    assert_eq!((moved.status(), moved.header("location")), (307, Some("http://example.test/x")));
    let cookie = chat(&sim, "set-cookie", CHAT).await;
    assert!(cookie.header("set-cookie").unwrap().starts_with("sim=1"));
}

#[tokio::test]
async fn echo_auth_puts_the_received_key_into_a_401() {
    let headers = "x-sim-fault: echo-auth\r\nauthorization: Bearer sk-secret\r\n";
    let reply = raw(sim().await.addr(), &post("/v1/chat/completions", headers, CHAT)).await;
    assert_eq!(reply.status(), 401);
    assert!(reply.text().contains("Bearer sk-secret"));
}

#[tokio::test]
async fn split_cuts_writes_anywhere_and_changes_no_byte() {
    let sim = sim().await;
    let request = post("/v1/chat/completions", "x-sim-fault: split=7\r\n", STREAM);
    let mut stream = connect(sim.addr()).await;
    stream.write_all(&request).await.unwrap();
    let text = read_until(&mut stream, "0\r\n\r\n").await;
    let body = text.split_once("\r\n\r\n").unwrap().1;
    assert!(body.starts_with("7\r\ndata: {\r\n7\r\n"), "{body}");
    assert!(chat(&sim, "split=7", STREAM).await.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn http10_answers_are_ended_by_closing() {
    let reply = chat(&sim().await, "http10", STREAM).await;
    assert!(reply.head.starts_with("HTTP/1.0 200"));
    assert_eq!((reply.header("transfer-encoding"), reply.header("content-length")), (None, None));
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_fault_of_the_process_concerns_its_path_and_number_of_requests() {
    let sim = sim().await;
    sim.set_fault("status=503,times=1,path=/v1/chat").unwrap();
    assert_eq!(raw(sim.addr(), &get("/v1/models", "")).await.status(), 200);
    assert_eq!(chat_plain(&sim).await, 503);
    assert_eq!(chat_plain(&sim).await, 200);
}

async fn chat_plain(sim: &Sim) -> u16 {
    raw(sim.addr(), &post("/v1/chat/completions", "", CHAT)).await.status()
}

#[tokio::test]
async fn a_fault_of_the_process_is_set_and_cleared_over_http() {
    let sim = sim().await;
    let put = |spec: &str| {
        let request = String::from_utf8(post("/__sim/fault", "", spec)).unwrap();
        request.replacen("POST", "PUT", 1).into_bytes()
    };
    assert_eq!(raw(sim.addr(), &put("status=418")).await.status(), 204);
    assert_eq!(chat_plain(&sim).await, 418);
    assert_eq!(raw(sim.addr(), &put("")).await.status(), 204);
    assert_eq!(chat_plain(&sim).await, 200);
    assert_eq!(raw(sim.addr(), &put("nonsense")).await.status(), 400);
}

#[tokio::test]
async fn refuse_closes_connections_without_a_word() {
    let sim = sim().await;
    sim.set_fault("refuse,times=1").unwrap();
    let mut refused = connect(sim.addr()).await;
    assert_eq!(rest(&mut refused).await.head, "");
    assert_eq!(chat_plain(&sim).await, 200);
}
