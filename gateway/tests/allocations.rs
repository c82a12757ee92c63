//! How often the hot path allocates: a bound that shows when it grows.
//!
//! The gateway has a thread of its own here, and only that thread's allocations are counted: clients
//! and upstream are elsewhere and speak plain sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gateway::{AccessLog, Gateway, GatewayConfig, Limits, RegistryAddress, Stop};
use proto_shared::MasterKey;
use proto_shared::egress::EgressPolicy;
use tokio::sync::{oneshot, watch};

const WARM_UP_REQUESTS: usize = 200;
const MEASURED_REQUESTS: usize = 1_000;
/// What a warmed-up chat request of 1 KB may cost on the OpenAI route, with its answer of 1 KB: a
/// little above what it does cost. Lower these when it gets cheaper.
const ALLOCATIONS_PER_REQUEST_MAX: f64 = 21.0;
const BYTES_PER_REQUEST_MAX: f64 = 40_000.0;
const DEADLINE: Duration = Duration::from_secs(20);

fn config(folder: &Path) -> GatewayConfig {
    let free_port = "127.0.0.1:0".parse().unwrap();
    GatewayConfig {
        listen: vec![free_port],
        admin_listen: free_port,
        tls: None,
        registry: RegistryAddress::Unix(folder.join("registry.sock")),
        snapshot_path: None,
        egress: EgressPolicy::local(),
        limits: Limits::default(),
        access_log: AccessLog::Off,
        upstream_ca: None,
    }
}

/// A registry that says one thing and then nothing: a provider, and a model it serves.
fn start_registry(socket: &Path, upstream: SocketAddr) {
    let listener = UnixListener::bind(socket).unwrap();
    let line = serde_json::json!({"snapshot": {
        "format": 1,
        "installation": "fake",
        "generation": 1,
        "workspaces": ["default"],
        "providers": [{"workspace": "default", "name": "p1", "host_url": format!("http://{upstream}/v1")}],
        "models": [{"workspace": "default", "name": "m1", "created": 0, "candidates": [
            {"workspace": "default", "provider": "p1", "served_name": "meta/llama-3.1-8b-instruct"}]}],
    }});
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream, &mut Vec::new());
        let line = format!("{line}\n");
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        write!(stream, "{head}{:x}\r\n{line}\r\n", line.len()).unwrap();
        // Silent, but there.
        let _ = stream.read(&mut [0]);
    });
}

/// An upstream that gives every chat request the same answer of 1 KB.
fn start_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = chat_reply();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                while read_message(&mut stream, &mut seen).is_some() {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

fn chat_request() -> String {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"{}"}}],"temperature":0.7,"model":"m1","stream":false}}"#,
        "word ".repeat(190)
    );
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway.test\r\nuser-agent: OpenAI/Python 1.0\r\n\
                accept: application/json\r\ncontent-type: application/json\r\nauthorization: Bearer sk-client\r\n\
                x-stainless-lang: python\r\nx-stainless-os: Linux\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

fn chat_reply() -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","model":"meta/llama-3.1-8b-instruct","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}}}}]}}"#,
        "word ".repeat(160)
    )
}

/// Reads a head off the stream; what follows it stays in `seen`.
fn read_head(stream: &mut impl Read, seen: &mut Vec<u8>) -> Option<String> {
    let mut piece = [0; 4096];
    loop {
        if let Some(at) = memchr::memmem::find(seen, b"\r\n\r\n") {
            return Some(String::from_utf8(seen.drain(..at + 4).collect()).unwrap());
        }
        match stream.read(&mut piece) {
            Ok(n @ 1..) => seen.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    }
}

/// Reads a message with a length; gives its body.
fn read_message(stream: &mut impl Read, seen: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head = read_head(stream, seen)?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut piece = [0; 4096];
    while seen.len() < length {
        let n = stream.read(&mut piece).ok().filter(|n| *n > 0)?;
        seen.extend_from_slice(&piece[..n]);
    }
    Some(seen.drain(..length).collect())
}

/// Where the gateway listens, and how it is told what to count.
struct Running {
    address: SocketAddr,
    begin: oneshot::Sender<()>,
    end: oneshot::Sender<()>,
    counted: mpsc::Receiver<allocation_counter::AllocationInfo>,
}

fn start_gateway(config: GatewayConfig) -> Running {
    let (begin, begun) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let (tell_address, address) = mpsc::channel();
    let (tell_count, counted) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_stop, stopping) = watch::channel(Stop::Run);
        let key = Arc::new(MasterKey::generate().unwrap());
        runtime.block_on(async {
            let gateway = Gateway::bind(config, key, None).await.unwrap();
            let (address, app) = (gateway.addresses()[0], gateway.app());
            tokio::spawn(gateway.run(stopping));
            assert!(app.routes.wait_for(1, DEADLINE).await);
            tell_address.send(address).unwrap();
            begun.await.unwrap();
        });
        let info = allocation_counter::measure(|| runtime.block_on(ended).unwrap());
        tell_count.send(info).unwrap();
    });
    Running { address: address.recv_timeout(DEADLINE).unwrap(), begin, end, counted }
}

#[test]
fn a_warmed_up_chat_request_allocates_little() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = start_upstream();
    start_registry(&folder.path().join("registry.sock"), upstream);
    let gateway = start_gateway(config(folder.path()));
    let mut client = TcpStream::connect(gateway.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let (request, mut seen) = (chat_request(), Vec::new());
    let expected = chat_reply().replace("meta/llama-3.1-8b-instruct", "default/m1");
    let mut ask = |count: usize| {
        for _ in 0..count {
            client.write_all(request.as_bytes()).unwrap();
            let body = read_message(&mut client, &mut seen).unwrap();
            assert_eq!(body, expected.as_bytes());
        }
    };
    ask(WARM_UP_REQUESTS);
    gateway.begin.send(()).unwrap();
    ask(MEASURED_REQUESTS);
    gateway.end.send(()).unwrap();
    let info = gateway.counted.recv_timeout(DEADLINE).unwrap();
    let each = |total: u64| total as f64 / MEASURED_REQUESTS as f64;
    let (count, bytes) = (each(info.count_total), each(info.bytes_total));
    println!("{count:.2} allocations and {bytes:.0} bytes a request of 1 KB, answered with 1 KB");
    assert!(info.count_current < 100, "something grows: {} allocations stayed", info.count_current);
    assert!(count <= ALLOCATIONS_PER_REQUEST_MAX, "{count:.2} allocations a request");
    assert!(bytes <= BYTES_PER_REQUEST_MAX, "{bytes:.0} bytes a request");
}
