//! What a program is given of secrets, and what of them stays untold: in its arguments, in what it says, and in errors
//! `***` stands for them ([`meridian_model::plan::hide`]). A program that tells them in another form (encoded, cut into
//! pieces) is not stopped by that.

use std::path::PathBuf;

use meridian_model::plan::{HIDDEN_MIN, hide};

use crate::error::ActuatorError;
use crate::process::Output;
use crate::web::secret;

/// Variables of the environment whose values are secrets.
#[derive(Default)]
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// As they stand in their files now.
    pub(super) async fn read(files: &[(String, PathBuf)]) -> Result<Self, ActuatorError> {
        let mut read = Vec::new();
        for (name, file) in files {
            let value = secret(file.clone()).await?;
            if value.len() < HIDDEN_MIN {
                let file = file.display();
                let problem = format!(
                    "the secret in {file} is shorter than {HIDDEN_MIN} characters, and so could not be hidden"
                );
                return Err(ActuatorError::WrongState { command: "run the program of a step", problem });
            }
            read.push((name.clone(), value));
        }
        Ok(Self(read))
    }

    pub(super) fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn hide(&self, text: &str) -> String {
        hide(text, self.env().map(|(_, value)| value))
    }

    /// How the last `most` bytes of what is said are to be heard: with what of a secret may stand before them.
    pub(super) fn output(&self, most: usize) -> Output {
        Output::Tail(most.saturating_add(self.longest()))
    }

    /// The last `most` bytes of what was heard so. Where more was said than was heard, the first secret may lack its
    /// beginning, and is not known again: so much goes.
    pub(super) fn heard(&self, said: &str, most: usize) -> String {
        let (longest, hidden) = (self.longest(), self.hide(said));
        // A character that has lost its beginning was left out.
        let whole = longest == 0 || said.len() + char::MAX.len_utf8() <= most.saturating_add(longest);
        let gone = if whole { 0 } else { longest };
        let mut start = hidden.len().saturating_sub(most).max(gone).min(hidden.len());
        while !hidden.is_char_boundary(start) {
            start += 1;
        }
        hidden.get(start..).unwrap_or_default().to_owned()
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|(_, value)| value.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_secret_is_left_where_the_beginning_was_cut_off() {
        let secrets = Secrets(vec![("TOKEN".to_owned(), "abcdefghij".to_owned())]);
        let most = 20;
        let Output::Tail(heard) = secrets.output(most) else { panic!("the end") };
        for before in 0..30 {
            let said = format!("{} abcdefghij abcdefghij abcdefghij is it", "x".repeat(before));
            let told = secrets.heard(&said[said.len().saturating_sub(heard)..], most);
            assert!(!told.contains("hij") && !told.contains("cde"), "{said:?}: {told:?}");
            assert!(told.len() <= most && told.ends_with(" is it"), "{told:?}");
        }
        assert_eq!(secrets.heard("TOKEN=abcdefghij", most), "TOKEN=***");
        assert_eq!(Secrets::default().heard("all of it", most), "all of it");
    }
}
