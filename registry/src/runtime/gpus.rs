//! The GPUs of this host, as `nvidia-smi` tells them.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::fault::{Fault, FaultKind};

/// A driver that hangs must not hold up everything.
const TIMEOUT: Duration = Duration::from_secs(10);
const QUERY: [&str; 2] =
    ["--query-gpu=index,uuid,name,memory.total,memory.used", "--format=csv,noheader,nounits"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub index: u32,
    pub uuid: String,
    pub name: String,
    pub memory_total_mib: u64,
    /// By everybody: what is used though nothing of ours runs there is used by somebody else.
    pub memory_used_mib: u64,
}

/// None without `nvidia-smi`.
pub async fn gpus() -> Result<Vec<Gpu>, Fault> {
    let mut command = Command::new("nvidia-smi");
    command.args(QUERY).stdin(Stdio::null()).kill_on_drop(true);
    let broken = |why: String| {
        Fault::new(FaultKind::Engine, format!("nvidia-smi {why}; run it by hand to see what ails the driver"))
    };
    let output = match tokio::time::timeout(TIMEOUT, command.output()).await {
        Err(_) => return Err(broken(format!("gave no answer within {} s", TIMEOUT.as_secs()))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(Err(error)) => return Err(broken(format!("can't be run ({error})"))),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        return Err(broken(format!("failed ({})", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Gpu> {
    let mut fields = line.split(',').map(str::trim);
    let mut next = || fields.next();
    Some(Gpu {
        index: next()?.parse().ok()?,
        uuid: next()?.to_owned(),
        name: next()?.to_owned(),
        // Some devices share the host's memory and say "[N/A]".
        memory_total_mib: next()?.parse().unwrap_or_default(),
        memory_used_mib: next()?.parse().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_gpu() {
        let gpu = parse("1, GPU-6a1b, NVIDIA H100 80GB HBM3, 81559, 4").unwrap();
        assert_eq!(
            (gpu.index, gpu.uuid.as_str(), gpu.memory_total_mib, gpu.memory_used_mib),
            (1, "GPU-6a1b", 81559, 4)
        );
        assert_eq!(parse("0, GPU-1, NVIDIA GB10, [N/A], [N/A]").unwrap().memory_total_mib, 0);
        assert_eq!(parse("No devices were found"), None);
    }
}
