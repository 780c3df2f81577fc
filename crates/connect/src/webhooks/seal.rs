//! The master key, and what is kept encrypted under it: AES-256-GCM with a random nonce.
//!
//! One key may seal 2^32 times before two nonces are likely enough to meet (NIST SP 800-38D, section 8.3); it seals once per secret
//! that is made or changed.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hex::FromHex as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const ID_CONTEXT: &str = "tributary 2026 master key id v1";
const SEAL_CONTEXT: &str = "tributary 2026 sealed under the master key v1";
const API_KEY_CONTEXT: &str = "tributary 2026 secrets of api keys v1";
const MAC_CONTEXT: &str = "tributary 2026 secret in the digest of a request v1";
const VERSION: u8 = 1;
/// Version, id of the key, nonce; the ciphertext with its tag follows.
const HEAD_BYTES: usize = 1 + ID_BYTES + NONCE_LEN;

/// Why the master key can't be had.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// There is no such file, and secrets are sealed already: a new key could not open them.
    #[error(
        "the master key file {0} is missing: put back the file that sealed the secrets of this system (without it the secrets are \
         lost, and every webhook needs a new one)"
    )]
    Missing(PathBuf),
    /// The file holds something else.
    #[error("{0} must hold one master key: 64 hexadecimal digits and nothing else")]
    Malformed(PathBuf),
    /// The file can't be read or made.
    #[error("the master key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

/// Why something sealed can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// The data was sealed under another master key.
    #[error("sealed under master key {sealed}, but the master key file holds {here}")]
    OtherKey {
        /// The id of the key that sealed it.
        sealed: String,
        /// The id of this key.
        here: String,
    },
    /// The data is damaged, or was sealed for another place.
    #[error("sealed data is damaged, or belongs to something else")]
    Damaged,
}

/// The key that encrypts secrets at rest. `Debug` shows its id only.
pub struct MasterKey {
    id: [u8; ID_BYTES],
    mac_key: [u8; KEY_BYTES],
    api_key_secrets: [u8; KEY_BYTES],
    key: LessSafeKey,
}

/// The master key of a server, or why the server has none: then it neither seals nor opens secrets.
#[derive(Clone, Debug)]
pub struct Keyring(Result<Arc<MasterKey>, Arc<str>>);

impl Keyring {
    /// A server that has its master key.
    pub fn new(key: MasterKey) -> Keyring {
        Keyring(Ok(Arc::new(key)))
    }

    /// A server without its master key, and why, as an operator reads it.
    pub fn unusable(why: &str) -> Keyring {
        Keyring(Err(why.into()))
    }

    /// Returns the key.
    ///
    /// # Errors
    /// Why the server has none.
    pub fn key(&self) -> Result<&MasterKey, &str> {
        match &self.0 {
            Ok(key) => Ok(key),
            Err(why) => Err(why),
        }
    }
}

impl MasterKey {
    /// Reads the key in `path`: 64 hexadecimal digits. If there is no such file and `may_create` says that no secret needs an
    /// earlier key, creates the file with a new random key, readable by its owner only, and syncs it.
    pub fn load(path: &Path, may_create: bool) -> Result<MasterKey, MasterKeyError> {
        let failed = |source| MasterKeyError::Io {
            path: path.to_owned(),
            source,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(MasterKeyError::Malformed(path.to_owned()));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Err(_) if !may_create => return Err(MasterKeyError::Missing(path.to_owned())),
            Err(_) => {
                create(path).map_err(failed)?;
                std::fs::read_to_string(path).map_err(failed)?
            }
        };
        let mode = std::fs::metadata(path)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read the master key file");
        }
        let bytes = <[u8; KEY_BYTES]>::from_hex(text.trim())
            .map_err(|_| MasterKeyError::Malformed(path.to_owned()))?;
        Ok(MasterKey::new(&bytes))
    }

    fn new(bytes: &[u8; KEY_BYTES]) -> MasterKey {
        let derived = blake3::derive_key(SEAL_CONTEXT, bytes);
        let id = blake3::derive_key(ID_CONTEXT, bytes);
        let key = UnboundKey::new(&AES_256_GCM, &derived).expect("a key of 32 bytes");
        MasterKey {
            mac_key: blake3::derive_key(MAC_CONTEXT, bytes),
            api_key_secrets: blake3::derive_key(API_KEY_CONTEXT, bytes),
            id: *id.first_chunk().expect("8 of 32 bytes"),
            key: LessSafeKey::new(key),
        }
    }

    /// Names the key without telling it.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    /// Returns the key that the secrets of API keys follow from. It tells nothing of this key.
    pub fn api_key_secrets(&self) -> [u8; KEY_BYTES] {
        self.api_key_secrets
    }

    /// Returns the MAC of a secret: the same for the same secret, and no help in guessing it without this key.
    pub fn mac(&self, secret: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.mac_key, secret).as_bytes()
    }

    /// Encrypts `plain` for `place`: only with the same place it can be opened, so nobody can move it to another.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        let mut text = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, self.aad(place), &mut text)
            .expect("far shorter than 64 GiB");
        sealed.extend_from_slice(&text);
        sealed
    }

    /// Returns the plain data that was sealed for `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (head, text) = sealed
            .split_first_chunk::<HEAD_BYTES>()
            .filter(|(head, _)| head[0] == VERSION)
            .ok_or(Unsealable::Damaged)?;
        let id = &head[1..=ID_BYTES];
        if id != self.id {
            return Err(Unsealable::OtherKey {
                sealed: hex::encode(id),
                here: self.id(),
            });
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + ID_BYTES..])
            .map_err(|_| Unsealable::Damaged)?;
        let mut text = text.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, self.aad(place), &mut text)
            .map_err(|_| Unsealable::Damaged)?;
        Ok(plain.to_vec())
    }

    fn aad(&self, place: &str) -> Aad<Vec<u8>> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(place.as_bytes());
        Aad::from(bytes)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

/// Puts a new key there whole or not at all, and never over another one.
fn create(path: &Path) -> io::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = writeln!(file, "{}", hex::encode(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| match std::fs::hard_link(&draft, path) {
            // Another process was faster: its key is the one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    std::fs::remove_file(&draft)?;
    written?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_the_same_key_for_the_same_place_only() {
        let (key, other) = (MasterKey::new(&[1; 32]), MasterKey::new(&[2; 32]));
        let sealed = key.seal("endpoint a", b"secret");
        assert_eq!(key.open("endpoint a", &sealed), Ok(b"secret".to_vec()));
        assert_ne!(key.seal("endpoint a", b"secret"), sealed, "nonces differ");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(key.open("endpoint b", &sealed), Err(Unsealable::Damaged));
        let error = other.open("endpoint a", &sealed).expect_err("another key");
        assert_eq!(
            error,
            Unsealable::OtherKey {
                sealed: key.id(),
                here: other.id()
            }
        );
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert!(key.open("endpoint a", &broken).is_err(), "byte {at}");
            assert!(
                key.open("endpoint a", &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn the_mac_of_a_secret_is_that_of_the_secret_and_the_key() {
        let (key, other) = (MasterKey::new(&[1; 32]), MasterKey::new(&[2; 32]));
        assert_eq!(key.mac(b"secret"), key.mac(b"secret"));
        assert_ne!(key.mac(b"secret"), key.mac(b"secret2"));
        assert_ne!(key.mac(b"secret"), other.mac(b"secret"));
    }

    #[test]
    fn the_key_file_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("master-key");
        let missing = MasterKey::load(&path, false).expect_err("there is none");
        assert!(matches!(missing, MasterKeyError::Missing(_)), "{missing}");
        assert!(missing.to_string().contains("master-key"));
        let made = MasterKey::load(&path, true).expect("it is made");
        let mode = std::fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let sealed = made.seal("x", b"secret");
        for may_create in [true, false] {
            let again = MasterKey::load(&path, may_create).expect("it is read");
            assert_eq!(again.open("x", &sealed), Ok(b"secret".to_vec()));
        }
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1, "no draft is left");
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("master-key");
        for text in [
            &b""[..],
            b"short",
            &[b'g'; 64],
            &[b'0'; 63],
            &[b'0'; 66],
            &[0xff; 64],
        ] {
            std::fs::write(&path, text).expect("it is written");
            let error = MasterKey::load(&path, true).expect_err("no key");
            assert!(matches!(error, MasterKeyError::Malformed(_)), "{error}");
        }
        let error = MasterKey::load(folder.path(), true).expect_err("a folder");
        assert!(matches!(error, MasterKeyError::Io { .. }), "{error}");
    }
}
