//! The master keys of one process: one seals, all of them open.
//!
//! Invariants: a ring is never empty, and no two of its keys share an id. While a rotation goes on,
//! values sealed under the old key and under the new one open alike. A ring may be replaced in a
//! running process; what reads it sees the old keys or the new ones, never a mixture.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::secret::{MasterKey, SealedSecret, SecretError, SecretIdentity, SecretString};

/// Keys of one ring: a rotation needs two, more are left over from earlier ones.
pub const KEYS_MAX: usize = 16;

/// A checked list of keys.
#[derive(Debug)]
pub struct Keys {
    current: MasterKey,
    /// These open what they sealed, and seal nothing more.
    others: Vec<MasterKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("there is no key in it")]
    Empty,
    #[error("there are more than {KEYS_MAX} keys in it")]
    TooMany,
    #[error("key {0} is in it twice")]
    Twice(String),
    #[error("key number {number}: {source}")]
    Bad { number: usize, source: SecretError },
}

impl Keys {
    /// Reads keys in base64, separated by white space or commas; the first is the current one. What
    /// follows a `#` on a line is a comment.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let uncommented = text.lines().map(|line| line.split_once('#').map_or(line, |(keys, _)| keys));
        let words = uncommented.flat_map(|line| line.split([' ', '\t', '\r', ','])).filter(|w| !w.is_empty());
        let keys = words.enumerate().map(|(index, word)| {
            MasterKey::from_base64(word).map_err(|source| KeysError::Bad { number: index + 1, source })
        });
        let mut keys = keys.collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut ring = Self::from(keys.next().ok_or(KeysError::Empty)?);
        for key in keys {
            ring.add(key)?;
        }
        Ok(ring)
    }

    fn add(&mut self, key: MasterKey) -> Result<(), KeysError> {
        if self.find(key.id()).is_some() {
            return Err(KeysError::Twice(key.id().to_owned()));
        }
        if self.others.len() + 1 >= KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        self.others.push(key);
        Ok(())
    }

    /// The key that seals.
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// The ids of all keys, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(&self.others).map(MasterKey::id)
    }

    pub fn find(&self, id: &str) -> Option<&MasterKey> {
        std::iter::once(&self.current).chain(&self.others).find(|key| key.id() == id)
    }

    /// Opens with whichever key sealed it.
    pub fn open(&self, sealed: &SealedSecret) -> Result<SecretString, SecretError> {
        let Some(key) = self.find(&sealed.key_id) else {
            let have = self.ids().collect::<Vec<_>>().join(", ");
            return Err(SecretError::WrongKey { sealed_with: sealed.key_id.clone(), have });
        };
        key.open(sealed)
    }

    /// The same value for the same identity, under the current key and a new data key.
    pub fn reseal(&self, sealed: &SealedSecret) -> Result<SealedSecret, SecretError> {
        self.current.seal(&sealed.identity(), &self.open(sealed)?)
    }
}

impl From<MasterKey> for Keys {
    fn from(current: MasterKey) -> Self {
        Self { current, others: Vec::new() }
    }
}

/// The keys a process works with now.
pub struct KeyRing(ArcSwap<Keys>);

impl KeyRing {
    pub fn new(keys: Keys) -> Self {
        Self(ArcSwap::from_pointee(keys))
    }

    /// A ring of one new random key.
    pub fn generate() -> Result<Self, SecretError> {
        MasterKey::generate().map(|key| Self::new(key.into()))
    }

    /// The keys of this moment.
    pub fn keys(&self) -> Arc<Keys> {
        self.0.load_full()
    }

    pub fn replace(&self, keys: Keys) {
        self.0.store(Arc::new(keys));
    }

    /// The id of the key that seals.
    pub fn current_id(&self) -> String {
        self.keys().current().id().to_owned()
    }

    pub fn seal(
        &self,
        identity: &SecretIdentity<'_>,
        plain: &SecretString,
    ) -> Result<SealedSecret, SecretError> {
        self.keys().current().seal(identity, plain)
    }

    pub fn open(&self, sealed: &SealedSecret) -> Result<SecretString, SecretError> {
        self.keys().open(sealed)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.keys(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret;

    const ID: SecretIdentity<'static> = SecretIdentity { workspace: "default", name: "key", version: 3 };

    fn text_of(keys: &[&MasterKey]) -> String {
        keys.iter().map(|key| format!("{}\n", key.to_base64().as_str())).collect()
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open() {
        let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let plain = SecretString::from("sk-canary".to_owned());
        let sealed = old.seal(&ID, &plain).unwrap();
        let text =
            format!("# made in spring\n\n{}{} # the one before\n", text_of(&[&new]), text_of(&[&old]).trim());
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), [new.id(), old.id()]);
        assert_eq!(keys.open(&sealed).unwrap().expose_secret(), "sk-canary");
        let resealed = keys.reseal(&sealed).unwrap();
        assert_eq!((resealed.key_id.as_str(), resealed.version), (new.id(), 3));
        assert_eq!(new.open(&resealed).unwrap().expose_secret(), "sk-canary");
        assert_ne!(resealed.value, sealed.value, "nothing sealed under the old key is left");
    }

    #[test]
    fn a_key_that_is_missing_is_named_and_so_are_those_that_are_there() {
        let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let sealed = old.seal(&ID, &SecretString::from("v".to_owned())).unwrap();
        let (sealed_with, have) = (old.id().to_owned(), new.id().to_owned());
        let ring = KeyRing::new(new.into());
        assert_eq!(ring.open(&sealed).err(), Some(SecretError::WrongKey { sealed_with, have }));
        ring.replace(old.into());
        assert!(ring.open(&sealed).is_ok());
    }

    #[test]
    fn a_list_of_keys_is_refused_for_what_is_wrong_with_it() {
        let keys: Vec<_> = (0..=KEYS_MAX).map(|_| MasterKey::generate().unwrap()).collect();
        let all: Vec<_> = keys.iter().collect();
        let refused = |text: &str| Keys::parse(text).err();
        assert_eq!(refused(" \n# nothing\n"), Some(KeysError::Empty));
        assert_eq!(refused(&text_of(&all)), Some(KeysError::TooMany));
        assert!(Keys::parse(&text_of(&all[1..]).replace('\n', ",")).is_ok());
        assert_eq!(refused(&text_of(&[all[0], all[0]])), Some(KeysError::Twice(all[0].id().into())));
        let bad = refused(&format!("{} short", text_of(&all[..1]).trim()));
        assert_eq!(bad, Some(KeysError::Bad { number: 2, source: SecretError::BadMasterKey }));
    }

    #[test]
    fn no_form_of_a_ring_shows_a_key() {
        let key = MasterKey::generate().unwrap();
        let text = key.to_base64();
        let shown = format!("{:?} {:?}", KeyRing::new(key.into()), refused_text(&text));
        assert!(!shown.contains(text.as_str()), "{shown}");
    }

    fn refused_text(key: &str) -> String {
        let twice = Keys::parse(&format!("{key} {key}")).err().map(|e| e.to_string());
        let short = Keys::parse(&key[1..]).err().map(|e| e.to_string());
        format!("{twice:?} {short:?}")
    }
}
