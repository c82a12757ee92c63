//! Amounts as Kubernetes writes them: `50Gi`, `1.5T`, `1000000`.

use serde::{Deserialize, Serialize};

/// Powers of 1024 first: `Gi` must not be read as `G`.
const SUFFIXES: [(&str, u64); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// A size in bytes, in the words it was given in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    text: String,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size is a number and a unit, such as 50Gi, 500M or 1.5Ti, and more than nothing")]
pub struct SizeError;

impl Size {
    pub fn gib(number: u32) -> Self {
        Self { text: format!("{number}Gi"), bytes: u64::from(number) << 30 }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;

    fn try_from(text: String) -> Result<Self, SizeError> {
        let bytes = bytes_of(&text).filter(|bytes| *bytes > 0).ok_or(SizeError)?;
        Ok(Self { text, bytes })
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.text
    }
}

fn bytes_of(text: &str) -> Option<u64> {
    let (number, unit) =
        SUFFIXES.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, u128::from(*unit))))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = u128::from(whole.parse::<u64>().ok()?);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = u128::from(fraction.parse::<u64>().ok()?);
    u64::try_from(whole * unit + fraction * unit / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_or_without_a_unit() {
        for (text, bytes) in
            [("50Gi", 50 << 30), ("1.5Ki", 1536), ("200G", 200_000_000_000), ("7", 7), ("2k", 2000)]
        {
            let size = Size::try_from(text.to_owned()).unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(String::from(size), text, "kept as it was written");
        }
    }

    #[test]
    fn what_is_made_of_a_number_reads_back_the_same() {
        assert_eq!(Size::try_from("50Gi".to_owned()), Ok(Size::gib(50)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "Gi", "50 Gi", "50gi", "-1Gi", "+1", "1.Gi", ".5Gi", "1e3", "0", "0.0Gi", "99999999Ei", "x"]
        {
            assert_eq!(Size::try_from(text.to_owned()), Err(SizeError), "{text}");
        }
    }
}
