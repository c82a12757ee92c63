//! How often the gateway allocates for one request on the hot path: a 1 KB chat request on the OpenAI
//! route, model found and spliced, the public id put back. The number is kept here so that a change
//! which allocates per header or per byte is seen.
//!
//! Client and upstream are blocking threads with fixed buffers, so that all that is counted is the
//! gateway's. One test in a binary of its own: the counter sees the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use gateway::cors::AllowedOrigins;
use gateway::{AccessLog, Gateway, GatewayConfig, Limits, RegistryAddress, Stop};
use proto_shared::egress::EgressPolicy;
use proto_shared::{KeyRing, RouteSnapshot};
use sha2::{Digest, Sha256};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measured 19.3, and 28 KB (`cargo test -p gateway --test allocations -- --nocapture`). The rest is room for
/// the background (feed, timers).
const ALLOCATIONS_PER_REQUEST_MAX: f64 = 23.0;
/// Most of it is two read buffers; a growth of this hints at a copy of the body.
const BYTES_PER_REQUEST_MAX: f64 = 48.0 * 1024.0;
const BATCHES: usize = 5;
const REQUESTS: usize = 300;

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 73\r\n\r\n\
    {\"id\":\"c1\",\"object\":\"chat.completion\",\"model\":\"served-name\",\"choices\":[]}";

#[test]
fn a_request_on_the_hot_path_allocates_a_bounded_number_of_times() {
    let upstream = serve_upstream();
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let snapshot_path = folder.path().join("routes.json");
    save(&snapshot_path, &snapshot(upstream));
    let config = GatewayConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        registry: RegistryAddress::Unix(folder.path().join("nobody")),
        snapshot_path: Some(snapshot_path),
        egress: EgressPolicy::local(),
        limits: Limits::default(),
        access_log: AccessLog::Off,
        cors: AllowedOrigins::default(),
        upstream_ca: None,
        names: gateway::Names::System,
    };
    let key = Arc::new(KeyRing::generate().unwrap());
    let gateway = runtime.block_on(Gateway::bind(config, key, None)).unwrap();
    let address = gateway.addresses()[0];
    let (stop, stopped) = tokio::sync::watch::channel(Stop::Run);
    let running = runtime.spawn(gateway.run(stopped));

    let mut client = TcpStream::connect(address).unwrap();
    let request = request();
    let mut buffer = [0; 16 * 1024];
    ask(&mut client, &request, &mut buffer, REQUESTS);
    let counted = (0..BATCHES).map(|_| {
        let region = Region::new(ALLOCATOR);
        ask(&mut client, &request, &mut buffer, REQUESTS);
        let change = region.change();
        let each = |n: usize| n as f64 / REQUESTS as f64;
        (each(change.allocations + change.reallocations), each(change.bytes_allocated))
    });
    // The least of the batches: what the background does comes and goes.
    let (allocations, bytes) = counted.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("{allocations:.1} allocations, {bytes:.0} bytes a request");
    assert!(allocations > 1.0, "nothing was counted");
    assert!(allocations <= ALLOCATIONS_PER_REQUEST_MAX, "{allocations} allocations a request");
    assert!(bytes <= BYTES_PER_REQUEST_MAX, "{bytes} bytes a request");

    drop(client);
    stop.send_replace(Stop::Now);
    runtime.block_on(running).unwrap();
}

fn request() -> Vec<u8> {
    let body = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}],\"model\":\"m1\"}}",
        "word ".repeat(180)
    );
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer x\r\nAccept: application/json\r\n\
                User-Agent: OpenAI/Python 1.0\r\nX-Stainless-Lang: python\r\nX-Stainless-OS: Linux\r\n\
                Content-Type: application/json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Sends `request` and reads its answer, `times` times, without allocating.
fn ask(client: &mut TcpStream, request: &[u8], buffer: &mut [u8], times: usize) {
    for _ in 0..times {
        client.write_all(request).unwrap();
        let got = read_message(client, buffer);
        let body = &buffer[..got];
        assert!(find(body, b"default/m1").is_some(), "{}", String::from_utf8_lossy(body));
    }
}

/// Reads one message with a length into the buffer; gives its size.
fn read_message(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut got = 0;
    loop {
        let n = stream.read(&mut buffer[got..]).unwrap();
        if n == 0 {
            return 0;
        }
        got += n;
        let Some(head) = find(&buffer[..got], b"\r\n\r\n") else { continue };
        let at = find_ignoring_case(&buffer[..head], b"content-length: ").unwrap() + 16;
        let digits = buffer[at..head].iter().take_while(|b| b.is_ascii_digit());
        let length = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        if got >= head + 4 + length {
            return got;
        }
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part == word)
}

fn find_ignoring_case(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|part| part.eq_ignore_ascii_case(word))
}

/// A back end that answers everything alike, on threads with fixed buffers.
fn serve_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while read_message(&mut stream, &mut buffer) > 0 {
                    stream.write_all(REPLY).unwrap();
                }
            });
        }
    });
    address
}

fn snapshot(upstream: SocketAddr) -> RouteSnapshot {
    serde_json::from_value(serde_json::json!({
        "format": 1, "installation": "i", "generation": 1, "workspaces": ["default"],
        "providers": [{ "workspace": "default", "name": "p1", "host_url": format!("http://{upstream}"), "ready": true }],
        "models": [{
            "workspace": "default", "name": "m1", "created": 0,
            "candidates": [{ "workspace": "default", "provider": "p1", "served_name": "served-name" }]
        }]
    }))
    .unwrap()
}

/// The form of a saved snapshot: a line with the hash of what follows, which is a line of the feed.
fn save(path: &Path, snapshot: &RouteSnapshot) {
    let json = serde_json::to_vec(&serde_json::json!({ "snapshot": snapshot })).unwrap();
    let hash: String = Sha256::digest(&json).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(path, [format!("nimgate-snapshot 1 {hash}\n").as_bytes(), &json].concat()).unwrap();
}
