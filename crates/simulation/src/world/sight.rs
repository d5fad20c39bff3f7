//! What a node sees of others and makes of it: probes, reports shared through etcd, verdicts, the snapshot and
//! the answers that users get from it.

use std::sync::Arc;
use std::time::Duration;

use meridian_failover::Event;
use meridian_health::{Received, Tracker, bare_verdicts};
use meridian_model::health::{Health, Observation, Part, RegionHealth, Report, Target};
use meridian_model::name::RegionName;
use meridian_model::{Moment, Timers};
use meridian_steering::View;
use meridian_steering::answer::Class;

use super::etcd::Request;
use super::serve::Shown;
use super::{Act, World};
use crate::schedule::{MS, SECOND, Us};
use crate::shape::{REGIONS_MAX, Shape, group, index, region};

/// What one node sees.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    trackers: Vec<Watched>,
    round: u64,
    /// The last report of each vantage, and when it was new here.
    reports: [Option<(Arc<Report>, Moment)>; REGIONS_MAX],
    /// What the verdicts were made from, and the verdicts.
    made_from: Option<Ground>,
    verdicts: Arc<Vec<RegionHealth>>,
    /// What DNS, edge and gateway hold, and the verdicts that it was made from.
    pub(super) view: Arc<View>,
    published: Arc<Vec<RegionHealth>>,
    /// What the state of the group was made from.
    pub(super) shown: Option<Shown>,
}

#[derive(Debug, Clone)]
struct Watched {
    region: usize,
    part: Part,
    tracker: Tracker,
}

/// All that verdicts depend on: who is fresh and what each says. The same ground gives the same verdicts
/// (but for the ages in their reasons), so they are made anew only when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ground {
    shared: bool,
    fresh: [bool; REGIONS_MAX],
    said: [u64; REGIONS_MAX],
}

/// Probes of every region are repeated after this long.
const PROBE_EVERY: Us = SECOND;
/// A probe without an answer is given up after this long.
const PROBE_TIMEOUT: Us = SECOND;
/// How long a round takes when everybody answers.
const ROUND_TAKES: (Us, Us) = (5 * MS, 150 * MS);
/// What a vantage that misjudges takes for down, in percent.
const MISJUDGED: u64 = 70;

impl Sight {
    pub(super) fn new(shape: Shape, view: Arc<View>) -> Self {
        let parts = |i: usize| {
            let data: &[Part] = if i < shape.members() { &[Part::Edge, Part::Database] } else { &[] };
            [Part::Node].into_iter().chain(data.iter().copied()).map(move |part| (i, part))
        };
        let watched = |(i, part)| {
            let target = Target { region: region(i), part };
            Watched { region: i, part, tracker: Tracker::new(target, &Timers::default()) }
        };
        Self {
            trackers: (0..shape.nodes()).flat_map(parts).map(watched).collect(),
            round: 0,
            reports: [const { None }; REGIONS_MAX],
            made_from: None,
            verdicts: Arc::default(),
            view,
            published: Arc::default(),
            shown: None,
        }
    }

    /// A new life: nothing has been seen, but the snapshot was on disk.
    pub(super) fn begin(&mut self) {
        let timers = Timers::default();
        for watched in &mut self.trackers {
            watched.tracker = Tracker::new(watched.tracker.target().clone(), &timers);
        }
        self.round = 0;
        self.reports = [const { None }; REGIONS_MAX];
        self.made_from = None;
        self.shown = None;
    }

    /// What verdicts would be made from now, and in how long a report expires, if that is before the next
    /// round.
    fn ground(&self, shared: bool, now: Moment, ttl: Duration) -> (Ground, Option<Duration>) {
        let mut ground = Ground { shared, fresh: [false; REGIONS_MAX], said: [0; REGIONS_MAX] };
        let mut expires: Option<Duration> = None;
        for (v, (report, at)) in
            self.reports.iter().enumerate().filter_map(|(v, seen)| Some((v, seen.as_ref()?)))
        {
            let left = ttl.checked_sub(now.since(*at));
            ground.fresh[v] = left.is_some();
            ground.said[v] = said(report);
            let soon = left.filter(|left| *left < Duration::from_micros(PROBE_EVERY));
            expires = soon.map(|soon| expires.map_or(soon, |e| e.min(soon))).or(expires);
        }
        (ground, expires)
    }

    /// The reports, as `health` takes them.
    fn received(&self) -> Vec<Received<Arc<Report>>> {
        let reports = self.reports.iter().flatten();
        reports.map(|(report, at)| Received { report: Arc::clone(report), observed_at: *at }).collect()
    }

    /// Who the data planes here take for the writer.
    pub(super) fn writer(&self) -> Option<&RegionName> {
        self.view.snapshot.group(&group())?.writer.as_ref()
    }
}

impl World {
    // === probes ===

    /// A round of probes, and the next one after it.
    pub(super) fn probe(&mut self, i: usize, life: u32) {
        if self.nodes[i].life != life || self.nodes[i].machine.is_none() {
            return;
        }
        self.after(PROBE_EVERY, Act::Probe(i, life));
        if !self.process(i) || self.harm.observer_hangs[i] {
            return;
        }
        let mut trackers = std::mem::take(&mut self.nodes[i].sight.trackers);
        let mut all_answer = true;
        let mut observations = Vec::with_capacity(trackers.len());
        for watched in &mut trackers {
            let answers = self.answers_probe(i, watched.region, watched.part);
            all_answer &= answers;
            let outcome = answers.then_some(ROUND_TRIP).ok_or_else(|| "no answer within 1 s".to_owned());
            observations.push(watched.tracker.record(outcome));
        }
        let sight = &mut self.nodes[i].sight;
        sight.trackers = trackers;
        sight.round += 1;
        let report = Arc::new(Report { vantage: region(i), round: sight.round, observations });
        let takes = self.draws.probes.between(ROUND_TAKES.0, ROUND_TAKES.1);
        let takes = if all_answer { takes } else { PROBE_TIMEOUT };
        self.after(takes, Act::Seen(i, life, report));
    }

    fn answers_probe(&mut self, i: usize, target: usize, part: Part) -> bool {
        if i != target && self.harm.misjudges[i] && self.draws.probes.percent(MISJUDGED) {
            return false;
        }
        let reached = i == target || (self.connected(i, target) && !self.harm.asleep[target]);
        let there = match part {
            Part::Database => self.nodes[target].db.runs() && !self.harm.asleep[target],
            _ => self.process(target),
        };
        reached && there
    }

    /// A round is over: its report is shared, the verdicts are made, the machine is told.
    pub(super) fn round_ends(&mut self, i: usize, life: u32, report: Arc<Report>) {
        if self.nodes[i].life != life || !self.process(i) || self.harm.observer_hangs[i] {
            return;
        }
        let now = self.local(i);
        self.nodes[i].sight.reports[i] = Some((Arc::clone(&report), now));
        self.send(i, Request::Sight(report));
        self.judge(i);
        let regions = Arc::clone(&self.nodes[i].sight.verdicts);
        self.deliver(i, Event::Regions(regions));
        self.publish(i);
    }

    /// Another vantage's report comes in through etcd.
    pub(super) fn hear_report(&mut self, i: usize, vantage: usize, report: Arc<Report>) {
        if vantage == i {
            return;
        }
        let now = self.local(i);
        let known = &mut self.nodes[i].sight.reports[vantage];
        if known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &report)) {
            return;
        }
        *known = Some((report, now));
        self.judge(i);
    }

    // === verdicts ===

    /// What all vantage points together make of every region; the machine is told when that has changed.
    pub(super) fn judge(&mut self, i: usize) {
        if !self.process(i) || self.harm.observer_hangs[i] {
            return;
        }
        let now = self.local(i);
        let shared = self.believes_in_etcd(i);
        let timers = Timers::default();
        let (ground, expires) = self.nodes[i].sight.ground(shared, now, timers.observation_ttl);
        if let Some(left) = expires {
            let life = self.nodes[i].life;
            self.after(left.as_micros() as Us + MS, Act::Judge(i, life));
        }
        if self.nodes[i].sight.made_from.as_ref() == Some(&ground) {
            return;
        }
        let received = self.nodes[i].sight.received();
        let regions: Vec<RegionName> = (0..self.nodes.len()).map(region).collect();
        let new = Arc::new(bare_verdicts(&regions, &region(i), &received, shared, now, &timers));
        let votes = votes(i, self.nodes.len(), &ground, &received);
        self.watcher.judged(i, self.nodes.len(), &new, &votes);
        let sight = &mut self.nodes[i].sight;
        sight.made_from = Some(ground);
        let changed = !same_health(&sight.verdicts, &new);
        sight.verdicts = Arc::clone(&new);
        if changed {
            self.say(|_| tell(i, &new));
            self.deliver(i, Event::Regions(new));
            self.publish(i);
        }
    }

    // === the snapshot ===

    /// The data planes get a new snapshot if it says anything new.
    pub(super) fn publish(&mut self, i: usize) {
        if !self.process(i) || self.nodes[i].sight.verdicts.is_empty() {
            return;
        }
        let now = self.local(i);
        let wall = self.nodes[i].clock.wall(self.now);
        let Some(machine) = self.nodes[i].machine.as_ref() else { return };
        let groups = vec![machine.group_state(now)];
        let sight = &mut self.nodes[i].sight;
        let old = Arc::clone(&sight.view.snapshot);
        // The same once more is no news, and that is what it mostly is.
        if Arc::ptr_eq(&sight.published, &sight.verdicts) && old.groups == groups {
            return;
        }
        sight.published = Arc::clone(&sight.verdicts);
        let Some(snapshot) = sight.view.next_snapshot(&sight.verdicts, groups, None, wall).snapshot else {
            return;
        };
        let same_answers = same_health(&old.regions, &snapshot.regions);
        let generation = snapshot.generation;
        sight.view = sight.view.with_snapshot(Arc::new(snapshot));
        if same_answers {
            return self.watcher.published(i, generation, None);
        }
        let view = Arc::clone(&self.nodes[i].sight.view);
        let Some(service) = view.system.services.first() else { return };
        let answer = view.answer_for(service, Class { population: None, dials: 0 });
        let offered = answer.candidates.iter().map(|c| c.region.clone()).collect();
        self.watcher.published(i, generation, Some(offered));
    }
}

/// For each region how many fresh reports say that it is up, how many that it is down, and whether its own is
/// silent: counted by the words of the law, not by the code of `health`.
fn votes(
    here: usize,
    regions: usize,
    ground: &Ground,
    received: &[Received<Arc<Report>>],
) -> Vec<(usize, usize, bool)> {
    let mut votes = vec![(0, 0, true); regions];
    for report in received.iter().map(|received| &received.report) {
        let vantage = index(&report.vantage);
        if !ground.fresh[vantage] {
            continue;
        }
        votes[vantage].0 += 1;
        votes[vantage].2 = false;
        let of = |region: usize, part| {
            let target = |o: &&Observation| o.target.part == part && index(&o.target.region) == region;
            report.observations.iter().find(target).map_or(Health::Unknown, |o| o.health)
        };
        let others = || (0..regions).filter(|other| *other != vantage);
        let up = |region| of(region, Part::Node) == Health::Up || of(region, Part::Edge) == Health::Up;
        let down = |region| of(region, Part::Node) == Health::Down && !up(region);
        let seen = |o: &Observation| o.target.part != Part::Database && o.health != Health::Down;
        let mut others_seen = report.observations.iter().filter(|o| o.target.region != report.vantage);
        let muted = !others_seen.any(seen) || (vantage == here && !ground.shared);
        for other in others() {
            votes[other].0 += usize::from(up(other));
            votes[other].1 += usize::from(down(other) && !muted);
        }
    }
    votes
}

/// What a report says, in two bits for each target.
fn said(report: &Report) -> u64 {
    let bits = |health| match health {
        Health::Up => 1,
        Health::Down => 2,
        Health::Unknown => 3,
    };
    report.observations.iter().fold(0, |all, seen| all << 2 | bits(seen.health))
}

fn same_health(old: &[RegionHealth], new: &[RegionHealth]) -> bool {
    let same_parts = |a: &RegionHealth, b: &RegionHealth| {
        a.parts.len() == b.parts.len()
            && a.parts
                .iter()
                .zip(&b.parts)
                .all(|(a, b)| a.target.part == b.target.part && a.health == b.health)
    };
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.health == b.health && same_parts(a, b))
}

fn tell(i: usize, regions: &[RegionHealth]) -> String {
    let of = |r: &RegionHealth| format!("{} is {}", r.region, r.health);
    let all: Vec<String> = regions.iter().map(of).collect();
    format!("{}:   sees that {}", region(i), all.join(", "))
}

/// How long an answered probe took.
const ROUND_TRIP: Duration = Duration::from_millis(40);
