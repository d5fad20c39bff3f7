//! What must hold, asked of the running system.

use meridian_model::plan::Check;

use super::secret::check_url;
use super::step::Maker;
use crate::form::At;
use crate::kinds::{CheckForm, ChecksForm, HttpForm, PromqlForm, SqlForm};

impl Maker<'_, '_> {
    /// What is checked by a step; `{}` means a write and a read.
    pub(super) fn verified(&mut self, form: &ChecksForm) -> Vec<Check> {
        match form.0.as_slice() {
            [only] if only.names.is_empty() => Vec::new(),
            _ => self.checks(form),
        }
    }

    pub(super) fn checks(&mut self, form: &ChecksForm) -> Vec<Check> {
        let mut made = Vec::new();
        for check in &form.0 {
            if check.names.is_empty() {
                self.world.problems.error(
                    check.place,
                    "nothing is checked here",
                    "add `sql:`, `http:` or `promql:`",
                );
            }
            let CheckForm { sql, http, promql } = &check.form;
            made.extend(sql.as_ref().and_then(|f| self.sql(f)));
            made.extend(http.as_ref().and_then(|f| self.http(f)));
            made.extend(promql.as_ref().and_then(|f| self.promql(f)));
        }
        made
    }

    fn sql(&mut self, form: &SqlForm) -> Option<Check> {
        let statement = form.statement.as_ref()?;
        self.something(statement, "the statement is empty", "such as `select 1`");
        Some(Check::Sql {
            statement: statement.value.clone(),
            write: form.write,
            expect: form.expect.clone(),
        })
    }

    fn http(&mut self, form: &HttpForm) -> Option<Check> {
        let url = form.url.as_ref()?;
        check_url(url, NO_SECRET, self.world.problems);
        if url.value.0.starts_with("https://") {
            let hint = "ask the service by http:// inside the region, or let an `exec` step ask";
            self.world.problems.error(url.place, "a check asks by plain http:// only", hint);
        }
        let status = form.status.map_or(200, |s| s.value);
        if let Some(written) = form.status.filter(|s| !(100..=599).contains(&s.value)) {
            self.world.problems.error(
                written.place,
                format!("{status} is no status of HTTP"),
                "such as `200`",
            );
        }
        let status = u16::try_from(status).unwrap_or(u16::MAX);
        Some(Check::Http { url: url.value.0.clone(), status, contains: form.contains.clone() })
    }

    fn promql(&mut self, form: &PromqlForm) -> Option<Check> {
        let (url, query) = (form.url.as_ref()?, form.query.as_ref()?);
        check_url(url, NO_SECRET, self.world.problems);
        self.something(query, "the query is empty", "such as `up{job=\"shop\"}`");
        Some(Check::Promql { url: url.value.0.clone(), query: query.value.clone() })
    }

    fn something(&mut self, text: &At<String>, message: &str, hint: &str) {
        if text.value.trim().is_empty() {
            self.world.problems.error(text.place, message, hint);
        }
    }
}

const NO_SECRET: &str =
    "everybody who has the spec can read it: let an `exec` step ask, with the secret from a file";
