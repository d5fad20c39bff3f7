//! Secrets do not stand in a URL of a spec: every node has the spec, and every run is kept with its steps.

use crate::form::{At, Url, clip};
use crate::source::Problems;

/// Tells a URL that holds a password or what looks like a token.
pub(super) fn check_url(url: &At<Url>, hint: &str, problems: &mut Problems) {
    let rest = url.value.0.split_once("://").map_or(url.value.0.as_str(), |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some((user, _)) = host.rsplit_once('@') {
        let who = user.split(':').next().unwrap_or_default();
        let message = format!("this URL holds the credentials of `{}`", clip(who));
        problems.error(url.place, message, hint);
        return;
    }
    if path.split(['/', '?', '&', '=', '#']).any(is_token) {
        problems.error(url.place, "this URL holds what looks like a secret", hint);
    }
}

/// Long and made by chance: letters and digits in one piece, or the groups of a UUID.
fn is_token(part: &str) -> bool {
    let pieces: Vec<&str> = part.split(['-', '_']).collect();
    let both = |s: &str| s.bytes().any(|b| b.is_ascii_digit()) && s.bytes().any(|b| b.is_ascii_alphabetic());
    let one = |s: &&str| s.len() >= TOKEN_MIN && s.bytes().all(|b| b.is_ascii_alphanumeric()) && both(s);
    let uuid = pieces.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
        && part.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    pieces.iter().any(one) || uuid
}

/// Slack's webhooks end in 24 letters and digits; names of people and places rarely have 16 with digits.
const TOKEN_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::is_token;

    #[test]
    fn tokens_and_what_only_is_long() {
        for token in
            ["XyzAbc0123456789XyzAbc01", "123e4567-e89b-12d3-a456-426614174000", "bot_0a1b2c3d4e5f6a7b8c"]
        {
            assert!(is_token(token), "{token}");
        }
        for name in [
            "orders-recovery-2026-eu-central-1",
            "T00000000",
            "B00000000",
            "this-is-a-very-long-path",
            "v2",
            "",
        ] {
            assert!(!is_token(name), "{name}");
        }
    }
}
