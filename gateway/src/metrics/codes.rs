//! Answers by status code. Codes are the upstreams' choice, so what is not usual counts under its class: the number
//! of series has a bound whatever they send.

use std::sync::OnceLock;

use prometheus::IntCounter;

/// The codes that are counted each, in order; after them the classes of all others.
const CODES: [(u16, &str); 29] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (302, "302"),
    (304, "304"),
    (307, "307"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (415, "415"),
    (422, "422"),
    (424, "424"),
    (429, "429"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (507, "507"),
    (529, "529"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One counter for each label, made when it is first needed.
#[derive(Default)]
pub(super) struct CodeCounters {
    codes: [OnceLock<IntCounter>; CODES.len()],
    classes: [OnceLock<IntCounter>; CLASSES.len()],
}

impl CodeCounters {
    pub fn count(&self, status: u16, series: impl FnOnce(&'static str) -> IntCounter) {
        let place = match CODES.binary_search_by_key(&status, |(code, _)| *code) {
            Ok(at) => self.codes.get(at).zip(CODES.get(at).map(|(_, label)| *label)),
            Err(_) => {
                let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
                self.classes.get(class).zip(CLASSES.get(class).copied())
            }
        };
        if let Some((cell, label)) = place {
            cell.get_or_init(|| series(label)).inc();
        }
    }

    pub fn labels() -> impl Iterator<Item = &'static str> {
        CODES.into_iter().map(|(_, label)| label).chain(CLASSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_codes_count_each_and_others_by_their_class() {
        let label = |status| {
            let mut label = None;
            CodeCounters::default().count(status, |of| {
                label = Some(of);
                IntCounter::new("n", "n").unwrap()
            });
            label
        };
        for (status, expected) in [
            (200, "200"),
            (529, "529"),
            (299, "2xx"),
            (418, "4xx"),
            (599, "5xx"),
            (0, "1xx"),
            (65_535, "5xx"),
        ] {
            assert_eq!(label(status), Some(expected), "{status}");
        }
        for (code, name) in CODES {
            assert_eq!((code.to_string().as_str(), label(code)), (name, Some(name)));
        }
        assert!(CODES.is_sorted());
    }
}
