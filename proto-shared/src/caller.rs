//! Who a control call comes from, as far as a gateway can tell it to its registry.

/// Request header of every forwarded control call. Gateways set it themselves and drop a client's.
pub const CALLER_HEADER: &str = "x-nimgate-caller";

/// A registry that finds no such header, or another word in it, takes the caller for [`Caller::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A program on the gateway's own machine, through a listener that no other machine reaches, and
    /// not a web page of another origin.
    Loopback,
    Other,
}

impl Caller {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Other => "other",
        }
    }

    /// Denies by default.
    pub fn of_header(value: Option<&[u8]>) -> Self {
        if value == Some(Self::Loopback.as_str().as_bytes()) { Self::Loopback } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_word_means_loopback() {
        assert_eq!(Caller::of_header(Some(Caller::Loopback.as_str().as_bytes())), Caller::Loopback);
        for value in [None, Some(&b""[..]), Some(b"Loopback"), Some(b"loopback, loopback"), Some(b"other")] {
            assert_eq!(Caller::of_header(value), Caller::Other);
        }
    }
}
