//! Open loop: requests go out at a fixed rate whatever the answers do.
//!
//! Latency counts from the moment a request was due, not from the moment it could be sent: a server that
//! stalls pays for everybody who waited (no coordinated omission). Threads with blocking sockets:
//! at these rates the timer and the wake-up of a shared event loop would be a good part of what is
//! measured.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Edge, Failure, Report, Target};
use crate::error::BenchError;
use crate::wire::Reply;

const READ_BYTES: usize = 32 * 1024;
const THREAD_STACK_BYTES: usize = 128 * 1024;
/// How long answers may come in after the last request went out.
const LINGER: Duration = Duration::from_secs(5);
/// A connection that can't be made again is tried again this often.
const RECONNECTS_MAX: usize = 100;

#[derive(Debug, Clone)]
pub struct OpenPlan {
    pub rate_per_s: f64,
    /// At most so many requests in the air; a request that is due when all are taken waits.
    pub connections: usize,
    pub window: Duration,
}

struct Shared {
    target: Target,
    epoch: Instant,
    lanes: Vec<Lane>,
    /// Lanes without a request in the air. The last one that was freed is the first to be used.
    idle: Mutex<Vec<usize>>,
    freed: Condvar,
    ending: AtomicBool,
}

struct Lane {
    sending: Mutex<TcpStream>,
    /// When its request was due, in nanoseconds since the epoch.
    due_ns: AtomicU64,
}

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    first_bytes: Vec<Duration>,
    errors: u64,
    first_error: Option<String>,
}

/// Loads `target`; `edge` is called before the first request and after the last answer.
pub fn open(target: &Target, plan: &OpenPlan, mut edge: impl FnMut(Edge)) -> Result<Report, BenchError> {
    let (shared, readers) = start(target, plan.connections)?;
    without_timer_slack();
    edge(Edge::Begin);
    let begin = Instant::now();
    let total = (plan.rate_per_s * plan.window.as_secs_f64()) as usize;
    let unsent = pace(&shared, plan, total);
    let answered = all_idle(&shared);
    let window = begin.elapsed();
    edge(Edge::End);
    shared.ending.store(true, Ordering::SeqCst);
    for lane in &shared.lanes {
        let _ = lock(&lane.sending).shutdown(Shutdown::Both);
    }
    let mut sum = Outcome::default();
    for reader in readers {
        let part = reader.join().unwrap_or_default();
        sum.latencies.extend(part.latencies);
        sum.first_bytes.extend(part.first_bytes);
        sum.errors += part.errors;
        sum.first_error = sum.first_error.or(part.first_error);
    }
    let missing = (total - unsent).saturating_sub(sum.latencies.len() + sum.errors as usize) + unsent;
    if missing > 0 || !answered {
        sum.errors += missing as u64;
        sum.first_error = sum.first_error.or(Some(Failure::Late.to_string()));
    }
    Ok(Report {
        window,
        requests: sum.latencies.len() as f64,
        errors: sum.errors,
        first_error: sum.first_error,
        latencies: sum.latencies,
        first_bytes: sum.first_bytes,
    })
}

fn start(target: &Target, connections: usize) -> Result<(Arc<Shared>, Vec<JoinHandle<Outcome>>), BenchError> {
    let connected = (0..connections).map(|_| connect(target)).collect::<Result<Vec<_>, _>>();
    let receiving = connected.map_err(BenchError::io(format!("can't connect to {}", target.address)))?;
    let lane = |stream: &TcpStream| {
        let sending = Mutex::new(stream.try_clone()?);
        Ok(Lane { sending, due_ns: AtomicU64::new(0) })
    };
    let lanes = receiving.iter().map(lane).collect::<Result<Vec<_>, std::io::Error>>();
    let shared = Arc::new(Shared {
        target: target.clone(),
        epoch: Instant::now(),
        lanes: lanes.map_err(BenchError::io("can't share a connection"))?,
        idle: Mutex::new((0..connections).collect()),
        freed: Condvar::new(),
        ending: AtomicBool::new(false),
    });
    let mut readers = Vec::new();
    for (number, stream) in receiving.into_iter().enumerate() {
        let shared = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || receive(&shared, number, stream))
            .map_err(BenchError::io("can't start a thread"))?;
        readers.push(spawned);
    }
    Ok((shared, readers))
}

fn connect(target: &Target) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends `total` requests, each when it is due; gives how many could not be sent.
fn pace(shared: &Shared, plan: &OpenPlan, total: usize) -> usize {
    let begin = shared.epoch.elapsed();
    for number in 0..total {
        let due = begin + Duration::from_secs_f64(number as f64 / plan.rate_per_s);
        if let Some(wait) = due.checked_sub(shared.epoch.elapsed()) {
            thread::sleep(wait);
        }
        let Some(index) = take_idle(shared) else { return total - number };
        let Some(lane) = shared.lanes.get(index) else { return total - number };
        lane.due_ns.store(due.as_nanos() as u64, Ordering::SeqCst);
        let sent = lock(&lane.sending).write_all(&shared.target.request(number));
        if sent.is_err() {
            // The reader sees it too, and counts it.
            let _ = lock(&lane.sending).shutdown(Shutdown::Both);
        }
    }
    0
}

fn take_idle(shared: &Shared) -> Option<usize> {
    let idle = lock(&shared.idle);
    let waited = shared.freed.wait_timeout_while(idle, LINGER, |idle| idle.is_empty());
    waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.pop()
}

/// Whether every answer came in.
fn all_idle(shared: &Shared) -> bool {
    let idle = lock(&shared.idle);
    let lanes = shared.lanes.len();
    let waited = shared.freed.wait_timeout_while(idle, LINGER, |idle| idle.len() < lanes);
    !waited.unwrap_or_else(|poisoned| poisoned.into_inner()).1.timed_out()
}

/// Reads the answers of one lane until the end.
fn receive(shared: &Shared, number: usize, mut stream: TcpStream) -> Outcome {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; READ_BYTES];
    let Some(lane) = shared.lanes.get(number) else { return outcome };
    loop {
        let answer = read_answer(shared, lane, &mut stream, &mut buffer);
        if shared.ending.load(Ordering::SeqCst) {
            return outcome;
        }
        let reconnect = match answer {
            Ok(Answer { first_byte, latency, closes }) => {
                outcome.first_bytes.push(first_byte);
                outcome.latencies.push(latency);
                closes
            }
            Err(error) => {
                // An idle connection that the server closed is nobody's failure.
                let was_idle = lock(&shared.idle).contains(&number);
                if !was_idle {
                    outcome.errors += 1;
                    outcome.first_error.get_or_insert_with(|| error.to_string());
                }
                true
            }
        };
        if reconnect {
            match replace(shared, lane) {
                Some(fresh) => stream = fresh,
                None => return outcome,
            }
        }
        let mut idle = lock(&shared.idle);
        if !idle.contains(&number) {
            idle.push(number);
        }
        shared.freed.notify_all();
    }
}

fn replace(shared: &Shared, lane: &Lane) -> Option<TcpStream> {
    let fresh = (0..RECONNECTS_MAX)
        .find_map(|_| connect(&shared.target).map_err(|_| thread::sleep(Duration::from_millis(10))).ok())?;
    *lock(&lane.sending) = fresh.try_clone().ok()?;
    Some(fresh)
}

struct Answer {
    first_byte: Duration,
    latency: Duration,
    closes: bool,
}

fn read_answer(
    shared: &Shared,
    lane: &Lane,
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<Answer, Failure> {
    let mut reply = Reply::new();
    let mut first_byte = None;
    let since_due = || {
        let due = Duration::from_nanos(lane.due_ns.load(Ordering::SeqCst));
        shared.epoch.elapsed().saturating_sub(due)
    };
    while !reply.is_done() {
        let count = stream.read(buffer)?;
        if count == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if reply.feed(buffer.get(..count).unwrap_or_default())? > 0 {
            first_byte.get_or_insert_with(since_due);
        }
    }
    let latency = since_due();
    shared.target.check(&reply)?;
    Ok(Answer { first_byte: first_byte.unwrap_or(latency), latency, closes: reply.closes })
}

/// Sleeps of this thread end when they should, instead of up to 50 µs later. Best effort.
fn without_timer_slack() {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    if let Some(id) = thread.as_deref().and_then(|path| path.file_name()) {
        let _ = std::fs::write(std::path::Path::new("/proc").join(id).join("timerslack_ns"), "1");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
