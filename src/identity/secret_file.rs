//! Files with secrets: nobody but the gateway may read them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// The longest secret, in bytes.
const MOST: u64 = 64 << 10;

/// Why a file gives no secret, as it is said behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A device or a pipe, which would never end, or far too much.
    #[error("is no file of at most 64 KiB")]
    NoFile,
    /// It is no secret.
    #[error("may be read by others; run chmod 600 on it")]
    Open,
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
}

/// The secret in a file, without white space around it.
pub fn read(file: &Path) -> Result<Zeroizing<String>, SecretError> {
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() || metadata.len() > MOST {
        return Err(SecretError::NoFile);
    }
    if is_open(&metadata) {
        return Err(SecretError::Open);
    }
    // Text that moves as it grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(64 << 10));
    File::open(file)?.take(MOST).read_to_string(&mut text)?;
    match text.trim() {
        "" => Err(SecretError::Empty),
        secret => Ok(Zeroizing::new(secret.to_owned())),
    }
}

/// The same, without holding a worker up.
pub async fn load(file: &Path) -> Result<Zeroizing<String>, SecretError> {
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || read(&file)).await.map_err(io::Error::from)?
}

/// Whether others may read, or change, a file.
pub fn is_open(file: &Metadata) -> bool {
    open_to_others(file.mode(), file.uid(), geteuid().as_raw())
}

/// A file of root's may be given to the gateway's group to be read, as Kubernetes does with a mounted Secret: there is
/// no other way for a process that is not root.
fn open_to_others(mode: u32, owner: u32, user: u32) -> bool {
    let forbidden = if owner == 0 && user != 0 { 0o037 } else { 0o077 };
    mode & forbidden != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_may_give_a_secret_to_the_gateway_s_group() {
        for (mode, owner, user, open) in [
            (0o100_600, 1000, 1000, false),
            (0o100_400, 0, 0, false),
            (0o100_440, 0, 65532, false),
            (0o100_640, 0, 65532, false),
            (0o100_440, 0, 0, true),
            (0o100_640, 1000, 1000, true),
            (0o100_460, 0, 65532, true),
            (0o100_444, 0, 65532, true),
            (0o100_604, 1000, 1000, true),
        ] {
            assert_eq!(open_to_others(mode, owner, user), open, "{mode:o} of {owner} read by {user}");
        }
    }
}
