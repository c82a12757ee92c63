//! A provider's key is blotted out of what it says. Pure: bytes in, bytes out.

use bytes::BytesMut;
use memchr::memmem;

/// Shorter keys are not looked for: they would hit ordinary text.
const KEY_BYTES_MIN: usize = 8;

/// `text` with stars in the place of the key.
pub fn scrubbed(key: &[u8], text: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(text.len());
    match Scrubber::new(key) {
        None => out.extend_from_slice(text),
        Some(mut scrubber) => {
            scrubber.feed(text, &mut out);
            scrubber.finish(&mut out);
        }
    }
    out
}

/// Replaces a secret by stars of the same length, also where it comes in pieces.
pub struct Scrubber {
    key: Box<[u8]>,
    kept: Vec<u8>,
}

impl Scrubber {
    /// None: the key is too short to be looked for.
    pub fn new(key: &[u8]) -> Option<Self> {
        (key.len() >= KEY_BYTES_MIN).then(|| Self { key: key.into(), kept: Vec::new() })
    }

    pub fn feed(&mut self, chunk: &[u8], out: &mut BytesMut) {
        self.kept.extend_from_slice(chunk);
        let hits: Vec<usize> = memmem::find_iter(&self.kept, &self.key).collect();
        for at in hits {
            if let Some(hit) = self.kept.get_mut(at..at + self.key.len()) {
                hit.fill(b'*');
            }
        }
        // What could be the beginning of the key waits for its rest.
        let longest = self.kept.len().min(self.key.len() - 1);
        let partial = (1..=longest)
            .rev()
            .find(|&n| self.kept.get(self.kept.len() - n..).is_some_and(|tail| self.key.starts_with(tail)));
        let ready = self.kept.len() - partial.unwrap_or(0);
        out.extend_from_slice(self.kept.get(..ready).unwrap_or_default());
        self.kept.drain(..ready);
    }

    pub fn finish(self, out: &mut BytesMut) {
        out.extend_from_slice(&self.kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_blotted_out_wherever_it_is_cut() {
        let text = b"bad key sk-canary-1, sk-canary-1sk-can sk-canary-";
        let clean = b"bad key ***********, ***********sk-can sk-canary-";
        for cut in 0..=text.len() {
            let (mut scrubber, mut out) = (Scrubber::new(b"sk-canary-1").unwrap(), BytesMut::new());
            scrubber.feed(&text[..cut], &mut out);
            scrubber.feed(&text[cut..], &mut out);
            scrubber.finish(&mut out);
            assert_eq!(&out[..], clean, "cut at {cut}");
        }
    }
}
