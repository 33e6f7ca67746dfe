//! The PROXY protocol, versions 1 and 2: how a proxy that passes bytes on introduces its client (HAProxy's
//! `proxy-protocol.txt`). The reading of bytes is pure; [`read`] takes them from a socket, and never one too many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// Bytes of the longest line of version 1, its end included.
const LINE: usize = 107;
/// Bytes of version 2 up to its addresses.
const FIXED: usize = 16;
/// Bytes of addresses and extensions of version 2 that are taken.
const VARIABLE: usize = 4096;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introduced {
    /// The proxy's own, such as a health check, or one of which it does not know the client.
    Peer,
    /// This client's.
    Client(SocketAddr),
}

/// How far bytes lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes more belong to the header, whatever they are.
    Needs(usize),
    /// It is complete.
    Done(Introduced),
}

/// What a header breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is none.
    #[error("a trusted proxy sent no header")]
    Missing,
    /// Longer than it may be.
    #[error("longer than allowed")]
    TooLong,
    /// Another version, or a command that is none.
    #[error("an unknown version or command")]
    Version,
    /// A family or transport that a TCP client cannot have.
    #[error("an unknown family or transport")]
    Family,
    /// Addresses that are none, or too short for their family.
    #[error("no sound addresses")]
    Addresses,
    /// The connection ended within it.
    #[error("cut")]
    Cut,
}

impl Malformed {
    /// A word for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Malformed::Missing => "missing",
            Malformed::TooLong => "too_long",
            Malformed::Version => "version",
            Malformed::Family => "family",
            Malformed::Addresses => "addresses",
            Malformed::Cut => "cut",
        }
    }
}

/// Reads what a connection began with so far.
pub fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(is, should)| is == should);
    match bytes.len() {
        // No header of either version is shorter than the signature.
        seen if seen < SIGNATURE.len() => Ok(Progress::Needs(SIGNATURE.len() - seen)),
        seen if begins(SIGNATURE) && seen < FIXED => Ok(Progress::Needs(FIXED - seen)),
        _ if begins(SIGNATURE) => version_2(bytes),
        _ if begins(WORD) => version_1(bytes),
        _ => Err(Malformed::Missing),
    }
}

/// A line: nothing tells its length, so it is asked for byte by byte.
fn version_1(bytes: &[u8]) -> Result<Progress, Malformed> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes {
            [.., b'\n'] => Err(Malformed::Addresses),
            _ if bytes.len() >= LINE => Err(Malformed::TooLong),
            _ => Ok(Progress::Needs(1)),
        };
    };
    let text = std::str::from_utf8(line).map_err(|_| Malformed::Addresses)?;
    let mut words = text.split(' ').skip(1);
    let client = match words.next() {
        // What follows is to be ignored.
        Some("UNKNOWN") => return Ok(Progress::Done(Introduced::Peer)),
        Some("TCP4") => line_addresses::<Ipv4Addr>(&mut words),
        Some("TCP6") => line_addresses::<Ipv6Addr>(&mut words),
        _ => return Err(Malformed::Family),
    };
    client
        .filter(|_| words.next().is_none())
        .map(|client| Progress::Done(Introduced::Client(client)))
        .ok_or(Malformed::Addresses)
}

fn line_addresses<'a, A>(words: &mut impl Iterator<Item = &'a str>) -> Option<SocketAddr>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let source: A = words.next()?.parse().ok()?;
    let _destination: A = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    Some(SocketAddr::new(source.into(), source_port))
}

/// Digits only, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn version_2(bytes: &[u8]) -> Result<Progress, Malformed> {
    let [.., command, family, high, low] = bytes.first_chunk::<FIXED>().ok_or(Malformed::Cut)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if !matches!(command, 0x20 | 0x21) {
        return Err(Malformed::Version);
    }
    if length > VARIABLE {
        return Err(Malformed::TooLong);
    }
    let rest = bytes.get(FIXED..).unwrap_or_default();
    if rest.len() < length {
        return Ok(Progress::Needs(length - rest.len()));
    }
    // Extensions follow the addresses and say nothing that is needed here.
    let client = match (command, family) {
        (0x20, _) | (_, 0x00) => return Ok(Progress::Done(Introduced::Peer)),
        (_, 0x11) => rest.get(..length).and_then(block_addresses::<4, 12>),
        (_, 0x21) => rest.get(..length).and_then(block_addresses::<16, 36>),
        _ => return Err(Malformed::Family),
    };
    client.map(|client| Progress::Done(Introduced::Client(client))).ok_or(Malformed::Addresses)
}

/// The source of a block: two addresses of `A` bytes and two ports, `BLOCK` bytes in all.
fn block_addresses<const A: usize, const BLOCK: usize>(block: &[u8]) -> Option<SocketAddr>
where
    [u8; A]: Into<IpAddr>,
{
    let block = block.first_chunk::<BLOCK>()?;
    let address: [u8; A] = *block.first_chunk()?;
    let port: [u8; 2] = *block.get(2 * A..)?.first_chunk()?;
    Some(SocketAddr::new(address.into(), u16::from_be_bytes(port)))
}

/// Takes a header, and nothing that follows it, from a connection.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Introduced, Malformed> {
    let mut bytes = Vec::with_capacity(LINE);
    loop {
        match parse(&bytes)? {
            Progress::Done(introduced) => return Ok(introduced),
            Progress::Needs(more) => {
                let seen = bytes.len();
                bytes.resize(seen + more, 0);
                let next = bytes.get_mut(seen..).unwrap_or_default();
                stream.read_exact(next).await.map_err(|_| Malformed::Cut)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn block(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xdd, 0xd5, 0x01, 0xbb];

    fn v6() -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let mut rest = [address("2001:db8::1"), address("2001:db8::2")].concat();
        rest.extend([0xdd, 0xd5, 0x01, 0xbb]);
        rest
    }

    fn client(text: &str) -> Progress {
        Progress::Done(Introduced::Client(text.parse().unwrap()))
    }

    const PEER: Progress = Progress::Done(Introduced::Peer);

    #[test]
    fn sound_headers_introduce_the_client() {
        let with_extensions = [&V4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        let unix = [0_u8; 216];
        for (bytes, introduced) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 56789 443\r\n".to_vec(), client("192.0.2.1:56789")),
            (
                b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(),
                client("255.255.255.255:65535"),
            ),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 0 0\r\n".to_vec(), client("192.0.2.1:0")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 56789 443\r\n".to_vec(), client("[2001:db8::1]:56789")),
            (b"PROXY UNKNOWN\r\n".to_vec(), PEER),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), PEER),
            (block(0x21, 0x11, 12, &V4), client("192.0.2.1:56789")),
            (block(0x21, 0x21, 36, &v6()), client("[2001:db8::1]:56789")),
            (block(0x21, 0x11, 18, &with_extensions), client("192.0.2.1:56789")),
            (block(0x20, 0x00, 0, b""), PEER),
            (block(0x20, 0x11, 12, &V4), PEER),
            (block(0x20, 0xff, 3, b"abc"), PEER),
            (block(0x21, 0x00, 0, b""), PEER),
            (block(0x21, 0x00, 216, &unix), PEER),
        ] {
            assert_eq!(parse(&bytes), Ok(introduced), "{}", bytes.escape_ascii());
            // From every beginning it asks for more, and never for more than there is.
            for cut in 0..bytes.len() {
                let more = parse(&bytes[..cut]);
                assert!(
                    matches!(more, Ok(Progress::Needs(1..))),
                    "{cut} of {}: {more:?}",
                    bytes.escape_ascii()
                );
                let Ok(Progress::Needs(more)) = more else { continue };
                assert!(cut + more <= bytes.len(), "{cut} of {}: {more}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let line = |rest: &str| format!("PROXY {rest}").into_bytes();
        let long = format!("UNKNOWN {}", "a".repeat(120));
        for (bytes, why) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Malformed::Missing),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(), Malformed::Missing),
            (b"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), Malformed::Missing),
            (b" PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), Malformed::Missing),
            (b"PROXY\tTCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), Malformed::Missing),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), Malformed::Missing),
            (line("TCP5 192.0.2.1 198.51.100.1 1 2\r\n"), Malformed::Family),
            (line("UDP4 192.0.2.1 198.51.100.1 1 2\r\n"), Malformed::Family),
            (line(" TCP4 192.0.2.1 198.51.100.1 1 2\r\n"), Malformed::Family),
            (line("tcp4 192.0.2.1 198.51.100.1 1 2\r\n"), Malformed::Family),
            (line("UNKNOWNX\r\n"), Malformed::Family),
            (line("TCP4\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1 2 \r\n"), Malformed::Addresses),
            (line("TCP4  192.0.2.1 198.51.100.1 1 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 65536 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 +1 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 01 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1 02\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.01 198.51.100.1 1 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2 198.51.100.1 1 2\r\n"), Malformed::Addresses),
            (line("TCP4 2001:db8::1 2001:db8::2 1 2\r\n"), Malformed::Addresses),
            (line("TCP6 192.0.2.1 198.51.100.1 1 2\r\n"), Malformed::Addresses),
            (line("TCP6 [2001:db8::1] 2001:db8::2 1 2\r\n"), Malformed::Addresses),
            (line("TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1 2\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1\r 2\r\n"), Malformed::Addresses),
            (line("TCP4 192.0.2.1 198.51.100.1 1 \u{661}\r\n"), Malformed::Addresses),
            (b"PROXY TCP4 \xff\r\n".to_vec(), Malformed::Addresses),
            (line(&long), Malformed::TooLong),
            (block(0x11, 0x11, 12, &V4), Malformed::Version),
            (block(0x31, 0x11, 12, &V4), Malformed::Version),
            (block(0x22, 0x11, 12, &V4), Malformed::Version),
            (block(0x2f, 0x11, 12, &V4), Malformed::Version),
            (block(0x21, 0x12, 12, &V4), Malformed::Family),
            (block(0x21, 0x22, 36, &v6()), Malformed::Family),
            (block(0x21, 0x10, 12, &V4), Malformed::Family),
            (block(0x21, 0x01, 12, &V4), Malformed::Family),
            (block(0x21, 0x31, 216, &[0; 216]), Malformed::Family),
            (block(0x21, 0x41, 12, &V4), Malformed::Family),
            (block(0x21, 0x11, 11, &V4), Malformed::Addresses),
            (block(0x21, 0x11, 0, b""), Malformed::Addresses),
            (block(0x21, 0x21, 35, &v6()), Malformed::Addresses),
            (block(0x21, 0x21, 12, &V4), Malformed::Addresses),
            (block(0x21, 0x11, 4097, b""), Malformed::TooLong),
            (block(0x20, 0x00, u16::MAX, b""), Malformed::TooLong),
        ] {
            // As it comes from a socket: asked for piece by piece.
            let mut taken = 0;
            let found = loop {
                match parse(&bytes[..taken]) {
                    Ok(Progress::Needs(more)) if taken + more <= bytes.len() => taken += more,
                    Ok(Progress::Needs(_)) => break Err(Malformed::Cut),
                    other => break other,
                }
            };
            assert_eq!(found, Err(why), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn nothing_behind_a_header_is_taken() {
        for header in [b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(), block(0x21, 0x11, 12, &V4)] {
            let bytes = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            let mut stream = &bytes[..];
            assert!(matches!(read(&mut stream).await, Ok(Introduced::Client(_))));
            assert_eq!(stream, b"GET / HTTP/1.1\r\n\r\n");
            let mut cut = &header[..header.len() - 1];
            assert_eq!(read(&mut cut).await, Err(Malformed::Cut));
        }
    }
}
