//! What can be asked, behind one question: did it work, how long did it take, else what went wrong.

use std::time::Duration;

use futures_util::future::join_all;
use meridian_model::{RegionName, System};

use crate::http::Page;
use crate::session::Greeting;
use crate::sql::Sql;

/// How long the answer took; or what went wrong, in words for people.
pub(crate) type Outcome = Result<Duration, String>;

/// One target.
pub(crate) enum Probe {
    /// A page of the node or the edge.
    Page(Page),
    /// The instances of every service of the region.
    App(Services),
    /// The gateway's greeting.
    Gateway(Greeting),
    /// Every database of the region.
    Database(Vec<Sql>),
}

impl Probe {
    /// Asks once. It may be dropped at any time: it then forgets its connections.
    pub(crate) async fn ask(&mut self) -> Outcome {
        match self {
            Self::Page(page) => page.ask().await,
            Self::App(services) => services.ask().await,
            Self::Gateway(greeting) => greeting.ask().await,
            Self::Database(members) => slowest(join_all(members.iter_mut().map(Sql::ask)).await),
        }
    }
}

/// The instances of every service in one region.
pub(crate) struct Services(Vec<Vec<Page>>);

impl Services {
    /// The services that have a backend there.
    pub(crate) fn of(system: &System, region: &RegionName) -> Self {
        let pages = |service: &meridian_model::service::Service| {
            let backend = service.backends.iter().find(|backend| &backend.region == region)?;
            let host = service.hosts.first().map(String::as_str);
            let page = |address: &_| Page::new(*address, &service.health_check.path, host);
            Some(backend.endpoints.iter().map(page).collect())
        };
        Self(system.services.iter().filter_map(pages).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A service works if any of its instances does; the region, if every service does.
    async fn ask(&mut self) -> Outcome {
        let services =
            self.0.iter_mut().map(|pages| async { fastest(join_all(pages.iter_mut().map(in_time)).await) });
        slowest(join_all(services).await)
    }
}

/// One instance that hangs must not use up the time of the others.
async fn in_time(page: &mut Page) -> Outcome {
    let address = page.address();
    match tokio::time::timeout(INSTANCE_WITHIN, page.ask()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("{address}: no answer within {INSTANCE_WITHIN:?}")),
    }
}

/// How long one of several instances may take: less than the probe as a whole (1 s), more than the two
/// longest round trips that a fresh connection needs (440 ms).
const INSTANCE_WITHIN: Duration = Duration::from_millis(800);

/// One must work.
fn fastest(outcomes: Vec<Outcome>) -> Outcome {
    let mut reasons = Vec::new();
    let mut best: Option<Duration> = None;
    for outcome in outcomes {
        match outcome {
            Ok(took) => best = Some(best.map_or(took, |best| best.min(took))),
            Err(reason) => reasons.push(reason),
        }
    }
    best.ok_or_else(|| if reasons.is_empty() { "it has no address".to_owned() } else { reasons.join("; ") })
}

/// All must work.
fn slowest(outcomes: Vec<Outcome>) -> Outcome {
    outcomes.into_iter().try_fold(Duration::ZERO, |worst, outcome| outcome.map(|took| worst.max(took)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_is_enough_and_every_database_is_needed() {
        let (fast, slow) = (Duration::from_millis(1), Duration::from_millis(9));
        let broken = || Err("refused".to_owned());
        assert_eq!(fastest(vec![broken(), Ok(slow), Ok(fast)]), Ok(fast));
        assert_eq!(fastest(vec![broken(), Err("500".to_owned())]), Err("refused; 500".to_owned()));
        assert_eq!(fastest(Vec::new()), Err("it has no address".to_owned()));
        assert_eq!(slowest(vec![Ok(fast), Ok(slow)]), Ok(slow));
        assert_eq!(slowest(vec![Ok(fast), broken()]), broken());
    }
}
