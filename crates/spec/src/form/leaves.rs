//! Single values: text, names, numbers with their units, addresses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use meridian_model::{Name, Share};
use serde_json::{Value, json};

use super::{Form, clip, wrong};
use crate::source::Problems;
use crate::tree::{Data, Node};

/// A count that is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AtLeastOne(pub(crate) u32);

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// An address of an HTTP service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url(pub(crate) String);

impl Form for String {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) => Some(text.clone()),
            _ => wrong(node, "text", "", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Form for PathBuf {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) if !text.is_empty() && !text.contains('\0') => Some(Self::from(text)),
            _ => wrong(node, "a path", "relative paths begin at the folder of this file", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Form for Name {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Data::Scalar(text) = &node.data else { return wrong(node, "a name", "", problems) };
        match Self::new(text) {
            Ok(name) => Some(name),
            Err(_) => {
                let rule =
                    || "a-z, 0-9 and `-`, at most 63, with a letter or a digit at both ends".to_owned();
                let hint = name_like(text).map_or_else(rule, |name| format!("write `{name}`"));
                problems.error(node.place, format!("`{}` is not a name", clip(text)), hint);
                None
            }
        }
    }
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" })
    }
}

/// The name that was probably meant: `Shop_EU` becomes `shop-eu`.
fn name_like(text: &str) -> Option<Name> {
    let lower = text.to_lowercase();
    let made: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Name::new(made.trim_matches('-')).ok()
}

impl Form for bool {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) if text == "true" => Some(true),
            Data::Scalar(text) if text == "false" => Some(false),
            _ => wrong(node, "true or false", "write `true` or `false`", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl Form for f64 {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) => match Self::from_str(text) {
                Ok(number) if number.is_finite() => Some(number),
                _ => wrong(node, "a number", "", problems),
            },
            _ => wrong(node, "a number", "", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "number" })
    }
}

impl Form for u32 {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) => match text.parse() {
                Ok(number) => Some(number),
                Err(_) => wrong(node, "a whole number from 0 to 4294967295", "", problems),
            },
            _ => wrong(node, "a whole number", "", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

impl Form for AtLeastOne {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match u32::parse(node, problems)? {
            0 => wrong(node, "at least 1", "write `1` or more", problems),
            number => Some(Self(number)),
        }
    }
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

impl Form for u16 {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) => match text.parse() {
                Ok(number) if number > 0 => Some(number),
                _ => wrong(node, "a port from 1 to 65535", "", problems),
            },
            _ => wrong(node, "a port from 1 to 65535", "", problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX })
    }
}

impl Form for Duration {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let Data::Scalar(text) = &node.data else {
            return wrong(node, "a duration such as `30s`", DURATION_HINT, problems);
        };
        let found = duration(text);
        if found.is_none() && is_number(text) {
            let message = format!("`{}` has no unit", clip(text));
            problems.error(
                node.place,
                message,
                format!("write `{}s` for seconds", text.trim_start_matches('+')),
            );
            return None;
        }
        let joined: String = text.split_whitespace().collect();
        if found.is_none() && joined != *text && duration(&joined).is_some() {
            problems.error(
                node.place,
                format!("`{}` has a space in it", clip(text)),
                format!("write `{joined}`"),
            );
            return None;
        }
        found.or_else(|| wrong(node, "a duration such as `30s`", DURATION_HINT, problems))
    }
    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d)$",
            "examples": ["30s", "500ms", "5m"],
        })
    }
}

/// Exact, up to a hundred years: a number, perhaps with a fraction, and a unit.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let nanos_in_unit: u128 = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    let nanos = scaled(number, nanos_in_unit)?;
    (nanos <= DURATION_NANOS_MAX).then(|| u64::try_from(nanos).ok().map(Duration::from_nanos))?
}

/// `number * factor`, if that is whole.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| (1..=20).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let tens = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let rest = fraction.parse::<u128>().ok()?.checked_mul(factor)?;
    let whole = whole.parse::<u128>().ok()?.checked_mul(factor)?;
    (rest % tens == 0).then(|| whole.checked_add(rest / tens))?
}

fn is_number(text: &str) -> bool {
    f64::from_str(text).is_ok_and(f64::is_finite)
}

impl Form for Share {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = "a percentage such as `40%`";
        let Data::Scalar(text) = &node.data else { return wrong(node, expected, SHARE_HINT, problems) };
        let number = text.strip_suffix('%').map(str::trim_end);
        let found = number.and_then(|n| f64::from_str(n).ok()).and_then(Self::from_percent);
        if found.is_none() && number.is_none() && is_number(text) {
            problems.error(node.place, format!("`{}` has no unit", clip(text)), format!("write `{text}%`"));
            return None;
        }
        found.or_else(|| wrong(node, expected, SHARE_HINT, problems))
    }
    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$", "examples": ["40%"] })
    }
}

impl Form for Bytes {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = "a size such as `16MiB`";
        let Data::Scalar(text) = &node.data else { return wrong(node, expected, SIZE_HINT, problems) };
        if is_number(text) {
            problems.error(
                node.place,
                format!("`{}` has no unit", clip(text)),
                format!("write `{text}B` for bytes"),
            );
            return None;
        }
        size(text).map(Self).or_else(|| wrong(node, expected, SIZE_HINT, problems))
    }
    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)$",
            "examples": ["16MiB"],
        })
    }
}

fn size(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    u64::try_from(scaled(number, u128::from(*factor))?).ok()
}

/// A size as people write it, exact; [`Bytes`] reads it back.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().filter(|(name, _)| *name == "B" || name.contains('i'));
    let fitting = binary.filter(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    let (unit, factor) = fitting.max_by_key(|(_, factor)| *factor).copied().unwrap_or(("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Implements [`Form`] for types whose own parser says all that is needed.
macro_rules! parsed {
    ($type:ty, $expected:literal, $hint:literal, $schema:expr) => {
        impl Form for $type {
            fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
                match &node.data {
                    Data::Scalar(text) => {
                        text.parse().ok().or_else(|| wrong(node, $expected, $hint, problems))
                    }
                    _ => wrong(node, $expected, $hint, problems),
                }
            }
            fn schema() -> Value {
                $schema
            }
        }
    };
}

parsed!(
    IpAddr,
    "an IP address",
    "such as `10.1.0.10`",
    json!({ "type": "string", "examples": ["10.1.0.10"] })
);
parsed!(
    SocketAddr,
    "an address with a port",
    "such as `10.1.0.10:8080` or `[fd00::1]:8080`",
    json!({ "type": "string", "examples": ["10.1.0.10:8080"] })
);
parsed!(
    Url,
    "an http:// or https:// address",
    "such as `http://10.1.0.10:2379`",
    json!({ "type": "string", "pattern": "^https?://", "examples": ["http://10.1.0.10:2379"] })
);

impl FromStr for Url {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(())?;
        let host = rest.split('/').next().unwrap_or("");
        let host = host.rsplit_once('@').map_or(host, |(_user, host)| host);
        let bad = |c: char| c.is_whitespace() || c.is_control();
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let host_there = !host.is_empty() && !host.starts_with(':');
        (host_there && port_fits && !rest.contains(bad)).then(|| Self(text.to_owned())).ok_or(())
    }
}

impl Form for IpNet {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = "a network such as `10.1.0.0/16`";
        let Data::Scalar(text) = &node.data else { return wrong(node, expected, "", problems) };
        match Self::from_str(text) {
            Ok(net) if net.trunc() == net => Some(net),
            Ok(net) => {
                let message = format!("`{net}` has bits set outside its prefix");
                problems.error(node.place, message, format!("write `{}`", net.trunc()));
                None
            }
            Err(_) => match text.parse::<IpAddr>() {
                Ok(ip) => wrong(
                    node,
                    expected,
                    &format!("write `{}` for this one address", Self::from(ip)),
                    problems,
                ),
                Err(_) => {
                    wrong(node, expected, "an address, a slash, and the length of the prefix", problems)
                }
            },
        }
    }
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "/[0-9]+$", "examples": ["10.1.0.0/16"] })
    }
}

const DURATION_HINT: &str = "a number and ms, s, m, h or d: `500ms`, `30s`, `5m`";
const SHARE_HINT: &str = "a number from 0 to 100 and `%`";
const SIZE_HINT: &str = "a number and B, KiB, MiB, GiB or TiB";
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
/// A hundred years.
const DURATION_NANOS_MAX: u128 = 100 * 366 * 86_400_000_000_000;
