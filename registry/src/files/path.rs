//! A file's place in its fileset. Pure.
//!
//! Invariants: relative, in normal form, and harmless as a path of the operating system.

use std::fmt;

/// Longest path, in bytes.
pub const FILE_PATH_BYTES_MAX: usize = 1024;
/// Longest part between slashes: what file systems take.
pub const FILE_PATH_SEGMENT_BYTES_MAX: usize = 255;
/// Most parts of a path.
pub const FILE_PATH_SEGMENTS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePath(String);

/// Why a path can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilePathError {
    #[error("must not be empty")]
    Empty,
    #[error("must be relative: it begins with '/'")]
    Absolute,
    #[error("must not have empty parts ('//', or '/' at its end)")]
    EmptySegment,
    #[error("must stay in the fileset: '.' and '..' are no names")]
    Dots,
    #[error("must not hold {0:?}")]
    Char(char),
    #[error("must not be longer than {FILE_PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("must not have a part longer than {FILE_PATH_SEGMENT_BYTES_MAX} bytes")]
    SegmentTooLong,
    #[error("must not have more than {FILE_PATH_SEGMENTS_MAX} parts")]
    TooDeep,
}

impl FilePath {
    /// `text` is percent-decoded already; what still looks encoded is part of a name.
    pub fn parse(text: &str) -> Result<Self, FilePathError> {
        if text.is_empty() {
            return Err(FilePathError::Empty);
        }
        if text.len() > FILE_PATH_BYTES_MAX {
            return Err(FilePathError::TooLong);
        }
        if let Some(c) = text.chars().find(|&c| c == '\\' || c.is_control()) {
            return Err(FilePathError::Char(c));
        }
        if text.starts_with('/') {
            return Err(FilePathError::Absolute);
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(FilePathError::EmptySegment),
                "." | ".." => return Err(FilePathError::Dots),
                segment if segment.len() > FILE_PATH_SEGMENT_BYTES_MAX => {
                    return Err(FilePathError::SegmentTooLong);
                }
                _ => {}
            }
        }
        if text.split('/').count() > FILE_PATH_SEGMENTS_MAX {
            return Err(FilePathError::TooDeep);
        }
        Ok(Self(text.to_owned()))
    }

    /// Below a folder; the folder's own listing made sure that it is a name.
    pub(super) fn below(folder: &str, name: &str) -> String {
        if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders on the way, and the name at the end.
    pub fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (folders.split('/').filter(|folder| !folder.is_empty()), name)
    }

    /// As it stands in a URL: what is not plain is percent-encoded, slashes stay.
    pub fn to_url(&self) -> String {
        let mut url = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
                url.push(char::from(byte));
            } else {
                url.push_str(&format!("%{byte:02X}"));
            }
        }
        url
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_fileset_or_is_no_plain_path_is_refused() {
        use FilePathError as E;
        for (text, fault) in [
            ("", E::Empty),
            ("/etc/passwd", E::Absolute),
            ("..", E::Dots),
            ("a/../b", E::Dots),
            ("a/..", E::Dots),
            ("./a", E::Dots),
            ("a//b", E::EmptySegment),
            ("a/", E::EmptySegment),
            ("a\\..\\b", E::Char('\\')),
            ("a\0b", E::Char('\0')),
            ("a\nb", E::Char('\n')),
            ("a\u{7f}", E::Char('\u{7f}')),
            ("a\u{85}", E::Char('\u{85}')),
            (&"x".repeat(FILE_PATH_SEGMENT_BYTES_MAX + 1), E::SegmentTooLong),
            (&"x/".repeat(FILE_PATH_BYTES_MAX), E::TooLong),
            (&format!("{}x", "x/".repeat(FILE_PATH_SEGMENTS_MAX)), E::TooDeep),
        ] {
            assert_eq!(FilePath::parse(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn names_are_free_otherwise() {
        let longest = format!("{}x", "x/".repeat(FILE_PATH_SEGMENTS_MAX - 1));
        for text in ["a", "a/b c/ü.txt", "...", "..a", "%2e%2e/x", ".hidden", "C:x", "a?b#c", &longest] {
            assert_eq!(FilePath::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_path_in_a_url_reads_back_as_it_was() {
        let url = FilePath::parse("a b/ü?#%.txt").unwrap().to_url();
        assert_eq!(url, "a%20b/%C3%BC%3F%23%25.txt");
        let path = FilePath::parse("x/y/z.bin").unwrap();
        let (folders, name) = path.split();
        assert_eq!((folders.collect::<Vec<_>>(), name), (vec!["x", "y"], "z.bin"));
    }
}
