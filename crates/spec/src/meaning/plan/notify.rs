//! Who is told what.

use meridian_model::plan::{Notify, Secretive, Task};

use super::secret::check_url;
use super::step::{Maker, nothing_of};
use crate::form::{At, Written};
use crate::kinds::{NotifyForm, PagerdutyForm, UrlForm};

impl Maker<'_, '_> {
    pub(super) fn notify(&mut self, form: &At<Written<NotifyForm>>) -> Option<Task> {
        let NotifyForm { webhook, slack, pagerduty, text } = &form.value.form;
        let names = &form.value.names;
        let mut ways = names.iter().filter(|n| ["webhook", "slack", "pagerduty"].contains(&n.value.as_str()));
        match (ways.next(), ways.next()) {
            (None, _) => {
                let told = (form.place, "nobody is told", "add `webhook:`, `slack:` or `pagerduty:`");
                nothing_of(names, NotifyForm::NAMES, told, self.world.problems);
            }
            (Some(_), Some(more)) => {
                self.world.problems.error(more.place, "a step tells one", "make a step of each")
            }
            (Some(_), None) => {}
        }
        let text = text.as_ref()?;
        self.text(
            text,
            "there is nothing to tell",
            "such as `text: \"{group} moves from {from} to {to}: {cause}\"`",
        );
        let to = match (webhook, slack, pagerduty) {
            (Some(form), ..) => Notify::Webhook { url: self.secretive(form)? },
            (_, Some(form), _) => Notify::Slack { url: self.secretive(form)? },
            (.., Some(form)) => self.pagerduty(&form.value)?,
            (None, None, None) => return None,
        };
        Some(Task::Notify { to, text: text.value.clone() })
    }

    fn pagerduty(&mut self, form: &PagerdutyForm) -> Option<Notify> {
        if let Some(url) = &form.url {
            check_url(url, "the key belongs into `routingKeyFile`", self.world.problems);
        }
        let url = form.url.as_ref().map_or(PAGERDUTY, |url| url.value.0.as_str()).to_owned();
        let routing_key_file = self.path(form.routing_key_file.as_ref()?);
        Some(Notify::Pagerduty { url: Secretive::Open(url), routing_key_file })
    }

    fn secretive(&mut self, form: &At<Written<UrlForm>>) -> Option<Secretive> {
        let UrlForm { url, url_file } = &form.value.form;
        let names = &form.value.names;
        if let [_, second, ..] = names.as_slice() {
            if names.iter().all(|n| UrlForm::NAMES.contains(&n.value.as_str())) {
                let message = "both `url` and `urlFile` are written";
                self.world.problems.error(second.place, message, "remove one of them");
            }
        } else if names.is_empty() {
            let hint = "add `urlFile:`, or `url:` if it is no secret";
            self.world.problems.error(form.place, "nothing says where to", hint);
        }
        match (url, url_file) {
            (_, Some(file)) => Some(Secretive::File(self.path(file))),
            (Some(url), None) => {
                check_url(url, USE_A_FILE, self.world.problems);
                Some(Secretive::Open(url.value.0.clone()))
            }
            (None, None) => None,
        }
    }
}

const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
const USE_A_FILE: &str =
    "everybody who has the spec can read it: keep the URL in a file and write `urlFile:`";
