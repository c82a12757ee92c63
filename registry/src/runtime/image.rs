//! What images are called, who may pull them, and how far a pull is. Pure.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use proto_shared::secret::SecretString;

use super::fault::{Fault, FaultKind};

/// Layers of one image that are counted; images have at most 127.
const LAYERS_MAX: usize = 1024;

/// An image with a tag or a digest. What has neither means `latest`: an engine asked for a bare name pulls every tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    repository: String,
    version: ImageVersion,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ImageVersion {
    Tag(String),
    Digest(String),
}

impl ImageReference {
    /// Host and port of the registry; an engine takes `docker.io` for what names none.
    pub fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
            _ => "docker.io",
        }
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Absent for an image that is named by its digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            ImageVersion::Tag(tag) => Some(tag),
            ImageVersion::Digest(_) => None,
        }
    }
}

impl FromStr for ImageReference {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let refuse = || {
            let way_out = "give REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST";
            Fault::new(
                FaultKind::SpecInvalid,
                format!("image {text:?} is not the name of an image; {way_out}"),
            )
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // The last colon begins a tag unless a path follows: that one begins a port.
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        };
        let version = match (digest, tag) {
            (Some(digest), _) if is_digest(digest) => ImageVersion::Digest(digest.into()),
            (Some(_), _) => return Err(refuse()),
            (None, Some(tag)) if is_tag(tag) => ImageVersion::Tag(tag.into()),
            (None, Some(_)) => return Err(refuse()),
            (None, None) => ImageVersion::Tag("latest".into()),
        };
        if !is_repository(repository) {
            return Err(refuse());
        }
        Ok(Self { repository: repository.into(), version })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            ImageVersion::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            ImageVersion::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

fn is_tag(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=128).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with(['.', '-'])
}

fn is_repository(text: &str) -> bool {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, text),
    };
    let host_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    let part = |part: &str| !part.is_empty() && part.chars().all(allowed);
    text.len() <= 255 && host.is_none_or(|host| host.chars().all(host_allowed)) && path.split('/').all(part)
}

/// Who pulls. NVIDIA's registry wants the user name `$oauthtoken` and the NGC key as password.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    pub server: String,
    pub username: String,
    pub password: SecretString,
    /// Where the password is from, for a person.
    pub secret: String,
}

/// On what terms an image is pulled.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullTerms<'a> {
    pub credentials: Option<&'a RegistryCredentials>,
    /// It is not begun with less free space, where that can be told.
    pub disk_free_bytes_min: u64,
}

/// How far a pull is. Sizes of layers are known one by one, so the total grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub layers_done: usize,
    pub layers_total: usize,
}

/// Adds up what an engine says of single layers.
#[derive(Debug, Default)]
pub struct Layers(HashMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    bytes_done: u64,
    bytes_total: u64,
    is_done: bool,
}

impl Layers {
    /// Takes in one line of a pull. Lines of the whole image, as `Digest: …`, change nothing.
    pub fn observe(&mut self, layer: &str, status: &str, bytes_done: u64, bytes_total: u64) {
        let known = self.0.contains_key(layer);
        let is_done = matches!(status, "Pull complete" | "Already exists" | "Download complete");
        let begins = matches!(status, "Pulling fs layer" | "Waiting" | "Downloading" | "Already exists");
        if !known && (!begins || self.0.len() >= LAYERS_MAX) {
            return;
        }
        let entry = self.0.entry(layer.to_owned()).or_default();
        // Extracting counts from the start again; what was downloaded stays downloaded.
        if status == "Downloading" {
            entry.bytes_done = bytes_done;
            entry.bytes_total = bytes_total.max(bytes_done);
        }
        if is_done {
            entry.bytes_done = entry.bytes_total;
            entry.is_done |= status != "Download complete";
        }
    }

    pub fn progress(&self) -> PullProgress {
        self.0.values().fold(PullProgress::default(), |sum, layer| PullProgress {
            bytes_done: sum.bytes_done.saturating_add(layer.bytes_done),
            bytes_total: sum.bytes_total.saturating_add(layer.bytes_total),
            layers_done: sum.layers_done + usize::from(layer.is_done),
            layers_total: sum.layers_total + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, String)> {
        let image: ImageReference = text.parse().ok()?;
        Some((image.registry().to_owned(), image.to_string()))
    }

    #[test]
    fn an_image_has_a_registry_and_always_a_version() {
        let digest = format!("nvcr.io/nim/x@sha256:{}", "0a".repeat(32));
        for (text, registry, whole) in [
            ("nvcr.io/nim/meta/llama:1.8.5", "nvcr.io", "nvcr.io/nim/meta/llama:1.8.5"),
            ("vllm/vllm-openai", "docker.io", "vllm/vllm-openai:latest"),
            ("nim-sim", "docker.io", "nim-sim:latest"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000", "127.0.0.1:5000/a/b:latest"),
            ("localhost/x:1", "localhost", "localhost/x:1"),
            (&digest, "nvcr.io", &digest),
        ] {
            assert_eq!(parse(text), Some((registry.into(), whole.into())), "{text}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for text in ["", ":1", "x:", "x@", "x@sha256:12", "A/b", "a//b", "a b", "x:-1", "https://nvcr.io/x"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn progress_adds_up_the_layers_and_never_counts_a_byte_twice() {
        let mut layers = Layers::default();
        layers.observe("1.0", "Pulling from nim", 0, 0);
        for layer in ["a", "b"] {
            layers.observe(layer, "Pulling fs layer", 0, 0);
        }
        layers.observe("a", "Downloading", 30, 100);
        layers.observe("c", "Already exists", 0, 0);
        let seen = layers.progress();
        assert_eq!(seen, PullProgress { bytes_done: 30, bytes_total: 100, layers_done: 1, layers_total: 3 });

        layers.observe("a", "Download complete", 0, 0);
        layers.observe("a", "Extracting", 5, 100);
        assert_eq!(layers.progress().bytes_done, 100);
        assert_eq!(layers.progress().layers_done, 1);
        layers.observe("a", "Pull complete", 0, 0);
        assert_eq!(layers.progress().layers_done, 2);
    }
}
