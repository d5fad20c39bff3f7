//! When a certificate ends: just enough of PEM and DER to find that date. Pure.

use meridian_model::Timestamp;

/// The earliest end of the certificates in a PEM file; none if there is none that can be read.
#[must_use]
pub fn earliest_end(pem: &str) -> Option<Timestamp> {
    let bodies = pem.split(BEGIN).skip(1).filter_map(|rest| rest.split(END).next());
    bodies.filter_map(|body| end_of(&base64(body)?)).min()
}

/// `Certificate { tbsCertificate { [0] version, serial, algorithm, issuer, validity { from, to } … } … }`.
fn end_of(der: &[u8]) -> Option<Timestamp> {
    let (SEQUENCE, certificate, _) = element(der)? else { return None };
    let (SEQUENCE, mut rest, _) = element(certificate)? else { return None };
    if let (VERSION, _, after) = element(rest)? {
        rest = after;
    }
    for _serial_algorithm_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, validity, _) = element(rest)? else { return None };
    let (_, _, to) = element(validity)?;
    let (kind, text, _) = element(to)?;
    time(kind, std::str::from_utf8(text).ok()?)
}

/// Tag, contents, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// `YYMMDDHHMMSSZ` (until 2049) or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let short: i64 = digits.get(..2)?.parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, digits.get(2..)?)
        }
        GENERALIZED_TIME => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = days_since_1970(year, part(0)?, part(2)?);
    let seconds = days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?;
    (rest.len() == 10).then_some(Timestamp(seconds * 1000))
}

/// In the Gregorian calendar, with years that begin in March, so that the leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    before_year + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// White space is skipped.
fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len()), 0_u32, 0_u32);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, held) = (bits << 6 | u32::from(value), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xFF) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn the_earliest_end_in_a_file_is_found() {
        // `date -u -d 2031-03-01 +%s`
        let (near, far) = (made(2031), made(2064));
        assert_eq!(earliest_end(&near), Some(Timestamp(1_930_089_600_000)));
        assert_eq!(earliest_end(&far), Some(Timestamp(2_971_555_200_000)));
        assert_eq!(earliest_end(&format!("# chain\n{far}\n{near}")), earliest_end(&near));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = made(2031);
        for text in ["", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", "nothing"] {
            assert_eq!(earliest_end(text), None, "{text}");
        }
        for length in 0..whole.len() {
            let _cut_short_anywhere_it_does_not_panic = earliest_end(&whole[..length]);
        }
    }
}
