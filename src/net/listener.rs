//! Listening sockets, and how many connections they take.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};

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

/// How many connections are open, in all and from each address.
#[derive(Debug)]
pub struct Admission {
    open: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
    most: usize,
    most_by_address: usize,
    gauge: IntGauge,
}

/// A connection's place; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// Admits up to this many.
    pub fn new(most: usize, most_by_address: usize, gauge: IntGauge) -> Arc<Admission> {
        let (open, by_address) = (AtomicUsize::new(0), DashMap::new());
        Arc::new(Admission { open, by_address, most, most_by_address, gauge })
    }

    /// A place for a connection from this address, if there is one.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let place = Place { admission: self.clone(), address };
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.gauge.inc();
        let here = {
            let mut count = self.by_address.entry(address).or_insert(0);
            *count += 1;
            *count
        };
        // A place that is not given drops here and takes its counts back.
        (open <= self.most && here <= self.most_by_address).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        self.admission.gauge.dec();
        self.admission.by_address.remove_if_mut(&self.address, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_come_back() {
        let admission = Admission::new(3, 2, IntGauge::new("g", "g").unwrap());
        let address = |n| IpAddr::from([127, 0, 0, n]);
        let first = admission.admit(address(1)).unwrap();
        let _second = admission.admit(address(1)).unwrap();
        assert!(admission.admit(address(1)).is_none(), "two from one address");
        let _third = admission.admit(address(2)).unwrap();
        assert!(admission.admit(address(3)).is_none(), "three in all");
        drop(first);
        assert!(admission.admit(address(3)).is_some());
        assert_eq!(admission.by_address.len(), 2);
    }

    #[test]
    fn a_taken_address_is_noticed_even_among_sharing_sockets() {
        let (address, _sockets) = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(bind(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
