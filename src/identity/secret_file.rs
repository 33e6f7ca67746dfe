//! Files with secrets: nobody but the gateway may read them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::process::geteuid;

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
