//! Listening sockets, and how many connections they take.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};

use super::address::network;

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds as many sockets to one address as there are workers; the kernel spreads connections over them.
///
/// The first is bound alone, so that an address that is taken is noticed even if it is another gateway that has it.
pub fn bind(address: SocketAddr, sockets: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let probe = open(address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let share = sockets > 1;
    let all: io::Result<Vec<_>> = (0..sockets.max(1))
        .map(|_| {
            let socket = open(address, share)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect();
    Ok((address, all?))
}

fn open(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// How many connections are open, in all and from each client.
#[derive(Debug)]
pub struct Admission {
    open: AtomicUsize,
    by_client: DashMap<IpAddr, usize>,
    most: AtomicUsize,
    most_by_client: AtomicUsize,
    gauge: IntGauge,
}

/// A connection's place; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    client: Option<IpAddr>,
}

impl Admission {
    /// Admits up to this many.
    pub fn new(most: usize, most_by_client: usize, gauge: IntGauge) -> Arc<Admission> {
        let (most, most_by_client) = (AtomicUsize::new(most), AtomicUsize::new(most_by_client));
        Arc::new(Admission {
            open: AtomicUsize::new(0),
            by_client: DashMap::new(),
            most,
            most_by_client,
            gauge,
        })
    }

    /// Admits up to this many from now on. Who is here may stay.
    pub fn bound(&self, most: usize, most_by_client: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.most_by_client.store(most_by_client, Ordering::Relaxed);
    }

    /// A place for a connection, if there is one.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        let place = Place { admission: self.clone(), client: None };
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.gauge.inc();
        // A place that is not given drops here and takes its count back.
        (open <= self.most.load(Ordering::Relaxed)).then_some(place)
    }
}

impl Place {
    /// Says whose connection it is, once; false if that client has as many as it may.
    pub fn claim(&mut self, address: IpAddr) -> bool {
        let client = network(address);
        self.client = Some(client);
        let mut count = self.admission.by_client.entry(client).or_insert(0);
        *count += 1;
        *count <= self.admission.most_by_client.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        self.admission.gauge.dec();
        if let Some(client) = self.client {
            self.admission.by_client.remove_if_mut(&client, |_, count| {
                *count = count.saturating_sub(1);
                *count == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(admission: &Arc<Admission>, address: &str) -> Option<Place> {
        let mut place = admission.enter()?;
        place.claim(address.parse().unwrap()).then_some(place)
    }

    #[test]
    fn places_are_bounded_in_all_and_by_client_and_come_back() {
        let admission = Admission::new(3, 2, IntGauge::new("g", "g").unwrap());
        let first = admit(&admission, "127.0.0.1").unwrap();
        let _second = admit(&admission, "::ffff:127.0.0.1").unwrap();
        assert!(admit(&admission, "127.0.0.1").is_none(), "two from one address");
        let _third = admit(&admission, "127.0.0.2").unwrap();
        assert!(admit(&admission, "127.0.0.3").is_none(), "three in all");
        drop(first);
        assert!(admit(&admission, "127.0.0.3").is_some());
        assert_eq!(admission.by_client.len(), 2);
        assert_eq!(admission.gauge.get(), 2);
    }

    #[test]
    fn a_64_of_ipv6_is_one_client() {
        let admission = Admission::new(10, 2, IntGauge::new("g", "g").unwrap());
        let _first = admit(&admission, "2001:db8::1").unwrap();
        let _second = admit(&admission, "2001:db8::ffff:2").unwrap();
        assert!(admit(&admission, "2001:db8::3").is_none());
        assert!(admit(&admission, "2001:db8:0:1::3").is_some());
    }

    #[test]
    fn other_bounds_hold_from_then_on() {
        let admission = Admission::new(1, 1, IntGauge::new("g", "g").unwrap());
        let _first = admit(&admission, "127.0.0.1").unwrap();
        assert!(admit(&admission, "127.0.0.1").is_none());
        admission.bound(2, 2);
        assert!(admit(&admission, "127.0.0.1").is_some());
    }

    #[test]
    fn a_taken_address_is_noticed_even_among_sharing_sockets() {
        let (address, _sockets) = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(bind(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
