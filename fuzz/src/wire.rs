//! HTTP/1.1 as a strict server and a strict client read it, written from RFC 9112 and sharing no code with the gateway.

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub line: String,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// How bytes end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With a message.
    Whole,
    /// Within one: its first line, if that is there, and what is there of its body.
    Cut(Option<(String, Vec<u8>)>),
    /// With what is none.
    Malformed(&'static str),
}

impl Message {
    /// The value of a field that stands there once.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.fields.iter().filter(|(own, _)| own == name);
        found.next().map(|(_, value)| &value[..]).filter(|_| found.next().is_none())
    }

    /// The words of the first line.
    pub fn words(&self) -> Vec<&str> {
        self.line.split(' ').collect()
    }
}

/// Why there is no further message.
enum Stop {
    Cut(Option<(String, Vec<u8>)>),
    Malformed(&'static str),
}

use Stop::{Cut, Malformed};

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or(Cut(None))?;
        let line = self.0[..end].strip_suffix(b"\r").ok_or(Malformed("a bare line feed"))?;
        self.0 = &self.0[end + 1..];
        if line.contains(&b'\r') { Err(Malformed("a bare carriage return")) } else { Ok(line) }
    }

    fn fields(&mut self) -> Result<Vec<(String, Vec<u8>)>, Stop> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed("no colon"))?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(Malformed("a field's name"));
            }
            if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
                return Err(Malformed("a control character"));
            }
            fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
        }
    }

    /// Adds to `body` what is there, and says whether it is all.
    fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        let there = length.min(self.0.len());
        body.extend_from_slice(&self.0[..there]);
        self.0 = &self.0[there..];
        there == length
    }

    fn chunked(&mut self, body: &mut Vec<u8>) -> Result<(), Stop> {
        loop {
            let line = self.line()?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let digits = std::str::from_utf8(digits).map_err(|_| Malformed("a chunk's size"))?;
            let hex =
                (1..=16).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let size =
                usize::from_str_radix(digits, 16).ok().filter(|_| hex).ok_or(Malformed("a chunk's size"))?;
            if size == 0 {
                return self.fields().map(drop);
            }
            if !self.exactly(size, body) {
                return Err(Cut(None));
            }
            match self.0 {
                [b'\r', b'\n', rest @ ..] => self.0 = rest,
                [] | [b'\r'] => return Err(Cut(None)),
                _ => return Err(Malformed("a chunk's end")),
            }
        }
    }
}

/// How long a body is.
enum Length {
    Exactly(usize),
    Chunked,
    ToTheEnd,
}

/// What the fields say of the body; `None` if they say nothing.
fn length(fields: &[(String, Vec<u8>)]) -> Result<Option<Length>, Stop> {
    let of =
        |name: &str| fields.iter().filter(|(own, _)| own == name).map(|(_, value)| value).collect::<Vec<_>>();
    match (&of("content-length")[..], &of("transfer-encoding")[..]) {
        ([], []) => Ok(None),
        ([length], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            number.filter(|_| digits).map(|number| Some(Length::Exactly(number))).ok_or(Malformed("a length"))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Length::Chunked)),
        _ => Err(Malformed("two lengths")),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn message(
    bytes: &mut Bytes<'_>,
    first: impl Fn(&str) -> bool,
    silent: impl Fn(&str, Option<Length>) -> Length,
) -> Result<Message, Stop> {
    let line = bytes.line()?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("the first line"))?.to_owned();
    if !first(&line) {
        return Err(Malformed("the first line"));
    }
    let fields = bytes.fields()?;
    let mut body = Vec::new();
    let ended = match silent(&line, length(&fields)?) {
        Length::Exactly(length) => bytes.exactly(length, &mut body),
        Length::ToTheEnd => bytes.exactly(bytes.0.len(), &mut body),
        Length::Chunked => match bytes.chunked(&mut body) {
            Ok(()) => true,
            Err(Cut(_)) => false,
            // What comes before is a request whose body is not sound.
            Err(Malformed(why)) => return Err(Malformed(why)),
        },
    };
    if ended { Ok(Message { line, fields, body }) } else { Err(Cut(Some((line, body)))) }
}

fn all(bytes: &[u8], mut next: impl FnMut(&mut Bytes<'_>) -> Result<Message, Stop>) -> (Vec<Message>, End) {
    let (mut rest, mut messages) = (Bytes(bytes), Vec::new());
    while !rest.0.is_empty() {
        match next(&mut rest) {
            Ok(message) => messages.push(message),
            Err(Cut(of)) => return (messages, End::Cut(of)),
            Err(Malformed(why)) => return (messages, End::Malformed(why)),
        }
    }
    (messages, End::Whole)
}

/// The requests of a connection. `lenient` lets an empty line stand before a request (RFC 9112 section 2.2).
pub fn requests(bytes: &[u8], lenient: bool) -> (Vec<Message>, End) {
    let first = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words[..] else { return false };
        let sound = !method.is_empty() && method.bytes().all(is_token) && !target.is_empty();
        sound
            && target.bytes().all(|byte| byte.is_ascii_graphic())
            && matches!(version, "HTTP/1.1" | "HTTP/1.0")
    };
    all(bytes, |rest| {
        if let Some(after) = rest.0.strip_prefix(b"\r\n").filter(|_| lenient) {
            rest.0 = after;
        }
        message(rest, first, |_, length| length.unwrap_or(Length::Exactly(0)))
    })
}

/// The answers of a connection to requests with these methods; interim answers are left out.
pub fn answers(bytes: &[u8], methods: &[String]) -> (Vec<Message>, End) {
    let first = |line: &str| {
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        status.is_some_and(|status| status.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let mut final_ones = 0;
    let (mut messages, end) = all(bytes, |rest| {
        let head_only = methods.get(final_ones).is_some_and(|method| method == "HEAD");
        let answer = message(rest, first, |line, length| {
            let status = line.get(9..12).unwrap_or_default();
            let empty = head_only || status.starts_with('1') || matches!(status, "204" | "304");
            if empty { Length::Exactly(0) } else { length.unwrap_or(Length::ToTheEnd) }
        })?;
        final_ones += usize::from(!is_interim(&answer));
        Ok(answer)
    });
    messages.retain(|answer| !is_interim(answer));
    (messages, end)
}

fn is_interim(answer: &Message) -> bool {
    answer.line.get(9..10) == Some("1")
}
