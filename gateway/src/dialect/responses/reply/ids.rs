//! Ids of responses and of what is in them.

/// Makes ids that no other response has: each carries the response's own random number.
#[derive(Debug)]
pub struct Ids {
    nonce: u128,
    next: u32,
}

impl Ids {
    /// `nonce` must be random: ids are as hard to guess as it is.
    pub fn new(nonce: u128) -> Self {
        Self { nonce, next: 0 }
    }

    pub fn next(&mut self, prefix: &str) -> Box<str> {
        let id = format!("{prefix}_{:032x}{:04x}", self.nonce, self.next);
        self.next += 1;
        id.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_response_differ_in_their_end_and_of_two_everywhere() {
        let (mut one, mut other) = (Ids::new(7), Ids::new(8));
        assert_eq!(&*one.next("resp"), "resp_000000000000000000000000000000070000");
        assert_eq!(&*one.next("msg"), "msg_000000000000000000000000000000070001");
        assert_ne!(one.next("msg"), other.next("msg"));
    }
}
