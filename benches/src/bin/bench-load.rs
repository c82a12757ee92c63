//! The load generator alone, for a gateway that runs already.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use benches::control::Client;
use benches::load::{ClosedPlan, OpenPlan, Report, Target, Until, closed, hold, open};
use benches::prompts::Prompt;
use benches::stats::Percentiles;
use benches::{BenchError, wire};
use clap::{Parser, ValueEnum};

const WARM_UP: Duration = Duration::from_millis(250);
const PACED_PAUSE_MS: u64 = 10;

/// Loads a gateway with chat requests and tells what came back.
///
/// Without --rate, each connection sends its next request when it has the answer (closed loop). With
/// --rate, requests go out at that rate and latency counts from the moment each was due.
#[derive(Parser)]
struct Options {
    /// Address to load, such as 127.0.0.1:8080
    address: SocketAddr,
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    #[arg(long, default_value = "default/bench-model")]
    model: String,
    #[arg(long, value_enum, default_value = "small")]
    body: Body,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests a second, in all
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Send no load: open the connections, one request on each, and hold them
    #[arg(long)]
    hold: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Body {
    /// 1 KB
    Small,
    /// 100 KB
    Big,
    /// A stream of 50 events at once
    Burst,
    /// A stream of 50 events, 10 ms apart
    Paced,
}

fn main() -> ExitCode {
    benches::program::main(run)
}

fn run(options: &Options) -> Result<(), BenchError> {
    let prompt = match options.body {
        Body::Small => Prompt::Small,
        Body::Big => Prompt::Big,
        Body::Burst => Prompt::Burst,
        Body::Paced => Prompt::Paced { pause_ms: PACED_PAUSE_MS },
    };
    let request = wire::request("POST", &options.path, Some(&prompt.body(&options.model)));
    let first = Client::new(options.address).send(&request)?;
    if first.status != 200 {
        let text = String::from_utf8_lossy(first.body()).into_owned();
        return Err(BenchError::wrong(options.address.to_string(), format!("{} {text}", first.status)));
    }
    let body_bytes = first.body_bytes;
    let target = Target { address: options.address, requests: [request].into(), body_bytes };
    let window = Duration::from_secs_f64(options.secs);
    let connections = options.connections;
    if options.hold {
        let until = if prompt.is_stream() { Until::Begun } else { Until::Answered };
        let held: Vec<TcpStream> = hold(&target, connections, until)?;
        println!("{} connections are open for {} s", held.len(), options.secs);
        std::thread::sleep(window);
        return Ok(());
    }
    let mut report = match options.rate {
        Some(rate_per_s) => open(&target, &OpenPlan { rate_per_s, connections, window }, |_| {})?,
        None => {
            let plan = ClosedPlan { connections, warm_up: WARM_UP, window, spread: Duration::ZERO };
            closed(&target, &plan, |_| {})?
        }
    };
    print(&mut report);
    Ok(())
}

fn print(report: &mut Report) {
    let (l, f) = (Percentiles::of(&mut report.latencies), Percentiles::of(&mut report.first_bytes));
    let rate = report.requests / report.window.as_secs_f64();
    println!("requests    {:.0} ({rate:.0} a second)", report.requests);
    println!("errors      {} {}", report.errors, report.first_error.as_deref().unwrap_or_default());
    println!(
        "latency     p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0} us",
        l.p50_us, l.p90_us, l.p99_us, l.p999_us, l.max_us
    );
    println!("first byte  p50 {:.0}  p90 {:.0}  p99 {:.0} us", f.p50_us, f.p90_us, f.p99_us);
}
