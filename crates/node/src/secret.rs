//! The secret that nodes prove to each other. It is shown nowhere.

use std::fmt;
use std::path::{Path, PathBuf};

/// The shortest secret that is accepted, in characters.
const SECRET_MIN: usize = 16;

/// A shared secret, read from a file. Its `Debug` form hides it.
#[derive(Clone)]
pub struct Secret(String);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(
        "cannot read the control secret {path}: {source}; make one with: head -c 32 /dev/urandom | base64 > {path}"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too short to be one.
    #[error(
        "the control secret in {0} is shorter than {SECRET_MIN} characters; make one with: head -c 32 /dev/urandom | base64 > {0}"
    )]
    Short(PathBuf),
}

impl Secret {
    /// Reads it from the first line of a file.
    ///
    /// # Errors
    /// [`SecretError`] when the file is missing or holds too little.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })?;
        let secret = text.lines().next().unwrap_or_default().trim();
        if secret.len() < SECRET_MIN {
            return Err(SecretError::Short(path.to_owned()));
        }
        Ok(Self(secret.to_owned()))
    }

    /// The value of an `authorization` header.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Does this header prove knowledge of the secret? Takes the same time wherever it differs.
    #[must_use]
    pub fn proves(&self, header: Option<&[u8]>) -> bool {
        let expected = self.bearer();
        let given = header.unwrap_or_default();
        let same_length = given.len() == expected.len();
        let difference =
            expected.bytes().zip(given.iter().chain(std::iter::repeat(&0))).fold(0, |d, (a, b)| d | (a ^ b));
        same_length && difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_proves_and_nothing_shows_it() {
        let secret = Secret("0123456789abcdef".to_owned());
        assert!(secret.proves(Some(b"Bearer 0123456789abcdef")));
        for wrong in [
            None,
            Some(&b""[..]),
            Some(b"Bearer "),
            Some(b"Bearer 0123456789abcde"),
            Some(b"Bearer 0123456789abcdef0"),
        ] {
            assert!(!secret.proves(wrong), "{wrong:?}");
        }
        assert!(!format!("{secret:?}").contains("0123"));
    }

    #[test]
    fn a_short_or_missing_secret_says_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(Secret::read(&path).unwrap_err().to_string().contains("/dev/urandom"));
        std::fs::write(&path, "short\n").unwrap();
        assert!(Secret::read(&path).unwrap_err().to_string().contains("16 characters"));
    }
}
