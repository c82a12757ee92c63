//! Secrets at rest: envelope encryption, bound to the place they belong to.
//!
//! Each version of a secret has its own random data key (XChaCha20-Poly1305); the data key is
//! wrapped by the master key. Both layers carry the secret's identity as associated data, so a row
//! copied to another name, workspace or version does not open. A plain value exists only as a
//! [`SecretString`], which can't be printed or serialised.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use secrecy::{ExposeSecret, SecretString, zeroize};

/// Version of the envelope format.
const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// The key that wraps all data keys of one installation.
pub struct MasterKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("a master key is {KEY_BYTES} random bytes in base64 (nimgate keygen makes one)")]
    BadMasterKey,
    #[error("sealed with master key {sealed_with}, loaded: {have}")]
    WrongKey { sealed_with: String, have: String },
    #[error("the sealed value is damaged or belongs to another secret")]
    Damaged,
    #[error("the system gave no random bytes")]
    NoEntropy,
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Result<Self, SecretError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        fill_random(key.as_mut())?;
        Ok(Self::from_bytes(key))
    }

    /// Reads the base64 form; white space around it is ignored.
    pub fn from_base64(text: &str) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| SecretError::BadMasterKey)?);
        let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| SecretError::BadMasterKey)?;
        Ok(Self::from_bytes(Zeroizing::new(key)))
    }

    /// The base64 form, for the key file and for nothing else.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.key.as_ref()))
    }

    /// A short public name of this key: stored with what it sealed.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn from_bytes(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut digest = Sha256::new();
        digest.update(b"nimgate master key id");
        digest.update(key.as_ref());
        let id = digest.finalize().iter().take(4).map(|b| format!("{b:02x}")).collect();
        Self { key, id }
    }

    /// Seals `plain` for the secret `identity`.
    pub fn seal(
        &self,
        identity: &SecretIdentity<'_>,
        plain: &SecretString,
    ) -> Result<SealedSecret, SecretError> {
        let mut data_key = Zeroizing::new([0; KEY_BYTES]);
        fill_random(data_key.as_mut())?;
        let ad = identity.associated_data(&self.id);
        Ok(SealedSecret {
            format: FORMAT,
            key_id: self.id.clone(),
            workspace: identity.workspace.into(),
            name: identity.name.into(),
            version: identity.version,
            wrapped_key: encrypt(&self.key, data_key.as_ref(), &ad)?,
            value: encrypt(&data_key, plain.expose_secret().as_bytes(), &ad)?,
        })
    }

    /// Opens a sealed secret. The identity it was sealed for is part of it and is checked.
    pub fn open(&self, sealed: &SealedSecret) -> Result<SecretString, SecretError> {
        if sealed.key_id != self.id {
            return Err(SecretError::WrongKey { sealed_with: sealed.key_id.clone(), have: self.id.clone() });
        }
        if sealed.format != FORMAT {
            return Err(SecretError::Damaged);
        }
        let ad = sealed.identity().associated_data(&self.id);
        let data_key = decrypt(&self.key, &sealed.wrapped_key, &ad)?;
        let data_key: Zeroizing<[u8; KEY_BYTES]> =
            Zeroizing::new(data_key.as_slice().try_into().map_err(|_| SecretError::Damaged)?);
        let plain = decrypt(&data_key, &sealed.value, &ad)?;
        let text = std::str::from_utf8(&plain).map_err(|_| SecretError::Damaged)?;
        Ok(SecretString::from(text.to_owned()))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// Which secret a value belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SecretIdentity<'a> {
    pub workspace: &'a str,
    pub name: &'a str,
    pub version: u64,
}

impl SecretIdentity<'_> {
    /// Length-prefixed, so that no two identities give the same bytes.
    fn associated_data(&self, key_id: &str) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for part in [self.workspace, self.name, key_id] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.version.to_be_bytes());
        out
    }
}

/// A secret that only its master key opens. Safe to store and to send.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    pub format: u8,
    pub key_id: String,
    pub workspace: String,
    pub name: String,
    pub version: u64,
    /// Nonce and ciphertext of the data key, base64.
    pub wrapped_key: String,
    /// Nonce and ciphertext of the value, base64.
    pub value: String,
}

impl SealedSecret {
    pub fn identity(&self) -> SecretIdentity<'_> {
        SecretIdentity { workspace: &self.workspace, name: &self.name, version: self.version }
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({}/{} version {})", self.workspace, self.name, self.version)
    }
}

fn encrypt(key: &[u8; KEY_BYTES], plain: &[u8], ad: &[u8]) -> Result<String, SecretError> {
    let mut nonce = [0; NONCE_BYTES];
    fill_random(&mut nonce)?;
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: ad })
        .map_err(|_| SecretError::Damaged)?;
    let mut out = nonce.to_vec();
    out.extend_from_slice(&sealed);
    Ok(BASE64.encode(out))
}

fn decrypt(key: &[u8; KEY_BYTES], sealed: &str, ad: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let bytes = BASE64.decode(sealed).map_err(|_| SecretError::Damaged)?;
    let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError::Damaged)?;
    XChaCha20Poly1305::new(&Key::from(*key))
        .decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: ad })
        .map(Zeroizing::new)
        .map_err(|_| SecretError::Damaged)
}

fn fill_random(out: &mut [u8]) -> Result<(), SecretError> {
    getrandom::fill(out).map_err(|_| SecretError::NoEntropy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SecretIdentity<'static> = SecretIdentity { workspace: "default", name: "key", version: 1 };

    fn sealed() -> (MasterKey, SealedSecret) {
        let master = MasterKey::generate().unwrap();
        let sealed = master.seal(&ID, &SecretString::from("sk-canary".to_owned())).unwrap();
        (master, sealed)
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_only() {
        let (master, sealed) = sealed();
        assert_eq!(master.open(&sealed).unwrap().expose_secret(), "sk-canary");
        let copy = MasterKey::from_base64(&master.to_base64()).unwrap();
        assert_eq!(copy.open(&sealed).unwrap().expose_secret(), "sk-canary");
        let other = MasterKey::generate().unwrap();
        assert!(matches!(other.open(&sealed), Err(SecretError::WrongKey { .. })));
    }

    #[test]
    fn a_row_moved_elsewhere_or_rolled_back_does_not_open() {
        let (master, sealed) = sealed();
        for change in [
            (|s: &mut SealedSecret| s.name = "other".into()) as fn(&mut SealedSecret),
            |s| s.workspace = "other".into(),
            |s| s.version = 2,
            |s| s.value = s.wrapped_key.clone(),
            |s| s.value.clear(),
            |s| s.format = 9,
        ] {
            let mut moved = sealed.clone();
            change(&mut moved);
            assert_eq!(master.open(&moved).err(), Some(SecretError::Damaged));
        }
    }

    #[test]
    fn no_form_of_a_sealed_secret_shows_its_value() {
        let (master, sealed) = sealed();
        let shown = format!("{master:?} {sealed:?} {}", serde_json::to_string(&sealed).unwrap());
        assert!(!shown.contains("sk-canary"));
        assert!(!shown.contains(master.to_base64().as_str()));
    }
}
