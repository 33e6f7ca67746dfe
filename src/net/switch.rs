//! A connection that leaves HTTP for another protocol: who decides about it, and what goes on instead.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// What the guard waits for after a request that asks for another protocol: whether it got it.
#[derive(Debug, Default)]
pub(super) struct Switch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The last request that was decided about, and how.
    decided: (u64, bool),
    waiting: Option<Waker>,
}

impl Switch {
    /// Notes whether this request got what it asked for.
    pub(super) fn decide(&self, number: u64, switched: bool) {
        let mut state = self.0.lock();
        state.decided = (number, switched);
        if let Some(waiting) = state.waiting.take() {
            waiting.wake();
        }
    }

    /// Whether this request got what it asked for; wakes once that is known.
    pub(super) fn decided(&self, number: u64, waker: &Waker) -> Option<bool> {
        let mut state = self.0.lock();
        let (decided, switched) = state.decided;
        if decided == number {
            return Some(switched);
        }
        state.waiting = Some(waker.clone());
        None
    }
}

/// What goes on instead of HTTP, in the extensions of a 101.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<Going>>>);

type Going = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Tunnel {
    /// What is to go on once the answer was sent.
    pub fn new(going: impl Future<Output = ()> + Send + 'static) -> Tunnel {
        Tunnel(Arc::new(Mutex::new(Some(Box::pin(going)))))
    }
}

impl Future for Tunnel {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut going = self.0.lock();
        let polled = going.as_mut().map_or(Poll::Ready(()), |going| going.as_mut().poll(cx));
        if polled.is_ready() {
            *going = None;
        }
        polled
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel(…)")
    }
}
