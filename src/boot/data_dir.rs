//! The data directory: made when missing, locked for the life of the process, home of `hash.key`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that is locked while a broker uses the directory.
const LOCK_FILE: &str = "lock";
/// The key of the hash that gives a client id its home core.
const HASH_KEY_FILE: &str = "hash.key";
const HASH_KEY_BYTES: usize = 16;

/// A data directory that belongs to this process as long as the value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock goes when the file is closed, also when the process is killed.
    _lock: File,
}

impl DataDir {
    /// Makes the directory (mode 0700) if it is missing and locks it. The error is a sentence.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| {
            format!("the data directory {shown} cannot be made: {error}; {ADVICE}")
        })?;
        Self::lock(path)
    }

    /// Whether [`DataDir::open`] would succeed, without making anything where nothing is.
    pub fn examine(path: &Path) -> Result<(), String> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => Self::lock(path).map(drop),
        }
    }

    fn lock(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let lock = options.open(path.join(LOCK_FILE)).map_err(|error| {
            format!("the data directory {shown} cannot be written to: {error}; {ADVICE}")
        })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "the data directory {shown} is in use by another broker; stop it, or give this one \
                 its own with --data-dir"
            )),
            Err(TryLockError::Error(error)) => Err(format!(
                "the data directory {shown} cannot be locked: {error}; {ADVICE}"
            )),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hash key, made on the first start. The error is a sentence.
    pub fn hash_key(&self) -> Result<[u8; HASH_KEY_BYTES], String> {
        load_or_create_hash_key(&self.path).map_err(|error| {
            let file = self.path.join(HASH_KEY_FILE);
            format!("the file {} cannot be used: {error}", file.display())
        })
    }
}

const ADVICE: &str = "choose one that this user may write to with --data-dir";

/// The 16 random bytes of `hash.key` in `dir`, which must be locked by the caller; made (mode 0600)
/// if missing. A file of another length is an error: a key made anew would move every client to
/// another home, so that is left to the operator.
pub fn load_or_create_hash_key(dir: &Path) -> io::Result<[u8; HASH_KEY_BYTES]> {
    let path = dir.join(HASH_KEY_FILE);
    match fs::read(&path) {
        Ok(bytes) => <[u8; HASH_KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| {
            let what = format!(
                "it has {} bytes instead of {HASH_KEY_BYTES}; restore it from a backup, or remove \
                 it to have a new one made",
                bytes.len()
            );
            io::Error::new(io::ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_hash_key(dir, &path),
        Err(error) => Err(error),
    }
}

/// Written beside and renamed, so that a crash leaves a whole key or none.
fn create_hash_key(dir: &Path, path: &Path) -> io::Result<[u8; HASH_KEY_BYTES]> {
    let mut key = [0; HASH_KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let beside = dir.join("hash.key.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory of its own for one test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let name = format!("millrace-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_broker_is_refused_until_the_first_is_gone() {
        let scratch = Scratch::new("lock");
        let path = scratch.0.join("a/b");
        assert_eq!(DataDir::examine(&path), Ok(()));
        assert!(!path.exists());
        let first = DataDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let refused = DataDir::open(&path).unwrap_err();
        let want = format!(
            "the data directory {} is in use by another broker; stop it, or give this one its own \
             with --data-dir",
            path.display()
        );
        assert_eq!(refused, want);
        assert_eq!(DataDir::examine(&path), Err(want));
        drop(first);
        assert_eq!(DataDir::examine(&path), Ok(()));
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_a_directory_is_refused() {
        let scratch = Scratch::new("file");
        fs::create_dir_all(&scratch.0).unwrap();
        let file = scratch.0.join("file");
        fs::write(&file, "").unwrap();
        for path in [&file, &file.join("below")] {
            let refused = DataDir::open(path).unwrap_err();
            assert!(refused.starts_with("the data directory "), "{refused}");
            assert!(refused.ends_with(ADVICE), "{refused}");
        }
    }

    #[test]
    fn the_hash_key_is_made_once() {
        let scratch = Scratch::new("key");
        let dir = DataDir::open(&scratch.0).unwrap();
        let key = dir.hash_key().unwrap();
        assert_ne!(key, [0; HASH_KEY_BYTES]);
        assert_eq!(dir.hash_key(), Ok(key));
        let file = scratch.0.join(HASH_KEY_FILE);
        assert_eq!(mode(&file), 0o600);
        fs::write(&file, "short").unwrap();
        let refused = dir.hash_key().unwrap_err();
        assert!(
            refused.contains("it has 5 bytes instead of 16; restore it"),
            "{refused}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"short");
    }
}
