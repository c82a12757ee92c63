//! The command: one simulated server until SIGTERM, which ends it at once; or the ways in which servers go wrong.

mod misbehaviour;

use clap::Parser;
use misbehaviour::Misbehaviour;
use nim_sim::{Lora, LoraSource, Sim, SimOptions};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A simulated NIM / vLLM model server: real HTTP, no model.
#[derive(Parser)]
#[command(name = "nim-sim", version)]
struct Args {
    /// Where to listen; port 0 takes a free one. Default: all addresses at --port if given, else 127.0.0.1:8000
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The port on all addresses, as a NIM has it
    #[arg(long, env = "NIM_HTTP_API_PORT")]
    port: Option<u16>,
    /// The same under its newer name; --port wins
    #[arg(long, env = "NIM_SERVER_PORT", hide = true)]
    server_port: Option<u16>,
    /// A model id to serve (repeat for several)
    #[arg(long = "model", env = "NIM_SERVED_MODEL_NAME", value_delimiter = ',', default_value = nim_sim::DEFAULT_MODEL)]
    models: Vec<String>,
    /// A LoRA adapter: ID, or ID=BASE (repeat for several)
    #[arg(long = "lora")]
    loras: Vec<String>,
    /// A folder with an adapter in each of its folders; one that is half written ends the server
    #[arg(long, env = "NIM_PEFT_SOURCE")]
    lora_source: Option<PathBuf>,
    /// How often it is looked into after the start, in seconds (0: never)
    #[arg(long, env = "NIM_PEFT_REFRESH_INTERVAL", default_value_t = 0)]
    lora_refresh_s: u64,
    /// How long the model pretends to load
    #[arg(long, default_value_t = 0)]
    ready_after_ms: u64,
    /// The pause between two streamed tokens
    #[arg(long, default_value_t = 0)]
    token_ms: u64,
    /// A fault for every request that names none
    #[arg(long)]
    fault: Option<String>,
    /// Requests must carry `Authorization: Bearer <key>`
    #[arg(long, env = "NIM_SIM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    #[command(flatten)]
    misbehaviour: Misbehaviour,
}

impl Args {
    fn options(self) -> SimOptions {
        let base = self.models.first().cloned().unwrap_or_default();
        let loras = self.loras.iter().map(|lora| match lora.split_once('=') {
            Some((id, parent)) => Lora::new(id, parent),
            None => Lora::new(lora.as_str(), base.as_str()),
        });
        let listen = self.listen.unwrap_or_else(|| match self.port.or(self.server_port) {
            Some(port) => SocketAddr::from(([0, 0, 0, 0], port)),
            None => SocketAddr::from(([127, 0, 0, 1], 8000)),
        });
        SimOptions {
            listen,
            loras: loras.collect(),
            lora_source: self.lora_source.map(|folder| LoraSource {
                folder,
                refresh: (self.lora_refresh_s > 0).then(|| Duration::from_secs(self.lora_refresh_s)),
            }),
            models: self.models,
            ready_after_ms: self.ready_after_ms,
            token_ms: self.token_ms,
            tls: None,
            fault: self.fault,
            api_key: self.api_key,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nim-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> io::Result<ExitCode> {
    // Before listening: a signal during the start must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let misbehaviour = args.misbehaviour.clone();
    misbehaviour.before_listening();
    if let Some(code) = misbehaviour.ends_at_once() {
        return Ok(code);
    }
    let options = args.options();
    let listen = options.listen;
    let sim = Sim::start(options)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot serve on {listen}: {error}")))?;
    println!("nim-sim (a simulation, no model is loaded) listens on {}", sim.url());
    let code = tokio::select! {
        code = misbehaviour.ends() => code,
        () = misbehaviour.keeps_printing() => ExitCode::SUCCESS,
        () = async {
            while terminate.recv().await.is_some() && misbehaviour.ignores_sigterm() {
                println!("nim-sim ignores SIGTERM");
            }
        } => ExitCode::SUCCESS,
        _ = interrupt.recv() => ExitCode::SUCCESS,
        error = sim.follow_loras() => {
            eprintln!("nim-sim: {error}");
            ExitCode::FAILURE
        }
    };
    sim.shutdown().await;
    Ok(code)
}
