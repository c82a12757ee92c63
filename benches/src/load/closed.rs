//! Closed loop: each connection sends its next request when it has the answer to the last one.
//!
//! One thread. What is in the air at the edges of the window counts by the bytes that came within
//! it, so that long streams are not lost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::{Edge, Failure, Report, Target};
use crate::error::BenchError;
use crate::wire::Reply;

const READ_BYTES: usize = 32 * 1024;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);

#[derive(Debug, Clone)]
pub struct ClosedPlan {
    pub connections: usize,
    pub warm_up: Duration,
    pub window: Duration,
    /// The connections begin spread over this, so that streams don't march in step.
    pub spread: Duration,
}

#[derive(Default)]
struct Shared {
    measuring: Cell<bool>,
    body_bytes: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    latencies: RefCell<Vec<Duration>>,
    first_bytes: RefCell<Vec<Duration>>,
}

/// Loads `target`; `edge` is called when the window begins and when it ends, under load.
pub fn closed(target: &Target, plan: &ClosedPlan, mut edge: impl FnMut(Edge)) -> Result<Report, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::io("can't start a runtime"))?;
    let shared = Rc::new(Shared::default());
    let tasks = LocalSet::new();
    let window = tasks.block_on(&runtime, async {
        for number in 0..plan.connections {
            let wait = plan.spread.mul_f64(number as f64 / plan.connections as f64);
            tokio::task::spawn_local(client(target.clone(), number, wait, Rc::clone(&shared)));
        }
        tokio::time::sleep(plan.warm_up).await;
        edge(Edge::Begin);
        let start = Instant::now();
        shared.measuring.set(true);
        tokio::time::sleep(plan.window).await;
        shared.measuring.set(false);
        let window = start.elapsed();
        edge(Edge::End);
        window
    });
    drop(tasks);
    Ok(Report {
        window,
        requests: shared.body_bytes.get() as f64 / target.body_bytes.max(1) as f64,
        errors: shared.errors.get(),
        first_error: shared.first_error.take(),
        latencies: shared.latencies.take(),
        first_bytes: shared.first_bytes.take(),
    })
}

async fn client(target: Target, first: usize, wait: Duration, shared: Rc<Shared>) {
    tokio::time::sleep(wait).await;
    let mut buffer = vec![0; READ_BYTES];
    let mut kept = None;
    for number in first.. {
        let stream = match kept.take() {
            Some(stream) => Ok(stream),
            None => TcpStream::connect(target.address).await.and_then(|s| s.set_nodelay(true).map(|()| s)),
        };
        let exchanged = match stream {
            Ok(stream) => exchange(stream, &target, number, &mut buffer, &shared).await,
            Err(error) => Err(error.into()),
        };
        match exchanged {
            Ok(stream) => kept = stream,
            Err(error) => {
                shared.errors.set(shared.errors.get() + 1);
                shared.first_error.borrow_mut().get_or_insert_with(|| error.to_string());
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// One request and its answer; gives the connection back if it stays open.
async fn exchange(
    mut stream: TcpStream,
    target: &Target,
    number: usize,
    buffer: &mut [u8],
    shared: &Shared,
) -> Result<Option<TcpStream>, Failure> {
    let start = Instant::now();
    let counted = shared.measuring.get();
    stream.write_all(&target.request(number)).await?;
    let mut reply = Reply::new();
    let mut first_byte = None;
    while !reply.is_done() {
        let count = stream.read(buffer).await?;
        if count == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let decoded = reply.feed(buffer.get(..count).unwrap_or_default())?;
        if decoded > 0 {
            first_byte.get_or_insert_with(|| start.elapsed());
        }
        if shared.measuring.get() {
            shared.body_bytes.set(shared.body_bytes.get() + decoded);
        }
    }
    target.check(&reply)?;
    if counted && shared.measuring.get() {
        shared.latencies.borrow_mut().push(start.elapsed());
        shared.first_bytes.borrow_mut().extend(first_byte);
    }
    Ok((!reply.closes).then_some(stream))
}
