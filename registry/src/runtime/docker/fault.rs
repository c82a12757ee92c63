//! What the engine says when something goes wrong, and what to do about it. Pure.
//!
//! An engine has one status for many causes, so its texts are read too; they have been the same for years.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;

use bollard::errors::Error;

use super::super::id::{InstanceId, VolumeId};
use super::super::image::{ImageReference, RegistryCredentials};
use super::super::{Fault, FaultKind};

/// Of the engine's own words, so much is shown.
const TEXT_CHARS_MAX: usize = 500;

/// The status of an answer that was an error.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn text(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => std::iter::successors(other.source(), |&error| error.source())
            .last()
            .map_or_else(|| other.to_string(), ToString::to_string),
    };
    text.trim().chars().take(TEXT_CHARS_MAX).collect()
}

/// An address that can't be an engine we use.
pub fn of_host(host: &str) -> Option<Fault> {
    let refuse =
        |why: &str| Some(Fault::new(FaultKind::Unavailable, format!("container engine {host}: {why}")));
    if host.starts_with("unix:///") {
        return None;
    }
    let Some(address) = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) else {
        return refuse(
            "only unix:///path and tcp://127.0.0.1:port are understood; set DOCKER_HOST or the engine's address",
        );
    };
    let name = address.trim_end_matches('/').rsplit_once(':').map_or(address, |(name, _)| name);
    let is_local =
        name == "localhost" || name.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_local {
        return None;
    }
    refuse(
        "it is on another machine, whose loopback the gateway can't reach; run the registry beside the engine",
    )
}

/// A failure of any call: either nobody answered, or the engine said something unforeseen.
pub fn of_call(host: &str, error: &Error) -> Fault {
    let said = text(error);
    let way_out = match error {
        Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. } => {
            let kind = if is_full(&said) { FaultKind::NoSpace } else { FaultKind::Engine };
            return Fault::new(kind, format!("the container engine says: {said}"));
        }
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => {
            let message =
                format!("the container engine's answer is not understood ({said}); is it up to date?");
            return Fault::new(FaultKind::Engine, message);
        }
        Error::SocketNotFoundError(_) => {
            "there is no such socket; install and start Docker, or set the engine's address"
        }
        Error::RequestTimeoutError => "it gives no answer; look at its log",
        _ if io_kind(error) == Some(io::ErrorKind::PermissionDenied) => {
            "permission denied; let this user use the socket (as a member of the group docker, say)"
        }
        _ if io_kind(error) == Some(io::ErrorKind::NotFound) => {
            "there is no such socket; install and start Docker, or set the engine's address"
        }
        _ if io_kind(error) == Some(io::ErrorKind::ConnectionRefused) => {
            "connection refused; start it (systemctl start docker)"
        }
        _ => {
            return Fault::new(
                FaultKind::Unavailable,
                format!("container engine {host}: {said}; is it running?"),
            );
        }
    };
    Fault::new(FaultKind::Unavailable, format!("container engine {host}: {way_out}"))
}

/// An answer that may be a plain one a moment later.
pub fn is_odd(error: &Error) -> bool {
    matches!(error, Error::JsonDataError { .. } | Error::JsonSerdeError { .. })
}

/// Another container has the name. Podman says so under status 500.
pub fn is_name_taken(error: &Error) -> bool {
    status(error) == Some(409) || (status(error) == Some(500) && text(error).contains("is already in use by"))
}

fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    let first = error as &(dyn std::error::Error + 'static);
    std::iter::successors(Some(first), |&error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

fn is_full(said: &str) -> bool {
    said.contains("no space left on device")
}

/// Why an image could not be pulled.
pub fn of_pull(
    host: &str,
    image: &ImageReference,
    credentials: Option<&RegistryCredentials>,
    error: &Error,
) -> Fault {
    let said = text(error);
    let Some(kind) = pull_kind(status(error), &said.to_lowercase()) else { return of_call(host, error) };
    let registry = image.registry();
    let way_out = match (kind, credentials) {
        (FaultKind::ImageAuth, Some(RegistryCredentials { username, secret, .. })) => format!(
            "{registry} refused user {username} with the password of the secret {secret}: check both, and whether this \
             user may read the image"
        ),
        (FaultKind::ImageAuth, None) => format!(
            "{registry} wants a login: store the password (nimgate secret create) and name it, in the config \
             (image_pull_login, --pull-secret) or in the setting deployments.registries"
        ),
        (FaultKind::ImageNotFound, _) => {
            format!("{registry} has no such image or tag: check the name (a private one may need a login)")
        }
        (FaultKind::NoSpace, _) => {
            "the disk is full: remove images that nobody uses (docker image prune)".to_owned()
        }
        _ if is_no_registry(&said.to_lowercase()) => {
            format!("what answers at {registry} is not an image registry: check the address and its port")
        }
        _ => format!("{registry} can't be reached: check its address, the network and the proxy"),
    };
    Fault::new(kind, format!("image {image}: {way_out}. The engine says: {said}"))
}

/// Something answered, and in a way that no image registry does.
fn is_no_registry(said: &str) -> bool {
    ["error parsing http", "invalid character", "error unmarshalling content"]
        .iter()
        .any(|words| said.contains(words))
}

fn pull_kind(status: Option<u16>, said: &str) -> Option<FaultKind> {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if is_full(said) {
        return Some(FaultKind::NoSpace);
    }
    if is_no_registry(said) {
        return Some(FaultKind::RegistryUnreachable);
    }
    if says(&[
        "unauthorized",
        "no basic auth",
        "authentication required",
        "denied",
        "forbidden",
        "payment required",
    ]) {
        return Some(FaultKind::ImageAuth);
    }
    if status == Some(404) || says(&["manifest unknown", "name unknown", "not found"]) {
        return Some(FaultKind::ImageNotFound);
    }
    let away = [
        "no such host",
        "connection refused",
        "connection reset",
        "network is unreachable",
        "no route to host",
        "timeout",
        "deadline exceeded",
        "http response to https client",
        "x509:",
        "unexpected eof",
        ": eof",
        "toomanyrequests",
        "bad gateway",
        "service unavailable",
        "received unexpected http status: 5",
        "server misbehaving",
    ];
    says(&away).then_some(FaultKind::RegistryUnreachable)
}

/// Why a container could not be made or started.
pub fn of_start(host: &str, error: &Error) -> Fault {
    let said = text(error);
    let says = |word: &str| said.contains(word);
    let (kind, way_out) = if says("could not select device driver") || says("nvidia-container-cli") {
        (FaultKind::GpuUnsupported, "install the NVIDIA driver and container toolkit, or ask for no GPU")
    } else if says("address already in use") || says("port is already allocated") {
        (FaultKind::PortInUse, "a port that the engine chose was taken; it is tried again")
    } else if is_full(&said) {
        (
            FaultKind::NoSpace,
            "the disk is full: remove images and volumes that nobody uses (docker system df)",
        )
    } else if status(error) == Some(404) && says("No such image") {
        (FaultKind::ImageNotFound, "the image went away since it was pulled")
    } else if says("executable file not found")
        || says("no such file or directory")
        || says("no command specified")
    {
        (FaultKind::SpecInvalid, "the image has no such program: check its entrypoint")
    } else if says("unable to find user") || says("no matching entries in passwd") {
        (FaultKind::SpecInvalid, "the image has no such user")
    } else if status(error) == Some(400) {
        (FaultKind::SpecInvalid, "the engine refuses this container")
    } else {
        return of_call(host, error);
    };
    Fault::new(kind, format!("{way_out}. The engine says: {said}"))
}

/// Major and minor.
pub fn api(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

pub fn api_too_old(host: &str, api: &str, min: (u32, u32)) -> Fault {
    let needed = format!("{}.{}", min.0, min.1);
    let message = format!(
        "container engine {host}: its API is {api:?}, {needed} is the least; install Docker 19.03 or newer"
    );
    Fault::new(FaultKind::Unavailable, message)
}

pub fn no_gpus() -> Fault {
    let message = "the container engine gives no GPUs to containers: install the NVIDIA container toolkit and run \
                   nvidia-ctk runtime configure, or ask for no GPU";
    Fault::new(FaultKind::GpuUnsupported, message)
}

pub fn not_an_image() -> Fault {
    Fault::new(FaultKind::SpecInvalid, "this runtime runs images: give an image, or use the process runtime")
}

pub fn too_little_space(image: &ImageReference, root: &str, free: u64, wanted: u64) -> Fault {
    let gigabytes = |bytes: u64| format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10);
    let message = format!(
        "image {image} is not pulled: its config asks for {} (disk_size), and {root} has {} free. Remove images and volumes \
         that nobody uses (docker system df), or ask for less (--disk-size)",
        gigabytes(wanted),
        gigabytes(free)
    );
    Fault::new(FaultKind::NoSpace, message)
}

pub fn image_not_pulled(image: &ImageReference) -> Fault {
    Fault::new(
        FaultKind::ImageNotFound,
        format!("image {image} is not on this host; it has to be pulled first"),
    )
}

pub fn other_registry(image: &ImageReference, server: &str) -> Fault {
    let own = image.registry();
    let message =
        format!("image {image}: the credentials are for {server:?}; give those for {own:?}, or none");
    Fault::new(FaultKind::ImageAuth, message)
}

pub fn name_taken(name: &str, container: Option<&str>) -> Fault {
    let other = container.map_or("another container", |id| id.get(..12).unwrap_or(id));
    let message =
        format!("the name {name} is taken by {other}, which is not ours: rename or remove it by hand");
    Fault::new(FaultKind::NameTaken, message)
}

pub fn spec_conflict(id: &InstanceId) -> String {
    format!("{id} is there with another spec: stop it first, or start another try")
}

pub fn no_instance(id: &InstanceId) -> Fault {
    Fault::new(FaultKind::InstanceNotFound, format!("{id} is not there"))
}

pub fn volume_in_use(volume: &VolumeId) -> Fault {
    let message = format!("the volume {volume} is in use: stop what uses it first");
    Fault::new(FaultKind::VolumeInUse, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.into() }
    }

    #[test]
    fn each_way_a_pull_fails_is_told_apart() {
        let image = "nvcr.io/nim/x:9.9".parse().unwrap();
        for (status, said, kind) in [
            (
                500,
                "Get \"https://nvcr.io/v2/\": dial tcp: lookup nvcr.io on 1.1.1.1:53: no such host",
                FaultKind::RegistryUnreachable,
            ),
            (500, "dial tcp 127.0.0.1:23099: connect: connection refused", FaultKind::RegistryUnreachable),
            (500, "http: server gave HTTP response to HTTPS client", FaultKind::RegistryUnreachable),
            (
                500,
                "error parsing HTTP 404 response body: invalid character 'p' after top-level value",
                FaultKind::RegistryUnreachable,
            ),
            (500, "Head \"http://r/manifests/1.0\": no basic auth credentials", FaultKind::ImageAuth),
            (500, "unauthorized: authentication required", FaultKind::ImageAuth),
            (500, "unexpected status code 402 Payment Required", FaultKind::ImageAuth),
            (
                404,
                "pull access denied for x, repository does not exist or may require 'docker login'",
                FaultKind::ImageAuth,
            ),
            (
                404,
                "manifest for R:9.9 not found: manifest unknown: manifest unknown",
                FaultKind::ImageNotFound,
            ),
            (500, "write /var/lib/docker/tmp/x: no space left on device", FaultKind::NoSpace),
            (500, "something else", FaultKind::Engine),
        ] {
            let fault = of_pull("unix:///x", &image, None, &answer(status, said));
            assert_eq!(fault.kind, kind, "{said}");
            assert!(fault.message.contains(said), "{fault}");
        }
        let cut = Error::DockerStreamError { error: "unexpected EOF".into() };
        assert_eq!(of_pull("unix:///x", &image, None, &cut).kind, FaultKind::RegistryUnreachable);
    }

    #[test]
    fn a_name_is_taken_in_the_words_of_docker_and_of_podman() {
        let podman = "creating container storage: the container name \"x\" is already in use by 3842bda2b417";
        for (status, said, is_taken) in
            [(409, "Conflict.", true), (500, podman, true), (500, "something else", false)]
        {
            assert_eq!(is_name_taken(&answer(status, said)), is_taken, "{said}");
        }
    }

    #[test]
    fn each_way_a_start_fails_is_told_apart() {
        for (status, said, kind) in [
            (
                500,
                "could not select device driver \"\" with capabilities: [[gpu]]",
                FaultKind::GpuUnsupported,
            ),
            (500, "listen tcp4 127.0.0.1:23061: bind: address already in use", FaultKind::PortInUse),
            (
                400,
                "OCI runtime create failed: exec: \"x\": executable file not found in $PATH",
                FaultKind::SpecInvalid,
            ),
            (404, "No such image: nope:1", FaultKind::ImageNotFound),
            (500, "something else", FaultKind::Engine),
        ] {
            assert_eq!(of_start("unix:///x", &answer(status, said)).kind, kind, "{said}");
        }
    }

    #[test]
    fn only_an_engine_beside_us_is_used() {
        for host in [
            "unix:///var/run/docker.sock",
            "tcp://127.0.0.1:2375",
            "http://localhost:2375/",
            "tcp://[::1]:2375",
        ] {
            assert_eq!(of_host(host), None, "{host}");
        }
        for host in ["tcp://10.0.0.1:2375", "ssh://me@host", "https://127.0.0.1:2376", "unix://", "nonsense"]
        {
            assert!(of_host(host).is_some(), "{host}");
        }
    }

    #[test]
    fn an_engine_that_does_not_answer_is_unavailable_with_a_way_out() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, words) in [
            (Error::SocketNotFoundError("/x".into()), "install and start Docker"),
            (Error::from(refused), "start it"),
            (Error::from(io::Error::from(io::ErrorKind::PermissionDenied)), "group docker"),
            (Error::RequestTimeoutError, "look at its log"),
        ] {
            let fault = of_call("unix:///x", &error);
            assert_eq!(fault.kind, FaultKind::Unavailable);
            assert!(fault.message.contains(words) && fault.message.contains("unix:///x"), "{fault}");
        }
    }

    #[test]
    fn api_versions_are_numbers_not_text() {
        assert!(api("1.9") < api("1.40"));
        assert_eq!(api("new"), None);
    }
}
