//! Which adapters of a model a server is shown, and what has to change for that. Pure.
//!
//! What must stay true:
//! - A server never sees half of an adapter: one without its config or its weights is left out until it has them.
//! - What changed goes first, and comes back after a rest: servers know adapters by their names, and would take what came
//!   under a name they know for what they loaded before.
//! - There is a limit to how many there are and how large they are together. The oldest come first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Adapters that the servers of one deployment are shown.
pub const ADAPTERS_MAX: usize = 256;
/// Files of one adapter.
pub const ADAPTER_FILES_MAX: usize = 1_000;
/// All adapters of one deployment together.
pub const ADAPTERS_BYTES_MAX: u64 = 64 << 30;

/// A file as it is: files never change, so another number means another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub bytes: u64,
    pub inode: u64,
}

/// What is in an adapter, by path.
pub type Content = BTreeMap<String, Mark>;
/// Adapters by their folders.
pub type Folders = BTreeMap<String, Content>;

/// Why an adapter is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// Its fileset is elsewhere, or was deleted.
    NoFiles,
    Incomplete,
    TooManyFiles,
    TooMany,
    TooLarge,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFiles => write!(f, "its fileset has no files here; upload them into a local fileset"),
            Self::Incomplete => write!(
                f,
                "its fileset lacks a part; upload adapter_config.json and adapter_model.safetensors \
                 (or adapter_model.bin), or one .nemo file"
            ),
            Self::TooManyFiles => write!(f, "its fileset has more than {ADAPTER_FILES_MAX} files"),
            Self::TooMany => write!(f, "its model has more than {ADAPTERS_MAX} adapters; disable some"),
            Self::TooLarge => {
                write!(f, "the adapters of its model have more than {ADAPTERS_BYTES_MAX} bytes; disable some")
            }
        }
    }
}

/// Those that are shown, and those that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    pub wanted: Folders,
    pub left_out: BTreeMap<String, LeftOut>,
    bytes: u64,
}

impl Chosen {
    /// Whether no further one is taken, whatever is in it.
    pub fn is_full(&self) -> bool {
        self.wanted.len() >= ADAPTERS_MAX
    }

    /// To be called for those that may be used, the oldest first, each with its folder and what is known of its files.
    pub fn consider(&mut self, folder: String, content: Result<Content, LeftOut>) {
        match content.and_then(|content| self.fits(content)) {
            Ok((content, bytes)) => {
                self.bytes = bytes;
                self.wanted.insert(folder, content);
            }
            Err(why) => {
                self.left_out.insert(folder, why);
            }
        }
    }

    /// With what all have together then.
    fn fits(&self, content: Content) -> Result<(Content, u64), LeftOut> {
        let bytes = content.values().fold(self.bytes, |all, file| all.saturating_add(file.bytes));
        match () {
            () if self.is_full() => Err(LeftOut::TooMany),
            () if content.len() > ADAPTER_FILES_MAX => Err(LeftOut::TooManyFiles),
            () if !is_complete(&content) => Err(LeftOut::Incomplete),
            () if bytes > ADAPTERS_BYTES_MAX => Err(LeftOut::TooLarge),
            () => Ok((content, bytes)),
        }
    }
}

/// Whether a server finds in it what it looks for.
fn is_complete(content: &Content) -> bool {
    let has = |name: &str| content.get(name).is_some_and(|file| file.bytes > 0);
    let has_weights = has("adapter_model.safetensors") || has("adapter_model.bin");
    let is_nemo =
        |(path, file): (&String, &Mark)| !path.contains('/') && path.ends_with(".nemo") && file.bytes > 0;
    (has("adapter_config.json") && has_weights) || content.iter().any(is_nemo)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    TakeAway(String),
    Place(String),
}

/// `resting`: folders that were taken away a moment ago.
pub fn changes(wanted: &Folders, there: &Folders, resting: &BTreeSet<String>) -> Vec<Change> {
    let gone = there.iter().filter(|(folder, content)| wanted.get(*folder) != Some(*content));
    let gone = gone.map(|(folder, _)| Change::TakeAway(folder.clone()));
    let new = wanted.keys().filter(|folder| !there.contains_key(*folder) && !resting.contains(*folder));
    gone.chain(new.map(|folder| Change::Place(folder.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "adapter_config.json";
    const WEIGHTS: &str = "adapter_model.safetensors";

    fn content(files: &[(&str, u64)]) -> Content {
        files.iter().map(|(path, bytes)| ((*path).to_owned(), Mark { bytes: *bytes, inode: 1 })).collect()
    }

    fn whole(bytes: u64) -> Content {
        content(&[(CONFIG, 1), (WEIGHTS, bytes)])
    }

    fn choose<const N: usize>(adapters: [(&str, Result<Content, LeftOut>); N]) -> Chosen {
        let mut chosen = Chosen::default();
        adapters.into_iter().for_each(|(folder, content)| chosen.consider(folder.to_owned(), content));
        chosen
    }

    fn left_out(content: Result<Content, LeftOut>) -> Option<LeftOut> {
        choose([("a", content)]).left_out.remove("a")
    }

    #[test]
    fn half_an_adapter_is_left_out() {
        for files in [
            &[(CONFIG, 1), (WEIGHTS, 1)][..],
            &[(CONFIG, 1), ("adapter_model.bin", 1)],
            &[("tuned.nemo", 1)],
            &[(CONFIG, 1), (WEIGHTS, 1), ("tokenizer/vocab.json", 0)],
        ] {
            assert_eq!(left_out(Ok(content(files))), None, "{files:?}");
        }
        for files in [
            &[][..],
            &[(CONFIG, 1)],
            &[(WEIGHTS, 1)],
            &[(CONFIG, 1), (WEIGHTS, 0)],
            &[("below/tuned.nemo", 1)],
            &[(CONFIG, 1), ("below/adapter_model.safetensors", 1)],
        ] {
            assert_eq!(left_out(Ok(content(files))), Some(LeftOut::Incomplete), "{files:?}");
        }
        assert_eq!(left_out(Err(LeftOut::NoFiles)), Some(LeftOut::NoFiles));
    }

    #[test]
    fn there_is_a_limit_to_each_and_to_all() {
        let mut many = whole(1);
        many.extend((0..ADAPTER_FILES_MAX).map(|n| (n.to_string(), Mark { bytes: 1, inode: 1 })));
        assert_eq!(left_out(Ok(many)), Some(LeftOut::TooManyFiles));

        let name = |number: usize| format!("{number:04}");
        let mut chosen = Chosen::default();
        (0..=ADAPTERS_MAX).for_each(|number| chosen.consider(name(number), Ok(whole(1))));
        assert_eq!(chosen.left_out, BTreeMap::from([(name(ADAPTERS_MAX), LeftOut::TooMany)]));

        let sizes = [("first", ADAPTERS_BYTES_MAX - 100), ("large", 200), ("small", 10)];
        let chosen = choose(sizes.map(|(folder, bytes)| (folder, Ok(whole(bytes)))));
        assert_eq!(chosen.left_out, BTreeMap::from([("large".to_owned(), LeftOut::TooLarge)]));
        assert!(chosen.wanted.contains_key("small"), "what fits still comes in");
        assert_eq!(left_out(Ok(whole(u64::MAX))), Some(LeftOut::TooLarge));
    }

    #[test]
    fn what_changed_goes_and_comes_back_after_a_rest() {
        let folders = |all: &[(&str, u64)]| -> Folders {
            all.iter().map(|(folder, bytes)| ((*folder).to_owned(), whole(*bytes))).collect()
        };
        let rest = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = folders(&[("changed", 2), ("new", 1), ("same", 1)]);
        let there = folders(&[("changed", 1), ("old", 1), ("same", 1)]);
        let first = changes(&wanted, &there, &rest(&[]));
        assert_eq!(
            first,
            [Change::TakeAway("changed".into()), Change::TakeAway("old".into()), Change::Place("new".into())]
        );
        let there = folders(&[("new", 1), ("same", 1)]);
        assert_eq!(changes(&wanted, &there, &rest(&["changed", "old"])), []);
        assert_eq!(changes(&wanted, &there, &rest(&["old"])), [Change::Place("changed".into())]);
        assert_eq!(changes(&wanted, &wanted, &rest(&[])), []);
    }
}
