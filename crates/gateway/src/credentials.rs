//! Passwords with which the gateway logs users in at a new writer, when it moves their sessions there.
//!
//! Each user has proven to the old server that it knows its password; the gateway never lets anybody in
//! with these. Passwords come from files, are read when the gateway starts and again when a login needs it,
//! and appear in no log and no debug output.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_model::{Database, RegionName};

/// The users whose sessions can be moved. Cloning copies a pointer.
#[derive(Clone, Default)]
pub struct Credentials(Arc<HashMap<String, Secret>>);

struct Secret {
    file: PathBuf,
    password: Mutex<Option<Arc<str>>>,
}

impl Credentials {
    /// The application's user of a database, with the password file of the member in that region. No
    /// member there: nobody.
    #[must_use]
    pub fn of(database: &Database, region: &RegionName) -> Self {
        let member = database.member(region).map(|m| &m.postgres);
        Self::from_files(member.map(|m| (m.app_user.clone(), m.app_password_file.clone())))
    }

    /// These users, each with the file that holds the password on one line.
    pub fn from_files(users: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let secret = |file| Secret { file, password: Mutex::default() };
        Self(Arc::new(users.into_iter().map(|(user, file)| (user, secret(file))).collect()))
    }

    /// Sessions of that user can be moved, as far as its password is concerned.
    #[must_use]
    pub fn know(&self, user: &str) -> bool {
        self.0.contains_key(user)
    }

    /// Reads all files. One that cannot be read is read again when it is needed.
    pub(crate) async fn read(&self) {
        for (user, secret) in &*self.0 {
            if let Err(error) = secret.read().await {
                let file = secret.file.display();
                tracing::debug!(target: "meridian::gateway", user, %file, %error, "no password yet; sessions of this user cannot be moved");
            }
        }
    }

    /// The password of that user.
    ///
    /// # Errors
    /// In words, without the password.
    pub(crate) async fn password(&self, user: &str) -> Result<Arc<str>, String> {
        let secret = self.0.get(user).ok_or_else(|| "no password of this user is known".to_owned())?;
        let known = secret.password().clone();
        match known {
            Some(password) => Ok(password),
            None => secret.read().await.map_err(|e| format!("reading {}: {e}", secret.file.display())),
        }
    }

    /// The server did not take `refused`. True: the file holds another one by now.
    pub(crate) async fn changed(&self, user: &str, refused: &str) -> bool {
        match self.0.get(user) {
            Some(secret) => secret.read().await.is_ok_and(|password| *password != *refused),
            None => false,
        }
    }
}

impl Secret {
    async fn read(&self) -> std::io::Result<Arc<str>> {
        let password: Arc<str> = read_line(&self.file).await?.into();
        *self.password() = Some(Arc::clone(&password));
        Ok(password)
    }

    fn password(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_line(file: &Path) -> std::io::Result<String> {
    let text = tokio::fs::read_to_string(file).await?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\n', '\0']) {
        let problem = "it must hold the password on one line";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, problem));
    }
    Ok(line.to_owned())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_when_it_is_there_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let credentials = Credentials::from_files([("app".to_owned(), file.clone())]);
        assert!(credentials.know("app") && !credentials.know("root"));
        credentials.read().await;
        assert!(credentials.password("app").await.unwrap_err().contains("password"), "names the file");
        std::fs::write(&file, "first secret\n").unwrap();
        assert_eq!(&*credentials.password("app").await.unwrap(), "first secret");
        assert!(!credentials.changed("app", "first secret").await);
        std::fs::write(&file, "second secret").unwrap();
        assert_eq!(&*credentials.password("app").await.unwrap(), "first secret", "kept");
        assert!(credentials.changed("app", "first secret").await);
        assert_eq!(&*credentials.password("app").await.unwrap(), "second secret");
        assert!(credentials.password("root").await.is_err());
        assert_eq!(format!("{credentials:?}"), r#"Credentials(["app"])"#);
        for nonsense in ["", "\n", "two\nlines"] {
            std::fs::write(&file, nonsense).unwrap();
            assert!(!credentials.changed("app", "second secret").await, "{nonsense:?}");
        }
    }
}
