//! Which image: always with a tag or a digest.

use super::engine::Defaults;
use crate::domain::deployment_spec::{DeploymentSpec, Image, Runs, SpecError, refused};

/// NVIDIA's registry.
pub const NVIDIA: &str = "nvcr.io";
/// Images that serve whatever model they are told, by the end of their name.
const ANY_MODEL: [&str; 2] = ["llm-nim", "model-free-nim"];

/// None for a command.
pub fn of(spec: &DeploymentSpec, defaults: &Defaults) -> Result<Option<String>, SpecError> {
    let given = match (&spec.overrides.image, &spec.runs) {
        (Some(image), _) | (None, Runs::Image(image)) => image,
        (None, Runs::Command { .. }) => return Ok(None),
    };
    let own_model = spec.model.is_none().then_some(defaults.image_with_model).flatten();
    let default = own_model.or(defaults.image).unwrap_or_default();
    whole(given, default).map(Some)
}

/// A tag alone is one of the default image's; a name alone has the default's tag where it is the same, else `latest`.
fn whole(given: &Image, default: &str) -> Result<String, SpecError> {
    let (default_name, default_tag) = split(default);
    let name = given.name.as_deref().unwrap_or(default_name);
    if name.is_empty() {
        return Err(refused("image_name", "the engine has no default image; give one"));
    }
    match (&given.tag, split(name)) {
        (Some(_), (_, Some(_))) => {
            Err(refused("image_tag", "image_name has a tag or digest of its own; give one of the two"))
        }
        (Some(digest), _) if digest.starts_with("sha256:") => Ok(format!("{name}@{digest}")),
        (Some(tag), _) => Ok(format!("{name}:{tag}")),
        (None, (_, Some(_))) => Ok(name.to_owned()),
        (None, _) if name == default_name => Ok(format!("{name}:{}", default_tag.unwrap_or("latest"))),
        (None, _) => Ok(format!("{name}:latest")),
    }
}

/// The name, and its tag or digest. A colon before a path begins a port.
fn split(image: &str) -> (&str, Option<&str>) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, digest.or(Some(tag))),
        None => (name, digest),
    }
}

/// Host, and port when it has one.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Docker's own registry has several names.
pub fn hub(host: &str) -> &str {
    if matches!(host, "index.docker.io" | "registry-1.docker.io" | "hub.docker.com") {
        "docker.io"
    } else {
        host
    }
}

pub fn serves_any_model(image: &str) -> bool {
    let (name, _) = split(image);
    ANY_MODEL.contains(&name.rsplit('/').next().unwrap_or_default())
}

/// The first number of its tag: `1.8.5` and `v2` have one, `latest` and digests have none.
pub fn major(image: &str) -> Option<u32> {
    let (_, tag) = split(image);
    let tag = tag.filter(|tag| !tag.starts_with("sha256:"))?;
    let number = tag.strip_prefix('v').unwrap_or(tag).split(['.', '-', '_', '+']).next()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_always_has_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let (with_digest, by_tag) = (format!("a/b@{digest}"), format!("host:5000/b@{digest}"));
        for (name, tag, image) in [
            (None, None, "reg.io/x/def:1.2"),
            (None, Some("9"), "reg.io/x/def:9"),
            (Some("reg.io/x/def"), None, "reg.io/x/def:1.2"),
            (Some("a/b"), None, "a/b:latest"),
            (Some("a/b:7"), None, "a/b:7"),
            (Some("host:5000/b"), None, "host:5000/b:latest"),
            (Some("host:5000/b"), Some(digest.as_str()), by_tag.as_str()),
            (Some(with_digest.as_str()), None, with_digest.as_str()),
        ] {
            let given = Image { name: name.map(str::to_owned), tag: tag.map(str::to_owned) };
            assert_eq!(whole(&given, "reg.io/x/def:1.2"), Ok(image.to_owned()));
        }
        let twice = Image { name: Some("a/b:7".into()), tag: Some("8".into()) };
        assert_eq!(whole(&twice, "").unwrap_err().field, "image_tag");
        assert_eq!(whole(&Image::default(), "").unwrap_err().field, "image_name");
    }

    #[test]
    fn the_generation_is_told_by_the_tag() {
        for (image, number) in [
            ("nvcr.io/nim/meta/llama:1.8.5", Some(1)),
            ("x:2.0.12-rc1", Some(2)),
            ("x:v3", Some(3)),
            ("x:latest", None),
            ("host:5000/x", None),
            ("x@sha256:00", None),
        ] {
            assert_eq!(major(image), number, "{image}");
        }
    }

    #[test]
    fn an_image_without_a_registry_is_one_of_docker_hub() {
        for (image, server) in [
            ("nvcr.io/nim/x:1", "nvcr.io"),
            ("vllm/vllm-openai:1", "docker.io"),
            ("localhost/x:1", "localhost"),
            ("127.0.0.1:5000/x:1", "127.0.0.1:5000"),
            ("x:1", "docker.io"),
        ] {
            assert_eq!(registry(image), server);
        }
        assert!(serves_any_model("nvcr.io/nim/nvidia/llm-nim:1") && !serves_any_model("a/not-llm-nim:1"));
    }
}
