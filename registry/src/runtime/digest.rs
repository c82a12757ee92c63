//! Short names for long things.

use sha2::{Digest, Sha256};

/// SHA-256 in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Longest name of a container, a volume or a folder.
const NAME_BYTES_MAX: usize = 63;
const HASH_CHARS: usize = 8;

/// `nimgate-{words}-{hash of identity}`: readable, unique and at most 63 characters of `a-z 0-9 . _ -`.
pub fn name(words: &str, tail: &str, identity: &[&str]) -> String {
    let hash = hex(identity.join("\0").as_bytes());
    let tail = format!("{tail}-{}", &hash[..HASH_CHARS]);
    let allowed = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-') { c } else { '-' };
    let room = NAME_BYTES_MAX.saturating_sub("nimgate-".len() + tail.len());
    let words: String = words.chars().map(allowed).take(room).collect();
    format!("nimgate-{}{tail}", words.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_readable_and_fits_and_tells_apart_what_reads_the_same() {
        let short = name("team-a-llama", "-v1", &["team", "a-llama"]);
        assert!(short.starts_with("nimgate-team-a-llama-v1-"), "{short}");
        assert_ne!(short, name("team-a-llama", "-v1", &["team-a", "llama"]));

        let long = name(&"x@".repeat(63), "-v4294967295-r4294967295", &["x"]);
        assert!(long.len() <= NAME_BYTES_MAX, "{long}");
        assert!(long.contains("x-x") && !long.contains('@'), "{long}");
    }
}
