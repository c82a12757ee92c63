//! nginx as the measure: `proxy_pass` with keep-alive to one upstream, or `least_conn` over several, and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::local;
use crate::child::{Running, free_port};
use crate::error::BenchError;

pub struct Nginx {
    pub running: Running,
    pub address: SocketAddr,
}

/// Where requests go.
#[derive(Debug, Clone, Copy)]
pub enum Spread<'a> {
    One(SocketAddr),
    /// To whom the workers together have the fewest connections.
    LeastConn(&'a [SocketAddr]),
}

impl Spread<'_> {
    fn servers(self) -> String {
        match self {
            Self::One(address) => format!("server {address};"),
            Self::LeastConn(addresses) => {
                let servers = addresses.iter().map(|address| format!(" server {address};"));
                format!("zone mock 256k; least_conn;{}", servers.collect::<String>())
            }
        }
    }
}

impl Nginx {
    pub fn start(program: &Path, upstream: Spread, folder: &Path) -> Result<Self, BenchError> {
        let folder = folder.join("nginx");
        fs::create_dir_all(&folder).map_err(BenchError::io("can't make nginx's folder"))?;
        let address = local(free_port()?);
        let path = folder.join("nginx.conf");
        fs::write(&path, configuration(address, upstream, &folder))
            .map_err(BenchError::io("can't write nginx's configuration"))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).arg("-c").arg(&path);
        let running = Running::start("nginx", &mut command, &folder)?;
        Ok(Self { running, address })
    }

    /// What `nginx -v` says.
    pub fn version(program: &Path) -> Result<String, BenchError> {
        let missing = |_| {
            BenchError::Setup(
                "nginx is not there; install it (Debian: apt-get install nginx-light) or name it with --nginx PATH"
                    .to_owned(),
            )
        };
        let output = Command::new(program).arg("-v").output().map_err(missing)?;
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn configuration(listen: SocketAddr, upstream: Spread, folder: &Path) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {};\n", path_of(folder, name).display()))
        .concat();
    format!(
        "worker_processes 2;
daemon off;
pid {pid};
error_log {errors} warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
{temporary}  # Bodies are buffered whole before they go on, as a gateway does that reads them.
  client_body_buffer_size 256k;
  client_max_body_size 64m;
  keepalive_requests 1000000;
  upstream mock {{ {servers} keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen {listen} reuseport backlog=4096;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_request_buffering on;
    }}
  }}
}}
",
        servers = upstream.servers(),
        pid = path_of(folder, "nginx.pid").display(),
        errors = path_of(folder, "error.log").display(),
    )
}

fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
