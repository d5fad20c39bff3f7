//! Globs of region names: `*` stands for any characters, also none.

/// True if all of `text` matches `glob`. Linear: no glob from outside can make it slow.
pub(super) fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        for (glob, text, expected) in [
            ("us-*", "us-east-1", true),
            ("us-*", "eu-west-1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("eu-west-1", "eu-west-1", true),
            ("eu-west-1", "eu-west-10", false),
            ("*-west-*", "eu-west-1", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*1*1", "1", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
