//! The opening handshake of a WebSocket (RFC 6455 section 4), made anew on either side, and where its frames end.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::headers::towards_client;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION: HeaderValue = HeaderValue::from_static("13");
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What a client may offer, in bytes.
const OFFER: usize = 2 * 1024;
/// Fields of a handshake, of which none is passed on as it came.
const OWN: [HeaderName; 5] = [
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
];

/// What a client asked for.
#[derive(Debug)]
pub(super) struct Handshake {
    /// What it is to be answered.
    accept: HeaderValue,
    /// The gateway's own key towards the instance.
    key: HeaderValue,
    protocols: Vec<String>,
    extensions: Vec<String>,
}

impl Handshake {
    /// The handshake in a request's head, if it is a sound one.
    pub(super) fn of(head: &Parts) -> Option<Handshake> {
        let headers = &head.headers;
        let sound = head.method == Method::GET
            && head.version == Version::HTTP_11
            && only(headers, &UPGRADE)?.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
            && names_upgrade(headers)
            && only(headers, &SEC_WEBSOCKET_VERSION)? == VERSION
            && headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
        let key = only(headers, &SEC_WEBSOCKET_KEY)?;
        let sound = sound && STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
        let protocols = offers(headers, &SEC_WEBSOCKET_PROTOCOL)?;
        if !sound || !protocols.iter().all(|name| is_token(name)) {
            return None;
        }
        Some(Handshake {
            accept: accept(key)?,
            key: fresh_key()?,
            protocols,
            extensions: offers(headers, &SEC_WEBSOCKET_EXTENSIONS)?,
        })
    }

    /// Puts a handshake of the gateway's own into a request's fields.
    pub(super) fn towards_instance(&self, headers: &mut HeaderMap) {
        for name in OWN {
            headers.remove(name);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
        headers.insert(SEC_WEBSOCKET_KEY, self.key.clone());
        for (name, offered) in
            [(SEC_WEBSOCKET_PROTOCOL, &self.protocols), (SEC_WEBSOCKET_EXTENSIONS, &self.extensions)]
        {
            if !offered.is_empty()
                && let Ok(value) = HeaderValue::try_from(offered.join(", "))
            {
                headers.insert(name, value);
            }
        }
    }

    /// Checks an instance's 101 and makes the client's of it; `None` if it is not an answer to the handshake.
    pub(super) fn answered(&self, mut headers: HeaderMap) -> Option<HeaderMap> {
        let sound = only(&headers, &UPGRADE)?.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
            && names_upgrade(&headers)
            && *only(&headers, &SEC_WEBSOCKET_ACCEPT)? == accept(&self.key)?;
        // An instance chooses one of the protocols, and extensions that were offered.
        let protocols = offers(&headers, &SEC_WEBSOCKET_PROTOCOL)?;
        let extensions = offers(&headers, &SEC_WEBSOCKET_EXTENSIONS)?;
        let chosen = protocols.len() <= 1
            && protocols.iter().all(|chosen| self.protocols.contains(chosen))
            && extensions
                .iter()
                .all(|chosen| self.extensions.iter().any(|offer| name(offer) == name(chosen)));
        if !sound || !chosen {
            return None;
        }
        towards_client(&mut headers);
        for name in OWN {
            headers.remove(name);
        }
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        for (name, chosen) in [(SEC_WEBSOCKET_PROTOCOL, protocols), (SEC_WEBSOCKET_EXTENSIONS, extensions)] {
            if !chosen.is_empty() {
                headers.insert(name, HeaderValue::try_from(chosen.join(", ")).ok()?);
            }
        }
        Some(headers)
    }
}

/// The value of a field that stands once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// The items of a field's list; `None` if it is none, or is too long.
fn offers(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for value in headers.get_all(name) {
        bytes += value.len();
        let text = value.to_str().ok().filter(|_| bytes <= OFFER)?;
        items.extend(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned));
    }
    Some(items)
}

/// The name of an extension, without its parameters.
fn name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// What a key is answered with.
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let text = [key.as_bytes(), GUID].concat();
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

fn fresh_key() -> Option<HeaderValue> {
    HeaderValue::try_from(STANDARD.encode(fastrand::u128(..).to_ne_bytes())).ok()
}

/// Follows the frames of one direction (RFC 6455 section 5.2), to know where one ends.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of the frame that is under way, as far as it came.
    head: Vec<u8>,
    /// Bytes of its payload that are still to come.
    left: u64,
    closed: bool,
}

/// The longest head: two bytes, a length, a mask.
const HEAD: usize = 2 + 8 + 4;
const CLOSE: u8 = 8;

impl Frames {
    /// Looks at what was sent.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= taken as u64;
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            self.head.push(*byte);
            if let Some(length) = length(&self.head) {
                self.closed |= self.head.first().is_some_and(|first| first & 0xf == CLOSE);
                self.left = length;
                self.head.clear();
            }
        }
    }

    /// Whether another frame may begin here.
    pub(super) fn between(&self) -> bool {
        self.head.is_empty() && self.left == 0 && !self.closed
    }
}

/// The length of the payload behind a head, once the head is whole.
fn length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < (2 + extended + mask).min(HEAD) {
        return None;
    }
    let digits = head.get(2..2 + extended).unwrap_or_default();
    let extended_length = digits.iter().fold(0, |length, digit| length << 8 | u64::from(*digit));
    Some(if extended == 0 { u64::from(second & 0x7f) } else { extended_length })
}

/// A close frame without a mask: 1008, "policy violation".
pub(super) const POLICY: [u8; 4] = [0x88, 2, 0x03, 0xf0];

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ];

    fn head(method: &str, fields: &[(&str, &str)]) -> Parts {
        let request = http::Request::builder().method(method);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    /// The good fields, one of them changed.
    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut fields: Vec<_> = GOOD.iter().copied().filter(|(found, _)| *found != name).collect();
        fields.extend((!value.is_empty()).then_some((name, value)));
        fields
    }

    #[test]
    fn a_handshake_is_sound_or_none() {
        // The key and its answer are those of RFC 6455 section 1.3.
        let handshake = Handshake::of(&head("GET", GOOD)).unwrap();
        assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(Handshake::of(&head("POST", GOOD)).is_none());
        for (name, value) in [
            ("upgrade", ""),
            ("upgrade", "websocket, h2c"),
            ("connection", ""),
            ("connection", "keep-alive"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-version", ""),
            ("sec-websocket-key", ""),
            ("sec-websocket-key", "dG9vIHNob3J0"),
            ("sec-websocket-key", "not base64"),
            ("sec-websocket-protocol", "a b"),
            ("content-length", "5"),
        ] {
            assert!(Handshake::of(&head("GET", &with(name, value))).is_none(), "{name}: {value}");
        }
        let twice = [GOOD, &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat();
        assert!(Handshake::of(&head("GET", &twice)).is_none());
    }

    #[test]
    fn the_instance_gets_a_handshake_of_the_gateways_own() {
        let handshake = Handshake::of(&head("GET", GOOD)).unwrap();
        let mut headers = head("GET", GOOD).headers;
        handshake.towards_instance(&mut headers);
        assert_ne!(headers[SEC_WEBSOCKET_KEY], GOOD[3].1);
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "chat, superchat");
        assert_eq!(
            (&headers[UPGRADE], &headers[CONNECTION]),
            (&WEBSOCKET, &HeaderValue::from_static("upgrade"))
        );
    }

    #[test]
    fn an_instances_101_answers_what_it_was_asked() {
        let handshake = Handshake::of(&head("GET", GOOD)).unwrap();
        let right = accept(&handshake.key).unwrap().to_str().unwrap().to_owned();
        let answered = |name: &str, value: &str| {
            let mut fields = vec![
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-accept", right.as_str()),
                ("sec-websocket-protocol", "chat"),
                ("sec-websocket-extensions", "permessage-deflate"),
            ];
            fields.retain(|(found, _)| *found != name);
            fields.push((name, value));
            handshake.answered(head("GET", &fields).headers)
        };
        let good = answered("x-own", "kept").unwrap();
        assert_eq!(good[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            (&good["x-own"], &good[SEC_WEBSOCKET_PROTOCOL]),
            (&"kept".parse().unwrap(), &"chat".parse().unwrap())
        );
        for (name, value) in [
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-accept", ""),
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-protocol", "other"),
            ("sec-websocket-protocol", "chat, superchat"),
            ("sec-websocket-extensions", "x-other"),
        ] {
            assert!(answered(name, value).is_none(), "{name}: {value}");
        }
    }

    #[test]
    fn frames_end_where_they_end_however_they_come() {
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let longest = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1][..], &vec![7; 65_537]].concat();
        let masked = [&[0x81, 0x83, 1, 2, 3, 4][..], b"abc"].concat();
        for frame in [&[0x81, 0][..], &[0x81, 2, b'h', b'i'], &long, &longest, &masked] {
            for piece in [1, 3, 1000, frame.len()] {
                let mut frames = Frames::default();
                frames.sent(&frame[..frame.len() - 1]);
                assert!(!frames.between());
                frames.sent(&frame[frame.len() - 1..]);
                assert!(frames.between());
                frame.chunks(piece).for_each(|bytes| frames.sent(bytes));
                assert!(frames.between(), "{} bytes by {piece}", frame.len());
            }
        }
        let mut frames = Frames::default();
        frames.sent(&POLICY);
        assert!(!frames.between(), "nothing follows a close");
    }
}
