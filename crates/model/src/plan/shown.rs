//! What people are shown of a step: an address only as far as its host, for in some services the rest is what
//! lets one in, and of a program's environment the names. What nodes share to act by stays whole.

use super::{Check, Notify, Secretive, Task, Work};
use crate::run::{Run, Step};

/// Stands where a value is not shown.
const HIDDEN: &str = "***";

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
        conditions.for_each(hide);
        match &mut work.task {
            Task::Verify { checks } => checks.iter_mut().for_each(hide),
            Task::Notify { to, .. } => {
                let (Notify::Webhook { url } | Notify::Slack { url } | Notify::Pagerduty { url, .. }) = to;
                if let Secretive::Open(url) = url {
                    *url = site(url);
                }
            }
            Task::Exec(exec) => exec.env.iter_mut().for_each(|(_, value)| HIDDEN.clone_into(value)),
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

fn hide(check: &mut Check) {
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
            command: vec!["/bin/warm".to_owned()],
            env: vec![("TOKEN".to_owned(), PLANTED.to_owned())],
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
    fn a_secret_in_a_file_is_named_by_its_file() {
        let to = Notify::Slack { url: Secretive::File("/etc/meridian/slack".into()) };
        let task = Task::Notify { to, text: "moved".to_owned() };
        let work = Work::new(Name::new("step").unwrap(), task, Duration::from_secs(1));
        assert_eq!(work.shown(), work);
        assert_eq!(site("hooks.example/a"), "hooks.example");
    }
}
