//! HAProxy with `balance leastconn` over several servers and health checks every second.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::local;
use crate::child::{Running, free_port};
use crate::error::BenchError;

pub struct Haproxy {
    pub running: Running,
    pub address: SocketAddr,
}

impl Haproxy {
    pub fn start(program: &Path, servers: &[SocketAddr], folder: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(folder).map_err(BenchError::io("can't make HAProxy's folder"))?;
        let address = local(free_port()?);
        let path = folder.join("haproxy.cfg");
        fs::write(&path, configuration(address, servers))
            .map_err(BenchError::io("can't write HAProxy's configuration"))?;
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&path);
        let running = Running::start("haproxy", &mut command, folder)?;
        Ok(Self { running, address })
    }
}

fn configuration(listen: SocketAddr, servers: &[SocketAddr]) -> String {
    let line = |(number, address): (usize, &SocketAddr)| {
        format!("  server replica-{number} {address} check inter 1s fall 2 rise 1\n")
    };
    let servers: String = servers.iter().enumerate().map(line).collect();
    format!(
        "global
  maxconn 8192
  nbthread 2
defaults
  mode http
  timeout connect 2s
  timeout client 120s
  timeout server 120s
  timeout http-keep-alive 120s
  retries 3
  option redispatch 1
  # Without it the first event of a stream waits for a second one, or 200 ms.
  option http-no-delay
frontend clients
  bind {listen}
  default_backend fleet
backend fleet
  balance leastconn
  option httpchk GET /health
{servers}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_is_named_and_checked() {
        let text = configuration(local(1), &[local(2), local(3)]);
        assert!(
            text.contains("server replica-0 127.0.0.1:2 check")
                && text.contains("replica-1 127.0.0.1:3 check")
        );
        assert!(text.contains("balance leastconn"));
    }
}
