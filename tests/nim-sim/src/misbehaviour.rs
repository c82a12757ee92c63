//! Ways in which a server's process goes wrong, for those who look after processes and containers.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct Misbehaviour {
    /// End with this code: at once, or after --exit-after-ms
    #[arg(long)]
    exit_code: Option<u8>,
    /// How long to serve before ending with --exit-code
    #[arg(long, requires = "exit_code")]
    exit_after_ms: Option<u64>,
    /// Go on at SIGTERM
    #[arg(long)]
    ignore_sigterm: bool,
    /// Print so many numbered lines first
    #[arg(long, default_value_t = 0)]
    print_lines: u64,
    /// Print one line of so many KiB first
    #[arg(long, default_value_t = 0)]
    print_long_line_kib: usize,
    /// Print a numbered line each time that so much time passed
    #[arg(long)]
    print_every_ms: Option<u64>,
    /// Print a variable of the environment first (repeat for several)
    #[arg(long, value_name = "NAME")]
    print_env: Vec<String>,
    /// Print a file first (repeat for several)
    #[arg(long, value_name = "PATH")]
    print_file: Vec<String>,
    /// Write a file first, with the word "written" in it (repeat for several)
    #[arg(long, value_name = "PATH")]
    write_file: Vec<String>,
    /// Use so much memory first
    #[arg(long, default_value_t = 0)]
    allocate_mib: usize,
}

impl Misbehaviour {
    pub fn before_listening(&self) {
        for number in 0..self.print_lines {
            println!("line {number}");
        }
        if self.print_long_line_kib > 0 {
            println!("{}", "x".repeat(self.print_long_line_kib << 10));
        }
        for name in &self.print_env {
            match std::env::var(name) {
                Ok(value) => println!("{name}={value}"),
                Err(_) => println!("{name} is not set"),
            }
        }
        for path in &self.write_file {
            match std::fs::write(path, "written") {
                Ok(()) => println!("{path}: written"),
                Err(error) => println!("{path}: {error}"),
            }
        }
        for path in &self.print_file {
            match std::fs::read_to_string(path) {
                Ok(text) => println!("{path}: {}", text.trim_end()),
                Err(error) => println!("{path}: {error}"),
            }
        }
        // Not zero: pages of zeros cost nothing.
        let ballast = vec![1_u8; self.allocate_mib << 20];
        std::hint::black_box(&ballast);
    }

    /// The code when it never comes to serving.
    pub fn ends_at_once(&self) -> Option<ExitCode> {
        self.exit_code.filter(|_| self.exit_after_ms.is_none()).map(ExitCode::from)
    }

    /// Never ends by itself.
    pub async fn keeps_printing(&self) {
        let Some(every) = self.print_every_ms else { return std::future::pending().await };
        for number in 0_u64.. {
            println!("still here, {number}");
            tokio::time::sleep(Duration::from_millis(every)).await;
        }
    }

    pub async fn ends(&self) -> ExitCode {
        match (self.exit_code, self.exit_after_ms) {
            (Some(code), Some(after)) => {
                tokio::time::sleep(Duration::from_millis(after)).await;
                ExitCode::from(code)
            }
            _ => std::future::pending().await,
        }
    }

    pub fn ignores_sigterm(&self) -> bool {
        self.ignore_sigterm
    }
}
