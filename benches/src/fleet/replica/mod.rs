//! **A simulation** of a model server: it holds requests as an inference server would and says nothing of sense.
//!
//! | | |
//! |---|---|
//! | slots | so many requests run at a time; the others wait, first come first served, and past a bound get 503 |
//! | prefill | so long for each token of the prompt that is not in its KV cache ([`cache`]) |
//! | decode | an event for each token, so far apart |
//! | `POST /v1/chat/completions` | streams only; the head goes out at once, as uvicorn sends it for vLLM, the first event after prefill |
//! | … with `continue_final_message` | the tokens that the last message lacks, as vLLM would say the rest of it |
//! | `GET /health`, `/v1/models` | as of vLLM |
//! | `GET /metrics` | running, waiting and prefix cache hits under vLLM's names |
//! | `GET /get_load` | requests and tokens under way as SGLang says it, which its router asks for |
//!
//! One thread. A client that leaves gives its slot or its place in the line back at once. Absent on purpose: batching effects (slots
//! do not slow each other) and memory pressure, whose models would be guesses.

pub mod cache;
pub mod pace;
mod serve;

use clap::Args;

pub use serve::run;

use pace::PaceArgs;

/// The only model.
pub const MODEL: &str = "bench-model";
/// Counters of tokens: asked for, and found in the cache.
pub const QUERIES_METRIC: &str = "vllm:prefix_cache_queries_total";
pub const HITS_METRIC: &str = "vllm:prefix_cache_hits_total";

#[derive(Debug, Clone, Args)]
pub struct ReplicaArgs {
    /// Port on 127.0.0.1
    #[arg(long)]
    pub port: u16,
    /// Requests that run at a time
    #[arg(long, default_value_t = 8)]
    pub slots: u16,
    /// Requests that may wait for a slot
    #[arg(long, default_value_t = 1024)]
    pub queue: usize,
    /// Blocks of 64 tokens that the KV cache holds
    #[arg(long, default_value_t = 2500)]
    pub cache_blocks: usize,
    /// The head of an answer comes with its first event, not before prefill
    #[arg(long)]
    pub late_head: bool,
    #[command(flatten)]
    pub pace: PaceArgs,
    /// End when standard input does, so as not to outlive whoever started it
    #[arg(long)]
    pub until_stdin_ends: bool,
}
