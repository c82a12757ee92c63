//! How long a simulated model server takes. Pure.

use std::time::Duration;

use clap::Args;

use super::cache::BYTES_PER_TOKEN;

/// What a server takes for its work. A slot works as if it were alone: slots do not slow each other.
#[derive(Debug, Clone, Args)]
pub struct PaceArgs {
    /// Prefill of a token that is not in the cache, microseconds
    #[arg(long, default_value_t = 100)]
    pub prefill_us: u32,
    /// Between two tokens of an answer, milliseconds
    #[arg(long, default_value_t = 20)]
    pub decode_ms: u32,
    /// Tokens of an answer
    #[arg(long, default_value_t = 10)]
    pub tokens: u32,
    /// Everything takes so many times as long
    #[arg(long, default_value_t = 1.0, value_parser = factor)]
    pub slow: f64,
}

fn factor(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.01..=1000.0).contains(&value) { Ok(value) } else { Err("must be from 0.01 to 1000".to_owned()) }
}

impl PaceArgs {
    /// Until the first token of a prompt of which so many bytes are new.
    pub fn prefill(&self, new_bytes: usize) -> Duration {
        let tokens = new_bytes.div_ceil(BYTES_PER_TOKEN) as f64;
        Duration::from_secs_f64(tokens * f64::from(self.prefill_us) * 1e-6 * self.slow)
    }

    /// From one token to the next.
    pub fn decode(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.decode_ms) * 1e-3 * self.slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_beginning_costs_nothing_and_a_slow_server_takes_longer_for_everything() {
        let pace = |slow| PaceArgs { prefill_us: 100, decode_ms: 20, tokens: 10, slow };
        assert_eq!(pace(1.0).prefill(4000), Duration::from_millis(100));
        assert_eq!(pace(1.0).prefill(0), Duration::ZERO);
        assert_eq!(pace(5.0).prefill(4000), Duration::from_millis(500));
        assert_eq!(
            (pace(1.0).decode(), pace(5.0).decode()),
            (Duration::from_millis(20), Duration::from_millis(100))
        );
    }

    #[test]
    fn a_factor_that_means_nothing_is_refused() {
        assert!(factor("0").is_err() && factor("nan").is_err() && factor("x").is_err());
        assert_eq!(factor("5"), Ok(5.0));
    }
}
