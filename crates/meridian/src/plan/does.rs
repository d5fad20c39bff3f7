//! What a step does, exactly, for who reads a plan before it is carried out: the command, whom it tells, what
//! it asks, as far as that is shown (`crates/model/src/plan/shown.rs`).

use meridian_model::plan::{Check, Exec, Notify, Secretive, Task, Work};

/// What is done in a step, with its conditions.
pub(super) fn does(work: &Work) -> String {
    let work = &work.shown();
    let mut out = String::new();
    if !work.before.is_empty() {
        out += &format!("first checks {}; then ", asked(&work.before));
    }
    out += &done(&work.task);
    if !work.afterwards.is_empty() {
        out += &format!("; at last checks {}", asked(&work.afterwards));
    }
    out
}

fn done(task: &Task) -> String {
    match task {
        Task::Demote => {
            "holds new transactions everywhere, lets running ones end, stops the old writer in order"
                .to_owned()
        }
        Task::Fence => "proves that the old writer cannot write any more".to_owned(),
        Task::Promote => "pg_promote() on the successor".to_owned(),
        Task::Repoint => "primary_conninfo of the other standbys names the new writer".to_owned(),
        Task::Scale { service, instances } => {
            let what = service.as_ref().map_or_else(|| "all services".to_owned(), ToString::to_string);
            let count =
                instances.map_or_else(|| "as many as a writer's region has".to_owned(), |n| n.to_string());
            format!("scales {what} to {count}")
        }
        Task::Shift { dial, drain } => {
            let dial = dial.map(|d| format!(", dial {d}")).unwrap_or_default();
            let drain = if *drain { ", drains the old writer's region" } else { "" };
            format!("traffic goes by the new writer{dial}{drain}")
        }
        Task::Dns => "the name servers answer by the new writer".to_owned(),
        Task::Verify { checks } if checks.is_empty() => "a write and a read through the gateway".to_owned(),
        Task::Verify { checks } => format!("checks {}", asked(checks)),
        Task::Protect => "waits until a further loss could be survived".to_owned(),
        Task::Wait { for_ms } => format!("waits {for_ms} ms"),
        Task::Approve { question } => {
            format!(
                "asks a person: {question} (who orders the run has agreed to what stands before the promotion)"
            )
        }
        Task::Notify { to, text } => format!("tells {}: {text}", whom(to)),
        Task::Exec(exec) => runs(exec),
    }
}

fn whom(to: &Notify) -> String {
    match to {
        Notify::Webhook { url } => format!("the webhook at {}", place(url)),
        Notify::Slack { url } => format!("Slack at {}", place(url)),
        Notify::Pagerduty { url, routing_key_file } => {
            format!("PagerDuty at {} by the key in {}", place(url), routing_key_file.display())
        }
    }
}

fn place(url: &Secretive) -> String {
    match url {
        Secretive::File(file) => format!("the address in {}", file.display()),
        Secretive::Open(url) => url.clone(),
    }
}

fn runs(exec: &Exec) -> String {
    let words: Vec<String> = exec.command.iter().map(|word| quoted(word)).collect();
    let mut out = format!("runs {}", words.join(" "));
    if let Some(directory) = &exec.directory {
        out += &format!(" in {}", directory.display());
    }
    if !exec.env.is_empty() {
        let given: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out += &format!(" with {}", given.join(" "));
    }
    for (name, file) in &exec.env_files {
        out += &format!(" and {name} from {}", file.display());
    }
    out
}

/// As a shell would read it back, so that one sees where a word ends.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn asked(checks: &[Check]) -> String {
    checks.iter().map(check).collect::<Vec<_>>().join(", and ")
}

fn check(check: &Check) -> String {
    match check {
        Check::Sql { statement, write, expect } => {
            let port = if *write { "write" } else { "read" };
            let is = expect.as_ref().map_or_else(|| "succeeds".to_owned(), |text| format!("is `{text}`"));
            format!("that `{statement}` {is} through the {port} port")
        }
        Check::Http { url, status, contains } => {
            let contains =
                contains.as_ref().map(|text| format!(" and contains `{text}`")).unwrap_or_default();
            format!("that {url} answers {status}{contains}")
        }
        Check::Promql { url, query } => format!("that `{query}` holds at {url}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_model::Name;

    use super::*;

    fn shown(task: Task) -> String {
        does(&Work::new(Name::new("step").unwrap(), task, Duration::from_secs(1)))
    }

    #[test]
    fn commands_are_exact_and_secrets_are_not_shown() {
        let exec = Exec {
            command: ["/usr/local/bin/warm", "--all", "it's", "$HOME x", ""].map(str::to_owned).to_vec(),
            env: vec![("TIER".to_owned(), "hot now".to_owned())],
            env_files: vec![("TOKEN".to_owned(), "/etc/meridian/token".into())],
            directory: Some("/var/lib/warm".into()),
            output_max: 1,
        };
        assert_eq!(
            shown(Task::Exec(exec)),
            r"runs /usr/local/bin/warm --all 'it'\''s' '$HOME x' '' in /var/lib/warm with TIER=*** and TOKEN from /etc/meridian/token"
        );
        let text = || "moved".to_owned();
        let open = |url: &str| Secretive::Open(url.to_owned());
        let tell = |to| shown(Task::Notify { to, text: text() });
        let hook = Notify::Webhook { url: open("https://me:word@hooks.example:8443/a/b?token=c") };
        assert_eq!(tell(hook), "tells the webhook at https://hooks.example:8443: moved");
        let slack = Notify::Slack { url: Secretive::File("/etc/meridian/slack".into()) };
        assert_eq!(tell(slack), "tells Slack at the address in /etc/meridian/slack: moved");
        let url = open("https://events.pagerduty.com/v2/enqueue");
        let pager = Notify::Pagerduty { url, routing_key_file: "/etc/meridian/key".into() };
        assert_eq!(
            tell(pager),
            "tells PagerDuty at https://events.pagerduty.com by the key in /etc/meridian/key: moved"
        );
    }

    #[test]
    fn conditions_and_checks_are_named_one_by_one() {
        let sql = |write| Check::Sql {
            statement: "select 1".to_owned(),
            write,
            expect: (!write).then(|| "1".to_owned()),
        };
        let page = Check::Http {
            url: "http://shop.internal/health".to_owned(),
            status: 200,
            contains: Some("ok".to_owned()),
        };
        let query = Check::Promql { url: "http://prom.internal:9090/x".to_owned(), query: "up".to_owned() };
        let task = Task::Verify { checks: vec![page, query] };
        let mut work = Work::new(Name::new("step").unwrap(), task, Duration::from_secs(1));
        (work.before, work.afterwards) = (vec![sql(true)], vec![sql(false)]);
        assert_eq!(
            does(&work),
            "first checks that `select 1` succeeds through the write port; then checks that \
             http://shop.internal answers 200 and contains `ok`, and that `up` holds at \
             http://prom.internal:9090; at last checks that `select 1` is `1` through the read port"
        );
    }
}
