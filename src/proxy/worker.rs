//! Which worker thread this is: connections to instances and turns are kept apart by worker.

use std::cell::Cell;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// Says which worker the present thread is.
pub fn enter(index: usize) {
    INDEX.set(index);
}

/// The present thread's worker; 0 on a thread that is none.
pub fn index() -> usize {
    INDEX.get()
}
