//! Single values, read from text.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// A value that is written as one word.
pub trait Scalar: Sized {
    /// Whether any text is one, so that in JSON only a text is.
    const TEXT: bool = false;
    /// Reads it; the error says what to write instead.
    fn read(text: &str) -> Result<Self, String>;
    /// Its JSON Schema.
    fn schema() -> Value;
}

macro_rules! by_from_str {
    ($($type:ty => $what:literal, $schema:tt;)*) => {$(
        impl Scalar for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("`{text}` is not {}", $what))
            }
            fn schema() -> Value { json!($schema) }
        }
    )*};
}

by_from_str! {
    u8 => "a whole number from 0 to 255", {"type": "integer", "minimum": 0, "maximum": 255};
    u16 => "a whole number from 0 to 65535", {"type": "integer", "minimum": 0, "maximum": 65535};
    u32 => "a whole number", {"type": "integer", "minimum": 0};
    u64 => "a whole number", {"type": "integer", "minimum": 0};
    i64 => "a whole number, which may be negative", {"type": "integer"};
    usize => "a whole number", {"type": "integer", "minimum": 0};
    SocketAddr => "an address and port such as 127.0.0.1:8080", {"type": "string"};
    IpAddr => "an IP address", {"type": "string"};
    ipnet::IpNet => "a network such as 10.0.0.0/8", {"type": "string"};
    uuid::Uuid => "a GUID such as 00000000-0000-0000-0000-000000000000", {"type": "string", "format": "uuid"};
}

/// A percentage.
#[derive(Debug, Clone, Copy)]
pub struct Percent(pub u8);

impl Scalar for Percent {
    fn read(text: &str) -> Result<Self, String> {
        let percent = text.parse::<u8>().ok().filter(|percent| *percent <= 100);
        percent.map(Percent).ok_or_else(|| format!("`{text}` is not a whole number from 0 to 100"))
    }
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": 100})
    }
}

/// A type whose own error says what is wrong.
macro_rules! by_own_error {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            fn read(text: &str) -> Result<Self, String> {
                Self::try_from(text.to_owned()).map_err(|error| error.to_string())
            }
            fn schema() -> Value { json!({"type": "string"}) }
        }
    )*};
}

by_own_error!(
    crate::model::names::EndpointName,
    crate::model::names::DeploymentName,
    crate::model::datastore::DatastoreName,
    crate::model::scope::Scope,
    crate::model::backend::InstanceUrl,
    crate::model::deployment::Route,
    crate::model::paths::AllowedPath
);

impl Scalar for String {
    const TEXT: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Scalar for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path was expected".to_owned()) } else { Ok(text.into()) }
    }
    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Scalar for bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        }
    }
    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

impl Scalar for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration such as 500ms, 60s, 15m or 24h");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        millis.filter(|&ms| ms <= 366 * 86_400_000).map(Duration::from_millis).ok_or_else(wrong)
    }
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"})
    }
}

/// A whole number of milliseconds, as `az ml` writes request settings.
#[derive(Debug, Clone, Copy)]
pub struct Millis(pub Duration);

impl Scalar for Millis {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a whole number of milliseconds");
        text.parse::<u32>().map(|ms| Millis(Duration::from_millis(ms.into()))).map_err(|_| wrong())
    }
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }
}

/// A whole number of seconds, as `az ml` writes probes.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub Duration);

impl Scalar for Seconds {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a whole number of seconds");
        text.parse::<u32>().map(|s| Seconds(Duration::from_secs(s.into()))).map_err(|_| wrong())
    }
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0})
    }
}

/// A duration in the form of ISO 8601, as ARM writes them: `PT1M30S`, `PT0.5S`.
#[derive(Debug, Clone, Copy)]
pub struct IsoDuration(pub Duration);

impl Scalar for IsoDuration {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration such as PT90S or PT0.5S");
        let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        let duration = Duration::try_from(duration).map_err(|_| wrong())?;
        if text.starts_with(['P', 'p']) { Ok(IsoDuration(duration)) } else { Err(wrong()) }
    }
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^P"})
    }
}

impl std::fmt::Display for IsoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, rest) = (self.0.as_secs(), self.0.subsec_nanos());
        if rest == 0 {
            write!(f, "PT{seconds}S")
        } else {
            let fraction = format!("{rest:09}");
            write!(f, "PT{seconds}.{}S", fraction.trim_end_matches('0'))
        }
    }
}
