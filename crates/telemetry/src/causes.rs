//! An error in words. What a client library says of one alone is often no more than "error trying to connect".

use std::error::Error;

/// `text`, then what caused `error`, each after a colon; not what the text ends with already.
#[must_use]
pub fn with_causes(text: impl Into<String>, error: &dyn Error) -> String {
    let mut text = text.into();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Layer { text, source: layers(rest) }))
    }

    #[test]
    fn all_causes_are_told_once() {
        let told = |texts: &[&'static str]| {
            let error = layers(texts).unwrap();
            with_causes(error.to_string(), &*error)
        };
        assert_eq!(told(&["alone"]), "alone");
        assert_eq!(told(&["no answer", "reset", "errno 104"]), "no answer: reset: errno 104");
        assert_eq!(told(&["no answer: reset", "reset", "errno 104"]), "no answer: reset: errno 104");
    }
}
