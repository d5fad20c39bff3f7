//! What people are shown of a step: an address only as far as its host, for in some services the rest is what
//! lets one in, and of a program's environment the names, wherever its values stand. What nodes share to act by stays
//! whole.

use std::cmp::Reverse;

use super::{Check, Notify, Secretive, Task, Work};
use crate::run::{Run, Step};

/// Stands where a value is not shown.
const HIDDEN: &str = "***";

/// What is shorter is not looked for: it stands in many a word by chance.
pub const HIDDEN_MIN: usize = 4;

/// The one rule of what is told beside such values: each of them, and each line of one that has several, is replaced by
/// `***` wherever it stands as it is. The longest first, for one may be a part of another.
#[must_use]
pub fn hide<'v>(text: &str, values: impl IntoIterator<Item = &'v str>) -> String {
    let lines = values.into_iter().flat_map(str::lines).map(str::trim);
    let mut all: Vec<&str> = lines.filter(|line| line.len() >= HIDDEN_MIN).collect();
    all.sort_unstable_by_key(|value| Reverse(value.len()));
    all.into_iter().fold(text.to_owned(), |text, value| text.replace(value, HIDDEN))
}

impl Run {
    /// As it is printed and sent.
    #[must_use]
    pub fn shown(&self) -> Self {
        let shown = |step: &Step| Step { work: step.work.shown(), ..step.clone() };
        Self { steps: self.steps.iter().map(shown).collect(), ..self.clone() }
    }
}

impl Work {
    /// As it is printed and sent.
    #[must_use]
    pub fn shown(&self) -> Self {
        let mut work = self.clone();
        let conditions = work.before.iter_mut().chain(&mut work.afterwards);
        conditions.for_each(only_site);
        match &mut work.task {
            Task::Verify { checks } => checks.iter_mut().for_each(only_site),
            Task::Notify { to, .. } => {
                let (Notify::Webhook { url } | Notify::Slack { url } | Notify::Pagerduty { url, .. }) = to;
                if let Secretive::Open(url) = url {
                    *url = site(url);
                }
            }
            Task::Exec(exec) => {
                for word in &mut exec.command {
                    *word = hide(word, exec.env.iter().map(|(_, value)| value.as_str()));
                }
                exec.env.iter_mut().for_each(|(_, value)| HIDDEN.clone_into(value));
            }
            Task::Demote
            | Task::Fence
            | Task::Promote
            | Task::Repoint
            | Task::Scale { .. }
            | Task::Shift { .. }
            | Task::Dns
            | Task::Protect
            | Task::Wait { .. }
            | Task::Approve { .. } => {}
        }
        work
    }
}

fn only_site(check: &mut Check) {
    match check {
        Check::Http { url, .. } | Check::Promql { url, .. } => *url = site(url),
        Check::Sql { .. } => {}
    }
}

/// Scheme, host and port.
fn site(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Name;
    use crate::plan::Exec;

    const PLANTED: &str = "planted-secret";

    #[test]
    fn no_address_beyond_its_host_and_no_value_of_an_environment_is_shown() {
        let url = format!("https://me:{PLANTED}@hooks.example:8443/{PLANTED}?token={PLANTED}#{PLANTED}");
        let open = || Secretive::Open(url.clone());
        let http = Check::Http { url: url.clone(), status: 200, contains: None };
        let promql = Check::Promql { url: url.clone(), query: "up".to_owned() };
        let exec = Exec {
            command: vec!["/bin/warm".to_owned(), format!("--token={PLANTED}")],
            env: vec![("TOKEN".to_owned(), PLANTED.to_owned())],
            env_files: Vec::new(),
            directory: None,
            output_max: 1,
        };
        let notify = |to| Task::Notify { to, text: "moved".to_owned() };
        let routing_key_file = "/etc/meridian/key".into();
        let tasks = [
            notify(Notify::Webhook { url: open() }),
            notify(Notify::Slack { url: open() }),
            notify(Notify::Pagerduty { url: open(), routing_key_file }),
            Task::Exec(exec),
            Task::Verify { checks: vec![http.clone(), promql.clone()] },
        ];
        for task in tasks {
            let mut work = Work::new(Name::new("step").unwrap(), task, Duration::from_secs(1));
            (work.before, work.afterwards) = (vec![http.clone()], vec![promql.clone()]);
            let shown = format!("{:?}", work.shown());
            assert!(format!("{work:?}").contains(PLANTED) && !shown.contains(PLANTED), "{shown}");
            assert!(shown.contains("\"https://hooks.example:8443\""), "{shown}");
            assert!(!shown.contains("/bin/warm") || shown.contains("(\"TOKEN\", \"***\")"), "{shown}");
        }
    }

    #[test]
    fn values_are_hidden_whole_wherever_they_stand_and_in_parts_by_line() {
        let hidden = |text: &str| hide(text, ["inner", "outer-inner", "first line\nsecond line\n", "no", ""]);
        assert_eq!(hidden("outer-inner,inner/no outer"), "***,***/no outer");
        assert_eq!(
            hidden("it read `second line`, then first line\nsecond line"),
            "it read `***`, then ***\n***"
        );
        assert_eq!(hidden("outer inn er"), "outer inn er", "only as it is");
    }

    #[test]
    fn a_secret_in_a_file_is_named_by_its_file() {
        let to = Notify::Slack { url: Secretive::File("/etc/meridian/slack".into()) };
        let task = Task::Notify { to, text: "moved".to_owned() };
        let work = Work::new(Name::new("step").unwrap(), task, Duration::from_secs(1));
        assert_eq!(work.shown(), work);
        assert_eq!(site("hooks.example/a"), "hooks.example");
    }
}
