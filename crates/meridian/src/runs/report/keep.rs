//! The report of every run that has ended, kept by each node in its data folder: the evidence is there without
//! anybody asking for it, in every region that lives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use meridian_coordination::journal::RUNS_KEPT;
use meridian_model::run::Run;
use meridian_model::{RegionName, RunId, System};
use meridian_node::peer::{Question, ask};
use meridian_node::secret::Secret;
use meridian_node::status::{GroupStatus, Loss, NodeStatus, STATUS};

use super::facts::Facts;
use super::html::html;
use crate::runs::seen::{loser, seen};

/// How often the node looks whether a run has ended. A report is read long after its run.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// For so long the region that was lost is asked what it had lost; later, `meridian run report` tells it.
const ASKED_FOR_MS: i64 = 7 * 24 * 3_600_000;
/// So many reports are kept at least: of two files each, of some 30 KB.
const KEPT: usize = 200;

/// Keeps the reports of `here`, as long as it is not dropped.
pub(crate) async fn keep(system: System, here: RegionName, secret: Secret) {
    let Some(region) = system.region(&here) else { return };
    let mut shelf = Shelf::new(region.node.data_dir.join("reports"), system.databases.len());
    let system = Arc::new(system);
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some(own) = status(&system, &here, &secret).await else { continue };
        let ask: BTreeSet<RegionName> =
            own.groups.iter().flat_map(|group| shelf.to_ask(group, &here, own.at.0)).collect();
        let mut others = BTreeMap::new();
        for region in ask {
            if let Some(told) = status(&system, &region, &secret).await {
                others.insert(region, told);
            }
        }
        // A disk may hang: the threads of the node do not wait for it.
        let system = Arc::clone(&system);
        let kept = tokio::task::spawn_blocking(move || {
            shelf.take(&system, &own, &others);
            shelf
        });
        shelf = match kept.await {
            Ok(shelf) => shelf,
            Err(error) => return tracing::error!(%error, "no more reports of runs are kept"),
        };
    }
}

async fn status(system: &System, region: &RegionName, secret: &Secret) -> Option<NodeStatus> {
    let address = system.region(region)?.node.control;
    let question = Question { method: Method::GET, path: STATUS, body: Vec::new() };
    match ask(address, secret, question, ANSWER_WITHIN).await {
        Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok(),
        _ => None,
    }
}

/// The oldest first, as they are to lie on the shelf.
fn ended(group: &GroupStatus) -> impl Iterator<Item = &Run> {
    group.runs.iter().rev().filter(|run| run.finished())
}

/// The files, and what is in them.
struct Shelf {
    folder: PathBuf,
    /// More are not kept; never fewer than the journal may tell, or they would be written again and again.
    most: usize,
    written: BTreeMap<RunId, (Run, Option<Vec<Loss>>)>,
}

impl Shelf {
    fn new(folder: PathBuf, groups: usize) -> Self {
        Self { folder, most: KEPT.max(RUNS_KEPT * groups), written: BTreeMap::new() }
    }

    /// Puts all that have ended where they belong. `others`: what regions say that may know what a run cost.
    fn take(&mut self, system: &System, own: &NodeStatus, others: &BTreeMap<RegionName, NodeStatus>) {
        let old = |run: &Run| {
            let from = run.from.as_ref()?;
            let told = if *from == own.region { own } else { others.get(from)? };
            told.groups.iter().find(|group| group.group == run.group)
        };
        for group in &own.groups {
            for run in ended(group) {
                let seen = seen(system, run, group, old(run), own.at);
                self.put(&seen.run, seen.losses.as_ref(), || Facts::of(system, &seen));
            }
        }
    }

    /// Regions that may know what a run cost, while nobody has told it.
    fn to_ask(&self, group: &GroupStatus, here: &RegionName, now_ms: i64) -> Vec<RegionName> {
        let open = |run: &&Run| {
            let known = self.written.get(&run.id);
            let told = known.and_then(|(_, losses)| losses.as_ref()).is_some_and(|losses| !losses.is_empty());
            !told && now_ms - run.decided_at.0 < ASKED_FOR_MS
        };
        let from = ended(group).filter(open).filter_map(loser);
        from.filter(|from| *from != here).cloned().collect()
    }

    /// Writes the report of a run, unless what is known of it has been written. A region that does not answer any
    /// more does not undo what it has told.
    fn put(&mut self, run: &Run, losses: Option<&Vec<Loss>>, facts: impl FnOnce() -> Facts) {
        let page = self.folder.join(format!("{}.html", run.id));
        let (known, there) = (self.written.get(&run.id), page.exists());
        if there && (losses.is_none() || known.is_some_and(|(r, l)| r == run && l.as_ref() == losses)) {
            return;
        }
        match self.write(&page, &facts()) {
            Ok(()) => {
                tracing::info!(run = %run.id, page = %page.display(), "the run's report is written");
                self.written.insert(run.id.clone(), (run.clone(), losses.cloned()));
            }
            Err(error) => {
                tracing::warn!(%error, page = %page.display(), "the run's report cannot be written; \
                it is tried again, and `meridian run report` shows it")
            }
        }
        self.written.retain(|run, _| self.folder.join(format!("{run}.html")).exists());
    }

    fn write(&self, page: &Path, facts: &Facts) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let json = crate::output::json(facts).map_err(io::Error::other)?;
        replace(&page.with_extension("json"), &json)?;
        replace(page, &html(facts))?;
        self.prune()
    }

    /// The oldest go.
    fn prune(&self) -> io::Result<()> {
        let mut pages = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|ext| ext == "html") {
                pages.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        pages.sort();
        for (_, page) in pages.iter().rev().skip(self.most) {
            std::fs::remove_file(page)?;
            match std::fs::remove_file(page.with_extension("json")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A reader sees the old text or the new one, never a half.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // For the operator alone: it names users' tables.
    let mut options = std::fs::File::options();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    out.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use meridian_model::run::RunKind;

    use super::*;
    use crate::runs::fixture::{failover, loss, name, run, system, told};

    #[test]
    fn a_report_is_written_once_and_anew_when_the_loss_is_known() {
        let (system, folder) = (system(), tempfile::tempdir().unwrap());
        let mut shelf = Shelf::new(folder.path().join("reports"), 1);
        let mut put = |losses: Option<Vec<Loss>>, after| {
            let seen = told(&system, &[failover(&system)], losses, after);
            shelf.put(&seen.run, seen.losses.as_ref(), || Facts::of(&system, &seen));
            let file = folder.path().join("reports/orders-2-failover.json");
            let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            (facts["now_seconds"].as_f64().unwrap(), facts["loss"]["transactions"].as_u64())
        };
        let first = put(None, 60_000);
        assert_eq!(first.1, None);
        assert_eq!(put(None, 65_000), first, "nothing new");
        let (second, counted) = put(Some(vec![loss(Some(3))]), 70_000);
        assert!(second > first.0 && counted == Some(3));
        assert_eq!(put(Some(vec![loss(Some(3))]), 75_000), (second, counted), "nothing new");
        assert_eq!(put(None, 80_000), (second, counted), "the lost region is silent again");
        let page = std::fs::read_to_string(folder.path().join("reports/orders-2-failover.html")).unwrap();
        meridian_page::html::well_formed(&page).unwrap();
    }

    #[test]
    fn the_lost_region_is_asked_until_it_has_told() {
        let (system, folder) = (system(), tempfile::tempdir().unwrap());
        let mut shelf = Shelf::new(folder.path().to_owned(), 1);
        let group = |run: Run| crate::runs::fixture::group(vec![run], Vec::new());
        let (here, lost) = (name("eu-central-1"), name("us-east-1"));
        let run = failover(&system);
        let now = run.decided_at.0 + 60_000;
        let costless = Run { kind: RunKind::Resume, ..run.clone() };
        assert_eq!(shelf.to_ask(&group(costless), &here, now), [], "it took the writer from nobody");
        assert_eq!(shelf.to_ask(&group(run.clone()), &here, now), std::slice::from_ref(&lost));
        assert_eq!(shelf.to_ask(&group(run.clone()), &lost, now), [], "itself need not be asked");
        assert_eq!(shelf.to_ask(&group(run.clone()), &here, now + ASKED_FOR_MS), []);
        let seen = told(&system, std::slice::from_ref(&run), Some(vec![loss(Some(3))]), 60_000);
        shelf.put(&seen.run, seen.losses.as_ref(), || Facts::of(&system, &seen));
        assert_eq!(shelf.to_ask(&group(run), &here, now), []);
    }

    #[test]
    fn the_newest_reports_are_kept() {
        let (system, folder) = (system(), tempfile::tempdir().unwrap());
        let mut shelf = Shelf::new(folder.path().to_owned(), 1);
        for i in 0..KEPT {
            let file = std::fs::File::create(folder.path().join(format!("old-{i}.html"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(i as u64)).unwrap();
        }
        let seen = told(&system, &[run(&system, RunKind::Switchover)], None, 60_000);
        shelf.put(&seen.run, None, || Facts::of(&system, &seen));
        let there = |file: &str| folder.path().join(file).exists();
        assert!(!there("old-0.html") && there("old-1.html") && there("orders-2-failover.html"));
    }

    /// With four databases, and as many runs as the journal keeps, some were pruned and written again at each look.
    #[test]
    fn what_the_journal_tells_is_written_once_however_many_groups_there_are() {
        const GROUPS: usize = 4;
        let (system, folder) = (system(), tempfile::tempdir().unwrap());
        let mut shelf = Shelf::new(folder.path().to_owned(), GROUPS);
        let seen = told(&system, &[run(&system, RunKind::Switchover)], None, 60_000);
        let written = std::cell::Cell::new(0);
        for _look in 0..2 {
            for id in 0..RUNS_KEPT * GROUPS {
                let run = Run { id: name(&format!("orders-{id}")), ..seen.run.clone() };
                shelf.put(&run, None, || {
                    written.set(written.get() + 1);
                    Facts::of(&system, &seen)
                });
            }
        }
        assert_eq!(written.get(), RUNS_KEPT * GROUPS);
    }
}
