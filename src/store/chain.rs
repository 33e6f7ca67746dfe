//! The chain of audit records: each is hashed together with the hash of the one before, under a key that is not in
//! the store, so that a record which is changed, left out or put in shows, and cannot be mended by whoever did it.

use aws_lc_rs::{constant_time, hmac};

use super::{AuditRow, Store, StoreError};
use crate::model::audit::Record;

/// How many records are read at once.
const PAGE: u32 = 1_000;

/// What a chain begins with.
pub const ORIGIN: [u8; 32] = [0; 32];

/// Hashes records into a chain.
#[derive(Clone)]
pub struct Chain(hmac::Key);

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chain(…)")
    }
}

/// What is wrong with an audit trail.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is missing.
    #[error("record {expected} is missing; the next one there is {found}")]
    Gap {
        /// The number that should come.
        expected: u64,
        /// The number that comes.
        found: u64,
    },
    /// A record is not the one that was written.
    #[error("record {0} was changed, or the one before it was, or the master key is another")]
    Changed(u64),
    /// A record says another number than its place.
    #[error("record {0} cannot be read or says another number")]
    Unreadable(u64),
    /// Records are missing at the end.
    #[error("the trail ends at record {found}, and record {expected} was written")]
    CutOff {
        /// The last that was written.
        expected: u64,
        /// The last there is.
        found: u64,
    },
}

/// An audit trail that is whole: its last record's number and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// How many records there are.
    pub records: u64,
    /// The last one's hash in hex; kept elsewhere, it proves later that nothing before it was changed.
    pub head: String,
}

impl Chain {
    /// A chain under a key of 32 bytes.
    pub fn new(key: &[u8; 32]) -> Chain {
        Chain(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The hash of a record that follows the one with this hash.
    pub fn next(&self, before: &[u8; 32], text: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(before);
        context.update(text.as_bytes());
        let mut hash = [0; 32];
        hash.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }

    /// Seals the end of a trail: an earlier end cannot be passed off for the last one without the key.
    pub fn seal(&self, sequence: u64, hash: &[u8; 32]) -> [u8; 32] {
        self.next(hash, &format!("end of {sequence} records"))
    }

    /// Reads a whole trail, which may be added to meanwhile, and says whether it is what was written. `each` sees hash (in
    /// hex) and text of every record that is.
    pub async fn verify(&self, store: &dyn Store, mut each: impl FnMut(&str, &str)) -> Result<Whole, Broken> {
        let (mut sequence, mut hash, mut promised) = (0, ORIGIN, 0);
        loop {
            let rows = store.audit(sequence, PAGE).await?;
            let last = rows.len() < PAGE as usize;
            for row in rows {
                hash = self.follows(sequence, &hash, &row)?;
                sequence = row.sequence;
                each(&hex(&hash), &row.text);
            }
            if !last {
                continue;
            }
            match store.audit_head().await? {
                // What was written since then is there to be read.
                Some((expected, _)) if expected > sequence && sequence >= promised => promised = expected,
                Some((expected, sealed)) if expected != sequence || sealed != self.seal(sequence, &hash) => {
                    return Err(Broken::CutOff { expected, found: sequence });
                }
                None if sequence > 0 => return Err(Broken::CutOff { expected: 0, found: sequence }),
                _ => return Ok(Whole { records: sequence, head: hex(&hash) }),
            }
        }
    }

    fn follows(&self, sequence: u64, before: &[u8; 32], row: &AuditRow) -> Result<[u8; 32], Broken> {
        let expected = sequence + 1;
        if row.sequence != expected {
            return Err(Broken::Gap { expected, found: row.sequence });
        }
        let hash = self.next(before, &row.text);
        if constant_time::verify_slices_are_equal(&hash, &row.hash).is_err() {
            return Err(Broken::Changed(expected));
        }
        match serde_json::from_str::<Record>(&row.text) {
            Ok(record) if record.sequence == expected => Ok(hash),
            _ => Err(Broken::Unreadable(expected)),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
