//! Keeping a body as it passes.

use std::fmt;

use bytes::Bytes;

use super::budget::Share;
use super::tally::Dropped;

/// The least memory that is taken at a time.
const STEP: usize = 4 * 1024;

/// Bytes that were kept, with their share of the memory.
#[derive(Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    most: usize,
    memory: Share,
}

impl Kept {
    /// Nothing yet, and never more than this.
    pub fn new(most: usize, memory: Share) -> Kept {
        Kept { bytes: Vec::new(), most, memory }
    }

    /// Keeps more. It is copied: a piece of a few bytes would hold on to the whole buffer that it was read into.
    pub fn push(&mut self, data: &[u8]) -> Result<(), Dropped> {
        let needed = self.bytes.len().saturating_add(data.len());
        if needed > self.most {
            return Err(Dropped::Body);
        }
        let room = self.bytes.capacity();
        if needed > room {
            let wanted = needed.next_power_of_two().max(STEP).min(self.most);
            if !self.memory.grow(wanted - room) {
                return Err(Dropped::Memory);
            }
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The most that it keeps.
    pub fn most(&self) -> usize {
        self.most
    }

    /// What was kept, with nothing left behind.
    #[must_use]
    pub fn take(&mut self) -> Kept {
        let memory = self.memory.take();
        Kept { bytes: std::mem::take(&mut self.bytes), most: self.most, memory }
    }

    /// What was kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was kept, to be sent, and the memory that it takes for as long as that lasts.
    pub fn into_parts(self) -> (Bytes, Share) {
        (Bytes::from(self.bytes), self.memory)
    }
}

/// Told once what was kept, or why it was not.
type Then = Box<dyn FnOnce(Result<Kept, Dropped>) + Send>;

/// Keeps a body as it passes. It is told of its end, or of what came between, once.
pub struct Tee(Option<(Kept, Then)>);

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tee(…)")
    }
}

impl Tee {
    /// Keeps into `kept`.
    pub fn new(kept: Kept, then: impl FnOnce(Result<Kept, Dropped>) + Send + 'static) -> Tee {
        Tee(Some((kept, Box::new(then))))
    }

    /// A piece passes.
    pub fn pass(&mut self, data: &[u8]) {
        if let Some((kept, _)) = &mut self.0
            && let Err(why) = kept.push(data)
            && let Some((_, then)) = self.0.take()
        {
            then(Err(why));
        }
    }

    /// All of it has passed.
    pub fn end(&mut self) {
        if let Some((kept, then)) = self.0.take() {
            then(Ok(kept));
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        if let Some((_, then)) = self.0.take() {
            then(Err(Dropped::Unfinished));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::mirror::Budget;

    type Told = Arc<Mutex<Vec<Result<Vec<u8>, Dropped>>>>;

    fn tee(most: usize, budget: &Budget) -> (Tee, Told) {
        let told = Told::default();
        let tell = told.clone();
        let kept = Kept::new(most, budget.memory());
        let then = move |result: Result<Kept, Dropped>| {
            tell.lock().push(result.map(|kept| kept.bytes().to_vec()));
        };
        (Tee::new(kept, then), told)
    }

    #[test]
    fn a_body_is_kept_whole_or_not_at_all_and_that_is_told_once() {
        let budget = Budget::new(1 << 20, 1, None);
        let (mut whole, told) = tee(6, &budget);
        whole.pass(b"abc");
        whole.pass(b"def");
        whole.end();
        whole.pass(b"more");
        drop(whole);
        assert_eq!(*told.lock(), [Ok(b"abcdef".to_vec())]);
        let (mut long, told) = tee(6, &budget);
        long.pass(b"abcdef");
        long.pass(b"g");
        long.end();
        assert_eq!(*told.lock(), [Err(Dropped::Body)]);
        let (mut cut, told) = tee(6, &budget);
        cut.pass(b"abc");
        drop(cut);
        assert_eq!(*told.lock(), [Err(Dropped::Unfinished)]);
    }

    #[test]
    fn the_memory_of_all_is_bounded_and_given_back() {
        let budget = Budget::new(2 * STEP, 1, None);
        let (mut one, _) = tee(1 << 20, &budget);
        let (mut two, told) = tee(1 << 20, &budget);
        one.pass(&[0; STEP]);
        two.pass(&[0; STEP]);
        assert!(told.lock().is_empty());
        two.pass(&[0]);
        assert_eq!(*told.lock(), [Err(Dropped::Memory)]);
        one.pass(&[0]);
        drop(one);
        assert!(budget.memory().grow(2 * STEP), "all of it is free again");
    }
}
