//! Groups of fields, and values, that several kinds of object have.

use std::convert::Infallible;
use std::str::FromStr;

use clap::Args;

/// What people note about a thing.
#[derive(Debug, Default, Args)]
pub struct About {
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Project it belongs to
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

/// A container image: `registry:5000/name:tag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub name: String,
    pub tag: Option<String>,
}

impl FromStr for Image {
    type Err = Infallible;

    /// What follows the last colon is the tag, unless that colon belongs to a port or a digest.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let whole = || Self { name: text.to_owned(), tag: None };
        Ok(match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') && !text.contains('@') => {
                Self { name: name.to_owned(), tag: Some(tag.to_owned()) }
            }
            _ => whole(),
        })
    }
}

/// A model to serve: `name`, or `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPath {
    pub namespace: Option<String>,
    pub name: String,
}

impl FromStr for ModelPath {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('/') {
            Some((namespace, name)) => Self { namespace: Some(namespace.to_owned()), name: name.to_owned() },
            None => Self { namespace: None, name: text.to_owned() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_neither_a_port_nor_a_digest() {
        for (text, name, tag) in [
            ("nvcr.io/nim/meta/llama:1.8.5", "nvcr.io/nim/meta/llama", Some("1.8.5")),
            ("localhost:5000/sim", "localhost:5000/sim", None),
            ("localhost:5000/sim:latest", "localhost:5000/sim", Some("latest")),
            ("sim@sha256:00ff", "sim@sha256:00ff", None),
            ("sim", "sim", None),
        ] {
            let image: Image = text.parse().unwrap();
            assert_eq!((image.name.as_str(), image.tag.as_deref()), (name, tag), "{text}");
        }
    }

    #[test]
    fn the_namespace_of_a_model_ends_at_the_first_slash() {
        let model: ModelPath = "meta/llama-3.2-1b".parse().unwrap();
        assert_eq!((model.namespace.as_deref(), model.name.as_str()), (Some("meta"), "llama-3.2-1b"));
        let bare: ModelPath = "llama".parse().unwrap();
        assert_eq!((bare.namespace, bare.name.as_str()), (None, "llama"));
    }
}
