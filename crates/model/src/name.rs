//! Names of things: short, lower case, safe in a path, a metric label and a host name.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::run::StepKind;

/// The longest name, as in RFC 1123 for one label.
pub const NAME_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// Over [`NAME_MAX`] bytes.
    #[error("`{0}` is longer than {NAME_MAX} characters")]
    TooLong(String),
    /// A character outside `a-z`, `0-9` and `-`, or a `-` at an end.
    #[error("`{0}` is not a name: use a-z, 0-9 and `-`, beginning and ending with a letter or a digit")]
    Shape(String),
}

/// A name: an RFC 1123 label (`a-z`, `0-9`, `-`, at most 63 characters).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The name of a region, such as `eu-central-1`.
pub type RegionName = Name;
/// The name of a service.
pub type ServiceName = Name;
/// The name of a data group: what has exactly one writer at a time.
pub type GroupName = Name;
/// The name of one execution of a plan.
pub type RunId = Name;

impl Name {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`NameError`] when it is no RFC 1123 label.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match text.as_bytes() {
            [] => Err(NameError::Empty),
            bytes if bytes.len() > NAME_MAX => Err(NameError::TooLong(text.to_owned())),
            [b'-', ..] | [.., b'-'] => Err(NameError::Shape(text.to_owned())),
            bytes if bytes.iter().copied().all(inner) => Ok(Self(text.into())),
            _ => Err(NameError::Shape(text.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<StepKind> for Name {
    fn from(kind: StepKind) -> Self {
        Self(kind.word().into())
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_steps_are_names() {
        use StepKind::{
            Approve, Demote, Dns, Exec, Fence, Notify, Promote, Protect, Repoint, Scale, Shift, Verify, Wait,
        };
        for kind in
            [Approve, Demote, Fence, Promote, Repoint, Scale, Shift, Dns, Verify, Protect, Wait, Notify, Exec]
        {
            assert_eq!(Name::new(kind.word()), Ok(Name::from(kind)));
        }
    }
}
