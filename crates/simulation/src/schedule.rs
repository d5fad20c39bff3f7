//! A schedule: a system and a list of faults over time, all of it from one seed.
//!
//! The faults stand in the list before anything runs, so that a schedule that breaks a law can be made
//! shorter: without this fault, with that one ending sooner, with one region less.

use std::fmt;

use crate::chance::Chance;
use crate::shape::{Shape, word};

/// True time in microseconds since the beginning.
pub type Us = u64;

/// A second of true time.
pub const SECOND: Us = 1_000_000;
/// A millisecond of true time.
pub const MS: Us = 1_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The node process is killed and its database with it; it starts again at the end.
    NodeDies(usize),
    /// A whole region is lost: node, database, etcd member; it starts again at the end.
    RegionDies(usize),
    /// A whole region is frozen (its machine sleeps) and wakes up late.
    RegionSleeps(usize),
    /// The node process is frozen; its database and the guard beside it go on.
    ProcessSleeps(usize),
    /// The loop of the group hangs; gateway, watchdog, probes and database go on.
    LoopStalls(usize),
    /// Nothing passes from one region to another.
    LinkCut(usize, usize),
    /// Nothing passes between two regions, on and off with that period.
    LinkFlaps(usize, usize, Us),
    /// A region is cut off from all others.
    Isolated(usize),
    /// A node reaches etcd, but no other node reaches it.
    LinesCut(usize),
    /// A node does not reach etcd, nor its own region's member.
    EtcdCut(usize),
    /// etcd answers nobody.
    EtcdAway,
    /// Requests to etcd take so much longer, up to.
    EtcdSlow(Us),
    /// Of so many percent of the requests to etcd the answer is lost, and some come late or never.
    EtcdTrouble(u64),
    /// So many percent of the messages between nodes are lost, doubled or late.
    MessageTrouble(u64),
    /// The watch of a node brings nothing, and it does not notice.
    WatchHangs(usize),
    /// A node neither probes nor judges; its loop goes on.
    ObserverHangs(usize),
    /// The database ends by itself.
    DatabaseDies(usize),
    /// The node dies and its disk is lost: it starts again at the end, with nothing.
    DiskLost(usize),
    /// A node cannot write to its disk.
    DiskFull(usize),
    /// The wall clock of a node jumps by so many milliseconds, and back at the end.
    WallJumps(usize, i64),
    /// The clock of a node runs so many parts per million too fast.
    ClockDrifts(usize, i64),
    /// A vantage point takes most of the others for down.
    Misjudges(usize),
    /// Database actions of a node fail.
    ActionsFail(usize),
    /// Database actions of a node hang, and fail in the end.
    ActionsHang(usize),
    /// Database actions of a node succeed, but are reported as failed.
    ActionsSilent(usize),
    /// Database actions of a node take many times as long.
    ActionsLate(usize),
    /// A standby stays connected and receives nothing.
    WalStuck(usize),
    /// A node is asked to give the lease up.
    StepDown(usize),
    /// A person agrees to a failover; with `true` also to the loss of data.
    PersonAgrees(bool),
    /// No fault: a person orders the writer to move to that region.
    Switchover(usize),
    /// No fault: the spec wants so many standbys to acknowledge. Nodes hear of it when they start.
    Acknowledgers(u32),
}

/// A fault: what, when, for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Us,
    /// How long it lasts; what happens at one instant lasts for nothing.
    pub lasts: Us,
    /// What.
    pub kind: Kind,
}

impl Fault {
    /// When it has ended; one that lasts for good is waited for no longer than it takes to begin.
    #[must_use]
    pub const fn ends(&self) -> Us {
        if self.for_good() { self.at } else { self.at + self.lasts }
    }

    /// It never ends.
    #[must_use]
    pub const fn for_good(&self) -> bool {
        self.lasts >= FOR_GOOD
    }
}

/// A system and everything that goes wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// All chance comes from here.
    pub seed: u64,
    /// The system.
    pub shape: Shape,
    /// `Some`: it begins as the healthy system of that number; `None`: with the very first start.
    pub warm: Option<u64>,
    /// How long a group is held down after a failover.
    pub flap_window: Us,
    /// When all faults have ended that ever end.
    pub calm_from: Us,
    /// In the order of their beginning.
    pub faults: Vec<Fault>,
}

/// Healthy systems to begin with, of each shape.
pub const WARM_WORLDS: u64 = 6;
/// Longer than any schedule.
pub const FOR_GOOD: Us = 1_000_000 * SECOND;
/// The most faults of a schedule.
const FAULTS_MAX: u64 = 14;
/// The shortest and the longest storm.
const STORM: (Us, Us) = (7 * SECOND, 40 * SECOND);
/// Where a new spec goes from node to node, the next one is restarted after this long, and is away for so long.
const NODE_BY_NODE: Us = 2 * SECOND;
const RESTARTS_IN: Us = 300 * MS;
/// The shortest and the longest fault.
const LASTS: (Us, Us) = (100 * MS, 20 * SECOND);

impl Schedule {
    /// The schedule of a seed, among systems of these shapes.
    #[must_use]
    pub fn new(seed: u64, shapes: &[Shape]) -> Self {
        let mut chance = Chance::branch(seed, "schedule");
        let shape = pick(&mut chance, shapes);
        let warm = (!chance.percent(8)).then(|| chance.below(WARM_WORLDS));
        let flap_window = if chance.percent(50) { 2 * SECOND } else { 12 * SECOND };
        let storm = chance.between(STORM.0, STORM.1);
        let mut faults = faults(&mut Chance::branch(seed, "faults"), shape, storm);
        faults.extend(once(&mut Chance::branch(seed, "once"), shape, storm));
        faults.extend(new_spec(&mut Chance::branch(seed, "spec"), shape, storm));
        faults.sort_by_key(|fault| fault.at);
        // A healthy system has nothing to show: the first fault comes at once, and the calm after the last.
        let first = faults.first().map_or(0, |fault| fault.at).saturating_sub(chance.below(SECOND));
        faults.iter_mut().for_each(|fault| fault.at -= first);
        let calm_from = faults.iter().map(Fault::ends).max().unwrap_or(0);
        Self { seed, shape, warm, flap_window, calm_from, faults }
    }
}

/// The mix of shapes: systems of one region show little, five cost most.
fn pick(chance: &mut Chance, shapes: &[Shape]) -> Shape {
    let weight = |shape: &Shape| match shape {
        Shape::ThreeQuorum => 30,
        Shape::ThreePatient => 6,
        Shape::ThreeAsync => 28,
        Shape::FiveQuorum => 12,
        Shape::TwoAndWitness => 20,
        Shape::Alone => 4,
    };
    let mut left = chance.below(shapes.iter().map(weight).sum::<u64>().max(1));
    for shape in shapes {
        match left.checked_sub(weight(shape)) {
            Some(rest) => left = rest,
            None => return *shape,
        }
    }
    Shape::ThreeQuorum
}

/// What happens to one region at most, because no system survives it in two: its disk is lost, or it never comes
/// back. Where a single standby is left to acknowledge, only the witness is lost for good.
fn once(chance: &mut Chance, shape: Shape, storm: Us) -> Option<Fault> {
    let at = chance.below(storm);
    let a = chance.below(shape.members() as u64) as usize;
    let for_good = match shape {
        Shape::TwoAndWitness => Some(2),
        Shape::Alone => None,
        _ => Some(a),
    };
    match (chance.below(100), for_good) {
        (0..14, Some(lost)) => Some(Fault { at, lasts: FOR_GOOD, kind: Kind::RegionDies(lost) }),
        (14..20, Some(_)) => {
            Some(Fault { at, lasts: chance.scale(LASTS.0, LASTS.1), kind: Kind::DiskLost(a) })
        }
        _ => None,
    }
}

/// In every other system with standbys to spare the spec changes: one node after the other starts anew with another
/// number of acknowledgers.
fn new_spec(chance: &mut Chance, shape: Shape, storm: Us) -> Vec<Fault> {
    if shape != Shape::FiveQuorum || chance.percent(50) {
        return Vec::new();
    }
    let at = chance.below(storm / 2);
    let wanted = 1 + chance.below(shape.members() as u64 - 2) as u32;
    let restart = |i: usize| {
        let at = at + (1 + i as Us) * NODE_BY_NODE;
        Fault { at, lasts: RESTARTS_IN, kind: Kind::NodeDies(i) }
    };
    let mut faults = vec![Fault { at, lasts: 0, kind: Kind::Acknowledgers(wanted) }];
    faults.extend((0..shape.nodes()).map(restart).filter(|fault| fault.at + fault.lasts < storm));
    faults
}

/// Some faults anywhere in time, and some shortly after an earlier one: what hurts is a second blow while
/// the first is being answered.
fn faults(chance: &mut Chance, shape: Shape, storm: Us) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for _ in 0..chance.between(1, FAULTS_MAX) {
        let latest = storm - LASTS.0;
        let at = match faults.last() {
            Some(last) if chance.percent(60) => last.at + chance.between(0, 7 * SECOND),
            _ => chance.between(0, latest),
        };
        let at = at.min(latest);
        let lasts = chance.scale(LASTS.0, LASTS.1).min(storm - at);
        faults.push(Fault { at, lasts, kind: kind(chance, shape) });
    }
    faults
}

fn kind(chance: &mut Chance, shape: Shape) -> Kind {
    let n = shape.nodes() as u64;
    // The first region writes at the beginning: what hits it shows most.
    let a = if chance.percent(35) { 0 } else { chance.below(n) as usize };
    let b = ((a as u64 + chance.between(1, n.max(2) - 1)) % n) as usize;
    match chance.below(108) {
        0..8 => Kind::NodeDies(a),
        8..16 => Kind::RegionDies(a),
        16..23 => Kind::RegionSleeps(a),
        23..28 => Kind::ProcessSleeps(a),
        28..32 => Kind::LoopStalls(a),
        32..38 => Kind::LinkCut(a, b),
        38..41 => Kind::LinkFlaps(a, b, chance.scale(50 * MS, 3 * SECOND)),
        41..49 => Kind::Isolated(a),
        49..52 => Kind::LinesCut(a),
        52..58 => Kind::EtcdCut(a),
        58..62 => Kind::EtcdAway,
        62..65 => Kind::EtcdSlow(chance.scale(50 * MS, 2 * SECOND)),
        65..70 => Kind::EtcdTrouble(chance.between(5, 50)),
        70..73 => Kind::MessageTrouble(chance.between(10, 90)),
        73..76 => Kind::WatchHangs(a),
        76..78 => Kind::ObserverHangs(a),
        78..82 => Kind::DatabaseDies(a),
        82..85 => Kind::DiskFull(a),
        85..87 => Kind::WallJumps(a, chance.below(2_000_000_000) as i64 - 1_000_000_000),
        87..89 => Kind::ClockDrifts(a, chance.below(501) as i64 - 250),
        89..92 => Kind::Misjudges(a),
        92..94 => Kind::ActionsFail(a),
        94..96 => Kind::ActionsHang(a),
        96..98 => Kind::ActionsSilent(a),
        98..99 => Kind::ActionsLate(a),
        99..102 => Kind::WalStuck(a),
        102..103 => Kind::StepDown(a),
        103..106 => Kind::Switchover(b % shape.members()),
        _ => Kind::PersonAgrees(chance.percent(50)),
    }
}

impl Kind {
    /// It happens at one instant.
    #[must_use]
    pub const fn instant(self) -> bool {
        matches!(
            self,
            Self::DatabaseDies(_)
                | Self::StepDown(_)
                | Self::PersonAgrees(_)
                | Self::Switchover(_)
                | Self::Acknowledgers(_)
        )
    }

    /// The regions that it hits.
    #[must_use]
    pub const fn regions(self) -> [Option<usize>; 2] {
        match self {
            Self::NodeDies(a)
            | Self::RegionDies(a)
            | Self::RegionSleeps(a)
            | Self::ProcessSleeps(a)
            | Self::LoopStalls(a)
            | Self::Isolated(a)
            | Self::LinesCut(a)
            | Self::EtcdCut(a)
            | Self::WatchHangs(a)
            | Self::ObserverHangs(a)
            | Self::DatabaseDies(a)
            | Self::DiskLost(a)
            | Self::DiskFull(a)
            | Self::WallJumps(a, _)
            | Self::ClockDrifts(a, _)
            | Self::Misjudges(a)
            | Self::ActionsFail(a)
            | Self::ActionsHang(a)
            | Self::ActionsSilent(a)
            | Self::ActionsLate(a)
            | Self::WalStuck(a)
            | Self::StepDown(a) => [Some(a), None],
            Self::LinkCut(a, b) | Self::LinkFlaps(a, b, _) => [Some(a), Some(b)],
            Self::EtcdAway
            | Self::EtcdSlow(_)
            | Self::EtcdTrouble(_)
            | Self::MessageTrouble(_)
            | Self::PersonAgrees(_)
            | Self::Switchover(_)
            | Self::Acknowledgers(_) => [None, None],
        }
    }

    /// It is a reason to move the writer away from a region that it hits: something there does not work,
    /// or is not seen to.
    #[must_use]
    pub const fn justifies_failover(self) -> bool {
        !matches!(
            self,
            Self::EtcdAway
                | Self::EtcdSlow(_)
                | Self::EtcdTrouble(_)
                | Self::MessageTrouble(_)
                | Self::EtcdCut(_)
                | Self::WatchHangs(_)
                | Self::WallJumps(..)
                | Self::ClockDrifts(..)
                | Self::WalStuck(_)
                | Self::PersonAgrees(_)
                | Self::Switchover(_)
                | Self::Acknowledgers(_)
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |us: &Us| format!("{:.2} s", *us as f64 / SECOND as f64);
        match self {
            Self::NodeDies(a) => write!(f, "the node of {} is killed, its database with it", word(*a)),
            Self::RegionDies(a) => write!(f, "region {} is lost: node, database, etcd member", word(*a)),
            Self::RegionSleeps(a) => write!(f, "region {} is frozen", word(*a)),
            Self::ProcessSleeps(a) => write!(f, "the node process of {} is frozen", word(*a)),
            Self::LoopStalls(a) => write!(f, "the loop of {} hangs", word(*a)),
            Self::LinkCut(a, b) => write!(f, "nothing passes from {} to {}", word(*a), word(*b)),
            Self::LinkFlaps(a, b, every) => {
                write!(f, "the line between {} and {} flaps every {}", word(*a), word(*b), s(every))
            }
            Self::Isolated(a) => write!(f, "{} is cut off from all others", word(*a)),
            Self::LinesCut(a) => write!(f, "{} reaches etcd, but no other node reaches it", word(*a)),
            Self::EtcdCut(a) => write!(f, "{} does not reach etcd", word(*a)),
            Self::EtcdAway => write!(f, "etcd answers nobody"),
            Self::EtcdSlow(by) => write!(f, "etcd is slower by up to {}", s(by)),
            Self::EtcdTrouble(p) => write!(f, "{p} % of requests to etcd go wrong"),
            Self::MessageTrouble(p) => {
                write!(f, "{p} % of messages between nodes are lost, doubled or late")
            }
            Self::WatchHangs(a) => write!(f, "the watch of {} hangs", word(*a)),
            Self::ObserverHangs(a) => write!(f, "{} neither probes nor judges", word(*a)),
            Self::DiskLost(a) => write!(f, "the node of {} is killed and its disk is lost", word(*a)),
            Self::DatabaseDies(a) => write!(f, "the database of {} crashes", word(*a)),
            Self::DiskFull(a) => write!(f, "the disk of {} is full", word(*a)),
            Self::WallJumps(a, ms) => write!(f, "the wall clock of {} jumps by {ms} ms", word(*a)),
            Self::ClockDrifts(a, ppm) => write!(f, "the clock of {} runs {ppm} ppm fast", word(*a)),
            Self::Misjudges(a) => write!(f, "{} takes most others for down", word(*a)),
            Self::ActionsFail(a) => write!(f, "database actions of {} fail", word(*a)),
            Self::ActionsHang(a) => write!(f, "database actions of {} hang", word(*a)),
            Self::ActionsSilent(a) => {
                write!(f, "database actions of {} succeed without saying so", word(*a))
            }
            Self::ActionsLate(a) => write!(f, "database actions of {} come late", word(*a)),
            Self::WalStuck(a) => write!(f, "the standby in {} receives nothing", word(*a)),
            Self::StepDown(a) => write!(f, "{} is asked to give the lease up", word(*a)),
            Self::PersonAgrees(false) => write!(f, "a person agrees to a failover"),
            Self::Switchover(to) => write!(f, "a person orders the writer to move to {}", word(*to)),
            Self::Acknowledgers(n) => write!(f, "the spec wants {n} standbys to acknowledge"),
            Self::PersonAgrees(true) => write!(f, "a person accepts the loss of data"),
        }
    }
}
