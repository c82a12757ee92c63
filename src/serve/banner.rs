//! The first lines a serving process says: never more than a screen.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gateway::AccessLog;

use crate::cli::{ADMIN_URL_DEFAULT, URL_DEFAULT};
use crate::config::Settings;
use crate::master_key::Origin;

/// A URL that works from this machine, for a listener on any address.
pub fn url(address: SocketAddr, tls: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

/// What a gateway says once it listens.
pub fn gateway(settings: &Settings, addresses: &[SocketAddr], admin: SocketAddr, key: &Origin) -> String {
    let urls: Vec<_> = addresses.iter().map(|address| url(*address, settings.tls.is_some())).collect();
    let base = urls.first().map_or(URL_DEFAULT, String::as_str);
    let mut out = String::from("nimgate is running\n");
    let mut row = |label: &str, text: String| {
        let _ = writeln!(out, "  {label:<8} {text}");
    };
    row("API", format!("{}  (OpenAI base URL: {base}/v1)", urls.join(" ")));
    row("admin", format!("{}  (metrics, routes, explain)", url(admin, false)));
    row("data", settings.data_dir.display().to_string());
    row("key", key_text(key));
    let flag = if base == URL_DEFAULT { String::new() } else { format!(" --gateway-url {base}") };
    let _ = write!(
        out,
        "\nnext: nimgate provider create build{flag} --preset nvidia --key-env NVIDIA_API_KEY\n\
         {:6}nimgate status{flag}{}\n",
        "",
        if url(admin, false) == ADMIN_URL_DEFAULT {
            String::new()
        } else {
            format!(" --admin-url {}", url(admin, false))
        },
    );
    out
}

/// What a registry says once it listens.
pub fn registry(settings: &Settings, address: SocketAddr, key: &Origin) -> String {
    format!(
        "nimgate registry is running\n  feed     http://{address}\n  data     {}\n  key      {}\n\n\
         next: nimgate gateway --registry http://{address}\n",
        settings.data_dir.display(),
        key_text(key),
    )
}

fn key_text(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => path.display().to_string(),
        Origin::Environment => format!("from {}", crate::master_key::VARIABLE),
        Origin::Memory => "in memory".to_owned(),
        Origin::Made(path) => {
            format!("{}  (made now; keep a copy: without it the stored secrets are lost)", path.display())
        }
    }
}

/// Prints to standard output, unless the access log has that for itself.
pub fn show(text: &str, log: AccessLog) {
    // A reader that is gone is no reason not to serve.
    let _ = match log {
        AccessLog::Stdout => io::stderr().write_all(text.as_bytes()),
        AccessLog::Off | AccessLog::Stderr => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_for_any_address_is_one_that_can_be_typed() {
        for (address, expected) in [
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:1", "http://[::1]:1"),
            ("10.0.0.1:2", "http://10.0.0.1:2"),
        ] {
            assert_eq!(url(address.parse().unwrap(), false), expected);
        }
    }
}
