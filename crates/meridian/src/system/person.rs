//! Who asks for something, and why.

use clap::Args;

/// Who asks, and why.
#[derive(Args)]
pub(crate) struct Person {
    /// Who asks, for the journal. Without it: the user of this session, before `sudo`.
    #[arg(long, default_value_t = user())]
    pub(crate) by: String,
    /// Why, for the journal.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// Who uses this program, as the operating system tells: before `sudo`, else of the session, else by the number.
pub(crate) fn user() -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_of(|name| std::env::var_os(name), rustix::process::getuid().as_raw(), &users)
}

fn user_of(variable: impl Fn(&str) -> Option<std::ffi::OsString>, number: u32, users: &str) -> String {
    let named = |name: &&str| variable(name).and_then(|value| value.into_string().ok());
    let mut names = ["SUDO_USER", "USER", "LOGNAME"].iter().filter_map(named);
    let listed = || {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
        })
    };
    let name = names.find(|name| !name.trim().is_empty()).or_else(listed);
    name.unwrap_or_else(|| format!("uid {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_names_the_person_behind_the_command() {
        let of = |set: &[(&str, &str)]| {
            let variable =
                |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into());
            user_of(variable, 1000, "root:x:0:0::/root:/bin/sh\n\ncarol:x:1000:0:1000:/:/bin/sh\n")
        };
        assert_eq!(of(&[("USER", "root"), ("SUDO_USER", "ann"), ("LOGNAME", "root")]), "ann");
        assert_eq!(of(&[("USER", ""), ("LOGNAME", "bob")]), "bob");
        assert_eq!(of(&[]), "carol", "cron and containers set no variable");
        assert_eq!(user_of(|_| None, 1000, "root:x:0:0::/root:/bin/sh\n"), "uid 1000");
    }
}
