//! What the frames of an HTTP/2 connection amount to, by their heads alone.
//!
//! The parser behind keeps to RFC 9113 and bounds streams, header lists, windows and the errors that a client makes. It
//! does not bound frames that cost a client nothing: those are counted here, in one pass, without keeping any of them.

use super::burst::Burst;

/// Bytes of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;
/// The client connection preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Control frames that a client may send for each frame that moves a body or an answer: both windows, and a ping.
const EARNED: u32 = 4;
/// And one for so many bytes of it.
const EARNING: u32 = 512;
/// A block of fields that is no longer than this holds nothing but a status.
const STATUS_ONLY: u32 = 8;

/// Bytes that are kept of a payload: an error code, and the parser's word for it.
const NOTE: usize = 40;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Bounds of the frames of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Streams that the client resets in ten seconds.
    pub resets: u32,
    /// Lists of fields that are too large, in all. The parser answers them and counts only other errors.
    pub errors: u32,
    /// Frames in ten seconds that move nothing.
    pub control: u32,
    /// CONTINUATION frames of one header block.
    pub continuations: u32,
}

/// Why frames are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client's first frame are not its settings (RFC 9113 section 3.4), which the parser does not mind.
    NoSettings,
    /// There are too many.
    Abuse(Abuse),
}

/// What a client does too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// Streams begun to be reset.
    Resets,
    /// Errors, so that the gateway resets streams.
    Errors,
    /// Frames that move nothing.
    Control,
    /// A header block in too many pieces.
    Continuation,
    /// A header list that is too large.
    HeaderList,
    /// Another bound of the parser's.
    Other,
}

impl Abuse {
    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Abuse::Resets => "resets",
            Abuse::Errors => "errors",
            Abuse::Control => "control",
            Abuse::Continuation => "continuation",
            Abuse::HeaderList => "header_list",
            Abuse::Other => "other",
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn parse(bytes: [u8; HEAD]) -> Head {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Head {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Follows what a client sends.
#[derive(Debug)]
pub struct Frames {
    limits: FrameLimits,
    /// Bytes that are left of the preface or of the payload that is under way.
    left: usize,
    /// The client's first frame, which are its settings, is through.
    settled: bool,
    /// Frames that have begun.
    begun: bool,
    /// The stream of a header block that is under way.
    block: Option<u32>,
    /// The block ends with the payload that is under way.
    ending: bool,
    continuations: u32,
    errors: u32,
    resets: Burst,
    control: Burst,
}

impl Frames {
    /// At the start of a connection.
    pub fn new(limits: FrameLimits) -> Frames {
        Frames {
            limits,
            left: PREFACE.len(),
            settled: false,
            begun: false,
            block: None,
            ending: false,
            continuations: 0,
            errors: 0,
            resets: Burst::default(),
            control: Burst::default(),
        }
    }

    /// Whether something is expected that has to come in time: settings, or the rest of a header block.
    pub fn in_head(&self) -> bool {
        !self.settled || self.block.is_some()
    }

    /// The stream of the header block that is under way.
    pub fn block(&self) -> Option<u32> {
        self.block
    }

    /// A header block is begun by somebody else.
    pub fn begin_block(&mut self, stream: u32) {
        self.block = Some(stream);
    }

    /// Looks at bytes, at a time in milliseconds, and counts in `passed` how many of them may pass. What is left is the
    /// beginning of a frame's head and has to be shown again, in front of what comes next.
    pub fn advance(&mut self, bytes: &[u8], now: u64, passed: &mut usize) -> Result<(), Refusal> {
        while let Some(rest) = bytes.get(*passed..).filter(|rest| !rest.is_empty()) {
            if self.left == 0 {
                let Some(head) = rest.first_chunk() else { return Ok(()) };
                self.begin(Head::parse(*head), now)?;
                *passed += HEAD;
            } else {
                let taken = rest.len().min(self.left);
                *passed += taken;
                self.left -= taken;
            }
            if self.left == 0 && self.begun {
                self.settled = true;
                if std::mem::take(&mut self.ending) {
                    self.block = None;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: Head, now: u64) -> Result<(), Refusal> {
        if !self.begun && (head.kind != SETTINGS || head.has(ACK)) {
            return Err(Refusal::NoSettings);
        }
        if self.errors > self.limits.errors {
            return Err(Refusal::Abuse(Abuse::Errors));
        }
        self.begun = true;
        match head.kind {
            HEADERS => {
                self.block = Some(head.stream);
                self.continuations = 0;
                self.ending = head.has(END_HEADERS);
            }
            CONTINUATION => {
                self.continuations += 1;
                if self.continuations > self.limits.continuations {
                    return Err(Refusal::Abuse(Abuse::Continuation));
                }
                self.ending = head.has(END_HEADERS);
            }
            DATA if head.length > 0 => self.moved(head.length),
            // The last one of a body is the only one that has a use.
            DATA if head.has(END_STREAM) => {}
            RST_STREAM if !self.resets.add(1, now, self.limits.resets) => {
                return Err(Refusal::Abuse(Abuse::Resets));
            }
            RST_STREAM => {}
            _ if !self.control.add(1, now, self.limits.control) => {
                return Err(Refusal::Abuse(Abuse::Control));
            }
            _ => {}
        }
        self.left = usize::try_from(head.length).unwrap_or(usize::MAX);
        Ok(())
    }

    /// A list of fields was answered with 431.
    pub fn too_large(&mut self) {
        self.errors = self.errors.saturating_add(1);
    }

    /// A frame with so many bytes moved a body or an answer, in either direction.
    pub fn moved(&mut self, length: u32) {
        self.control.earn(EARNED + length / EARNING);
    }
}

/// What a frame of the gateway's says about its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// An answer moved by so many bytes.
    Moved(u32),
    /// What the client sent was not sound.
    Malformed,
    /// Its list of fields was too large, and that was all it was told.
    TooLarge,
    /// It went beyond a bound.
    Abused(Abuse),
}

/// Follows what the gateway sends.
#[derive(Debug)]
pub struct Answers {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    have: usize,
    /// Bytes that are left of the payload.
    left: usize,
    /// The payload's beginning, of frames that end something.
    note: [u8; NOTE],
    noted: usize,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers { head: [0; HEAD], have: 0, left: 0, note: [0; NOTE], noted: 0 }
    }
}

impl Answers {
    /// Looks at bytes that were sent and tells what they say.
    pub fn advance(&mut self, bytes: &[u8], mut tell: impl FnMut(Told)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (target, want) = if self.have < HEAD {
                (self.head.get_mut(self.have..), HEAD - self.have)
            } else {
                (self.note.get_mut(self.noted..), self.left)
            };
            let (piece, after) = rest.split_at(want.min(rest.len()));
            rest = after;
            let kept =
                target.map_or(0, |target| target.iter_mut().zip(piece).map(|(to, from)| *to = *from).count());
            if self.have < HEAD {
                self.have += kept;
                if self.have < HEAD {
                    return;
                }
                self.noted = 0;
                self.left = usize::try_from(Head::parse(self.head).length).unwrap_or(usize::MAX);
            } else {
                self.left -= piece.len();
                self.noted += kept;
            }
            if self.left == 0 {
                self.have = 0;
                if let Some(told) = self.told() {
                    tell(told);
                }
            }
        }
    }

    fn told(&self) -> Option<Told> {
        let head = Head::parse(self.head);
        let number = |at: usize| self.note.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match head.kind {
            // The gateway's answers say at least which request they are for; the parser's own say 431.
            HEADERS if head.has(END_STREAM) && head.length <= STATUS_ONLY => Some(Told::TooLarge),
            DATA | HEADERS => Some(Told::Moved(head.length)),
            RST_STREAM => malformed(number(0)?),
            GOAWAY => match number(4)? {
                ENHANCE_YOUR_CALM => {
                    let said = self.note.get(8..self.noted).unwrap_or_default();
                    Some(Told::Abused(bound(said)))
                }
                code => malformed(code),
            },
            _ => None,
        }
    }
}

fn malformed(code: u32) -> Option<Told> {
    let wrong = [PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR]
        .contains(&code);
    wrong.then_some(Told::Malformed)
}

/// The parser's bound that a client broke, by the word that the parser gives with its leave.
fn bound(said: &[u8]) -> Abuse {
    match said {
        b"too_many_resets" => Abuse::Resets,
        b"too_many_internal_resets" => Abuse::Errors,
        b"too_many_data_frames" => Abuse::Control,
        b"too_many_continuations" => Abuse::Continuation,
        b"header_list_way_too_large" => Abuse::HeaderList,
        _ => Abuse::Other,
    }
}

#[cfg(test)]
mod tests;
