//! Where one HTTP/1 message ends and the next begins, by the strictest reading of RFC 9112.
//!
//! Request smuggling lives in the differences between two lenient readers. This one refuses whatever
//! another reader could take otherwise: bare line feeds, folded lines, two lengths, odd codings, odd chunks.

use super::burst::Burst;

/// Bytes of a chunk that is not worth its framing.
const SMALL_CHUNK: u64 = 64;
/// How many of those a connection may send in ten seconds if nothing else is said.
const SMALL_CHUNKS: u32 = 10_000;

/// Bounds of a request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the request line.
    pub line: usize,
    /// Bytes of one field.
    pub field: usize,
    /// Bytes of all fields.
    pub fields: usize,
    /// Number of fields.
    pub count: usize,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// It is not a message, or could be read in two ways; the word says which rule it broke.
    Malformed(&'static str),
    /// The request line is too long.
    LineTooLong,
    /// A field is too large, or all of them are, or there are too many.
    FieldsTooLarge,
}

use Violation::Malformed;

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Framing {
    limits: HeadLimits,
    state: State,
    /// Heads that were complete and sound.
    heads: u64,
    /// Milliseconds since whenever.
    now: u64,
    small_chunks: Burst,
    most_small_chunks: u32,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Body(u64),
    Chunked(Chunk),
    /// Behind a head that asks for another protocol: whose what follows is, the answer tells.
    Asked,
}

/// Where a connection stands, for its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a head, or before one.
    Head,
    /// In a body.
    Body,
}

impl Framing {
    /// At the start of a connection.
    pub fn new(limits: HeadLimits) -> Framing {
        Framing {
            limits,
            state: State::Head(HeadScan::default()),
            heads: 0,
            now: 0,
            small_chunks: Burst::default(),
            most_small_chunks: SMALL_CHUNKS,
        }
    }

    /// With this many chunks of less than 64 bytes in ten seconds.
    #[must_use]
    pub fn with_small_chunks(self, most: u32) -> Framing {
        Framing { most_small_chunks: most, ..self }
    }

    /// Says what time it is, in milliseconds since whenever.
    pub fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// Whether the time matters: in chunks.
    pub fn is_timed(&self) -> bool {
        matches!(self.state, State::Chunked(_))
    }

    /// Heads that were complete and sound so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Where the connection stands.
    pub fn place(&self) -> Place {
        if matches!(self.state, State::Head(_)) { Place::Head } else { Place::Body }
    }

    /// Whether the last head asks for another protocol, so that nothing passes until that is decided.
    pub fn asks(&self) -> bool {
        matches!(self.state, State::Asked)
    }

    /// It did not get it: what follows is the next message.
    pub fn stay(&mut self) {
        self.state = State::Head(HeadScan::default());
    }

    /// Looks at bytes and counts in `passed` how many of them may pass. What is left is the beginning of a head
    /// and has to be shown again, in front of what comes next.
    pub fn advance(&mut self, bytes: &[u8], passed: &mut usize) -> Result<(), Violation> {
        while let Some(rest) = bytes.get(*passed..).filter(|rest| !rest.is_empty()) {
            let ended = match &mut self.state {
                State::Head(scan) => {
                    let Some((length, body)) = scan.advance(rest, &self.limits)? else {
                        return Ok(());
                    };
                    *passed += length;
                    self.heads += 1;
                    match body {
                        Length::Chunked => self.state = State::Chunked(Chunk::start()),
                        Length::Open => self.state = State::Asked,
                        Length::Bytes(0) => self.state = State::Head(HeadScan::default()),
                        Length::Bytes(bytes) => self.state = State::Body(bytes),
                    }
                    false
                }
                State::Body(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *passed += taken;
                    *left -= taken as u64;
                    *left == 0
                }
                State::Chunked(chunk) => {
                    let (now, most) = (self.now, self.most_small_chunks);
                    let left = self.small_chunks.left(now, most);
                    chunk.small_left = left;
                    let ended = chunk.advance(rest, passed)?;
                    self.small_chunks.add(left - chunk.small_left, now, most);
                    ended
                }
                State::Asked => return Ok(()),
            };
            if ended {
                self.state = State::Head(HeadScan::default());
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Length {
    Bytes(u64),
    Chunked,
    /// None, and perhaps no message behind it.
    Open,
}

/// A head that is being looked at, line by line.
#[derive(Debug, Default)]
struct HeadScan {
    /// Start of the first line that was not complete.
    line_start: usize,
    /// Up to here there is no line feed.
    searched: usize,
    /// The request line is through.
    begun: bool,
    /// An empty line before the request line was skipped (RFC 9112 section 2.2).
    skipped: bool,
    http10: bool,
    fields_start: usize,
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
    /// Names in `Connection`.
    options: usize,
}

impl HeadScan {
    fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<(usize, Length)>, Violation> {
        loop {
            let unseen = bytes.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', unseen) else {
                self.searched = bytes.len();
                self.check_size(bytes.len(), limits)?;
                return Ok(None);
            };
            let end = self.searched + at;
            self.searched = end + 1;
            self.check_size(end, limits)?;
            let line = bytes.get(self.line_start..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(Malformed("bare_lf"))?;
            self.line_start = end + 1;
            if self.begun {
                if line.is_empty() {
                    return self.finish().map(|body| Some((end + 1, body)));
                }
                self.count += 1;
                if self.count > limits.count {
                    return Err(Violation::FieldsTooLarge);
                }
                self.field(line)?;
                // Each costs a look at all fields; nobody names more than there may be.
                if self.options > limits.count {
                    return Err(Violation::FieldsTooLarge);
                }
            } else if line.is_empty() && !self.skipped {
                self.skipped = true;
            } else {
                self.http10 = request_line(line)?;
                self.begun = true;
                self.fields_start = end + 1;
            }
        }
    }

    fn check_size(&self, end: usize, limits: &HeadLimits) -> Result<(), Violation> {
        let line = end.saturating_sub(self.line_start);
        if !self.begun {
            return if line > limits.line { Err(Violation::LineTooLong) } else { Ok(()) };
        }
        if line > limits.field || end.saturating_sub(self.fields_start) > limits.fields {
            return Err(Violation::FieldsTooLarge);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Violation> {
        if line.first().is_some_and(|byte| *byte == b' ' || *byte == b'\t') {
            return Err(Malformed("folded_line"));
        }
        let colon = memchr::memchr(b':', line).ok_or(Malformed("field_without_colon"))?;
        let (name, value) = line.split_at_checked(colon).ok_or(Malformed("field_without_colon"))?;
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Malformed("field_name"));
        }
        if has_control(value) {
            return Err(Malformed("control_in_field"));
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket |= value.eq_ignore_ascii_case(b"websocket");
            }
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                if self.hosts > 1 || !is_host(value) {
                    return Err(Malformed("host"));
                }
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.options += 1 + memchr::memchr_iter(b',', value).count();
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
                let length =
                    std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
                if self.length.is_some() || length.is_none() {
                    return Err(Malformed("content_length"));
                }
                self.length = length;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("transfer_encoding"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&self) -> Result<Length, Violation> {
        if self.hosts != 1 {
            return Err(Malformed("host"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed("two_lengths")),
            (true, None) if self.http10 => Err(Malformed("transfer_encoding")),
            (true, None) => Ok(Length::Chunked),
            (false, None | Some(0)) if self.websocket && !self.http10 => Ok(Length::Open),
            (false, length) => Ok(Length::Bytes(length.unwrap_or(0))),
        }
    }
}

/// Checks `method SP target SP HTTP/1.x`; true for HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, Violation> {
    let wrong = Malformed("request_line");
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong);
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(wrong);
    }
    // The parser behind would refuse what is no URI, too, but not in our words.
    if !is_target(target) || (target.first() != Some(&b'/') && http::Uri::try_from(target).is_err()) {
        return Err(Malformed("target"));
    }
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        _ => Err(wrong),
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a target has only characters of RFC 3986 (no fragment) and whole percent escapes.
pub fn is_target(target: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
    let whole = || {
        memchr::memchr_iter(b'%', target).all(|at| {
            target.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
    };
    !target.is_empty() && target.iter().all(|byte| plain(*byte)) && whole()
}

/// Whether a text is `host` or `host:port` of RFC 9110 section 7.2, as names and addresses are really written.
pub fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else {
                return false;
            };
            let (address, after) = rest.split_at(end);
            let address =
                std::str::from_utf8(address).ok().and_then(|a| a.parse::<std::net::Ipv6Addr>().ok());
            if address.is_none() {
                return false;
            }
            (&b"ok"[..], after.get(1..).unwrap_or_default())
        }
        None => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let port_ok = match port.split_first() {
        None => true,
        Some((b':', digits)) => {
            digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok())
        }
        Some(_) => false,
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    !host.is_empty() && host.iter().all(plain) && port_ok
}

/// A control character other than a tab, a bare carriage return among them.
fn has_control(value: &[u8]) -> bool {
    // Without an early exit, so that the compiler makes wide comparisons of it.
    let found = value.iter().fold(0_u8, |found, byte| {
        found | (u8::from(*byte < 0x20) & u8::from(*byte != b'\t')) | u8::from(*byte == 0x7f)
    });
    found != 0
}

/// A chunked body (RFC 9112 section 7.1).
#[derive(Debug)]
struct Chunk {
    at: ChunkPlace,
    /// Bytes of extensions so far, in the whole body.
    extensions: usize,
    /// Bytes of trailers so far.
    trailers: usize,
    /// Small ones that may still begin; the one that ends a body is none.
    small_left: u32,
}

#[derive(Debug, Clone, Copy)]
enum ChunkPlace {
    Size { digits: u8, value: u64 },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

const MAX_EXTENSIONS: usize = 1_024;
const MAX_TRAILERS: usize = 8 * 1_024;

impl Chunk {
    fn start() -> Chunk {
        Chunk { at: ChunkPlace::Size { digits: 0, value: 0 }, extensions: 0, trailers: 0, small_left: 0 }
    }

    /// Counts in `passed` the bytes that belong to the body; true if it ended with them.
    fn advance(&mut self, bytes: &[u8], passed: &mut usize) -> Result<bool, Violation> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if let ChunkPlace::Data { left } = &mut self.at {
                let some = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *passed += some;
                *left -= some as u64;
                rest = rest.get(some..).unwrap_or_default();
                if *left == 0 {
                    self.at = ChunkPlace::DataCr;
                }
                continue;
            }
            let ended = matches!((self.at, byte), (ChunkPlace::EndLf, b'\n'));
            if !ended {
                self.at = self.step(byte)?;
            }
            *passed += 1;
            rest = after;
            if ended {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn step(&mut self, byte: u8) -> Result<ChunkPlace, Violation> {
        use ChunkPlace::{
            Data, DataCr, DataLf, EndLf, Extension, Size, SizeLf, TrailerLf, TrailerName, TrailerStart,
            TrailerValue,
        };
        let plain = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        Ok(match (self.at, byte) {
            (Size { digits, value }, digit) if digit.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(digit).to_digit(16).unwrap_or(0);
                Size { digits: digits + 1, value: (value << 4) | u64::from(digit) }
            }
            (Size { digits: 1.., value } | Extension { value }, b'\r') => SizeLf { value },
            (Size { digits: 1.., value }, b';') => Extension { value },
            (Extension { value }, _) if plain => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Malformed("chunk_extension"));
                }
                Extension { value }
            }
            (SizeLf { value: 0 } | TrailerLf, b'\n') => TrailerStart,
            (SizeLf { value }, b'\n') => {
                if value < SMALL_CHUNK {
                    self.small_left = self.small_left.checked_sub(1).ok_or(Malformed("small_chunks"))?;
                }
                Data { left: value }
            }
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Size { digits: 0, value: 0 },
            (TrailerStart, b'\r') => EndLf,
            (TrailerStart | TrailerName, name) if is_token(name) => self.trailer(TrailerName)?,
            (TrailerName, b':') => self.trailer(TrailerValue)?,
            (TrailerValue, b'\r') => TrailerLf,
            (TrailerValue, _) if plain => self.trailer(TrailerValue)?,
            (TrailerStart | TrailerName | TrailerValue | TrailerLf | EndLf, _) => {
                return Err(Malformed("trailer"));
            }
            _ => return Err(Malformed("chunk")),
        })
    }

    fn trailer(&mut self, next: ChunkPlace) -> Result<ChunkPlace, Violation> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS { Err(Malformed("trailer")) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests;
