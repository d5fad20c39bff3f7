//! The words of a text of SQL: where statements end, and what stands in quotes.
//!
//! This is no parser: it knows PostgreSQL's quotes and comments and nothing of its grammar. Words inside
//! quotes are told too, marked as such, for the body of a `DO` block is a text as well. Backslashes are
//! ordinary in `'…'`, as they are while `standard_conforming_strings` is on (the tracker watches that).

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name, as it was written.
    Word(&'a [u8]),
    /// A name in double quotes, without them.
    Name(&'a [u8]),
    /// What looks like a word inside a constant.
    Hidden(&'a [u8]),
    /// The end of a statement.
    Semicolon,
    /// Any other sign. Numbers and blanks are not told.
    Sign(u8),
}

/// Goes through a text once.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Up to here all is inside a constant …
    hidden_until: usize,
    /// … and here what follows it begins.
    behind: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, hidden_until: 0, behind: 0 }
    }

    /// Where the next token is looked for.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    fn ahead(&self, by: usize) -> Option<u8> {
        self.text.get(self.at + by).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes as many bytes as belong to a word.
    fn run(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|b| !continues_word(*b)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn word(&mut self) -> Token<'a> {
        let word = self.run();
        if word.eq_ignore_ascii_case(b"e") && self.ahead(0) == Some(b'\'') {
            self.hide_string(true);
        }
        Token::Word(word)
    }

    /// A word of a constant; none: the constant has no more.
    fn hidden(&mut self) -> Option<Token<'a>> {
        let rest = self.text.get(self.at..self.hidden_until).unwrap_or_default();
        let Some(start) = rest.iter().position(|b| begins_word(*b)) else {
            self.at = self.behind;
            self.hidden_until = 0;
            return None;
        };
        let word = rest.get(start..).unwrap_or_default();
        let length = word.iter().position(|b| !continues_word(*b)).unwrap_or(word.len());
        self.at += start + length;
        word.get(..length).map(Token::Hidden)
    }

    /// From an opening quote to its end; a doubled quote is none, with `escapes` neither is `\'`.
    fn hide_string(&mut self, escapes: bool) {
        let mut end = self.at + 1;
        while let Some(byte) = self.text.get(end) {
            end += 1;
            match byte {
                b'\\' if escapes => end += 1,
                b'\'' if self.text.get(end) == Some(&b'\'') => end += 1,
                b'\'' => break,
                _ => {}
            }
        }
        self.at += 1;
        self.behind = end.min(self.text.len());
        self.hidden_until = self.behind;
    }

    fn name(&mut self) -> Token<'a> {
        self.at += 1;
        let rest = self.rest();
        let length = rest.iter().position(|b| *b == b'"').unwrap_or(rest.len());
        self.at += length + 1;
        Token::Name(rest.get(..length).unwrap_or_default())
    }

    /// `$tag$ … $tag$`, or the dollar of a parameter.
    fn dollar(&mut self) {
        let tag = |rest: &'a [u8]| {
            let end = rest.get(1..)?.iter().position(|b| *b == b'$')? + 2;
            let tag = rest.get(..end)?;
            let inner = rest.get(1..end - 1)?;
            let named = inner.first().is_none_or(|b| begins_word(*b));
            (named && inner.iter().all(|b| continues_word(*b))).then_some(tag)
        };
        let Some(tag) = tag(self.rest()) else {
            self.at += 1;
            return;
        };
        self.at += tag.len();
        let body = self.rest();
        let length = body.windows(tag.len()).position(|w| w == tag).unwrap_or(body.len());
        self.hidden_until = self.at + length;
        self.behind = (self.hidden_until + tag.len()).min(self.text.len());
    }

    fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }

    /// Comments of this kind nest.
    fn skip_comment(&mut self) {
        let mut depth = 0_u32;
        while let Some(byte) = self.ahead(0) {
            match (byte, self.ahead(1)) {
                (b'/', Some(b'*')) => depth = depth.saturating_add(1),
                (b'*', Some(b'/')) => depth -= 1,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                return;
            }
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.hidden_until > 0 {
                match self.hidden() {
                    Some(token) => return Some(token),
                    None => continue,
                }
            }
            let byte = self.ahead(0)?;
            match (byte, self.ahead(1)) {
                (byte, _) if begins_word(byte) => return Some(self.word()),
                (b'0'..=b'9', _) => drop(self.run()),
                (b'\'', _) => self.hide_string(false),
                (b'"', _) => return Some(self.name()),
                (b'$', _) => self.dollar(),
                (b'-', Some(b'-')) => self.skip_line(),
                (b'/', Some(b'*')) => self.skip_comment(),
                (byte, _) => {
                    self.at += 1;
                    match byte {
                        b';' => return Some(Token::Semicolon),
                        byte if byte.is_ascii_whitespace() => {}
                        byte => return Some(Token::Sign(byte)),
                    }
                }
            }
        }
    }
}

const fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

const fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> String {
        let show = |token| match token {
            Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
            Token::Name(name) => format!("\"{}\"", String::from_utf8_lossy(name)),
            Token::Hidden(word) => format!("'{}'", String::from_utf8_lossy(word)),
            Token::Semicolon => ";".to_owned(),
            Token::Sign(sign) => char::from(sign).to_string(),
        };
        Lexer::new(text.as_bytes()).map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn quotes_and_comments_are_postgresql_s() {
        for (text, tokens) in [
            ("select 1; set x=2", "select ; set x = "),
            ("'it''s; a' ; b", "'it' 's' 'a' ; b"),
            (r"E'it\'s;' ; b", "E 'it' 's' ; b"),
            (r"'\' ; b", "; b"),
            ("e ';' ; b", "e ; b"),
            ("$$ a; b $$ ; c", "'a' 'b' ; c"),
            ("$f$ a $$ b $f$ ; c", "'a' 'b' ; c"),
            ("$1 + $2; a$b", "+ ; a$b"),
            ("$a ; b", "a ; b"),
            ("a -- b; c\n d", "a d"),
            ("a /* b /* c */ ; */ d", "a d"),
            ("\"a;b\" . c", "\"a;b\" . c"),
            ("'open ; a", "'open' 'a'"),
            ("$$ open ; a", "'open' 'a'"),
            ("/* open ; a", ""),
            ("ünï 1e5", "ünï"),
        ] {
            assert_eq!(told(text), tokens.trim(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Lexer::new(&text).count() <= text.len());
        }

        #[test]
        fn quotes_in_any_disorder_have_an_end(text in "['\"$;/*\\-\\\\ aE\n]{0,60}") {
            prop_assert!(Lexer::new(text.as_bytes()).count() <= text.len());
        }
    }
}
