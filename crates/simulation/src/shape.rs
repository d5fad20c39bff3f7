//! The systems that are simulated: how many regions, who has data, how commits are acknowledged.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian_failover::{Config, Plan};
use meridian_model::database::{
    Database, GatewayLimits, Member, OnRpoBreach, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::name::{Name, RegionName};
use meridian_model::plan::{Form, OnFailure, PlannedStep, Task, Work, millis};
use meridian_model::service::{Backend, HealthCheck, Retries, Service};
use meridian_model::topology::{
    Coordination, Dial, Location, NodeAddresses, Objectives, Pattern, Population, Provider, Region, Role,
    System, Topology,
};
use meridian_model::{Share, Timers};

/// The most regions of a shape.
pub const REGIONS_MAX: usize = 5;
/// The data that may be lost under asynchronous replication, as time.
pub const RPO: Duration = Duration::from_secs(5);
/// A standby that is away for so long leaves the candidates.
const CANDIDATE_GONE: Duration = Duration::from_secs(3);
/// For so long some old writers wait before they are demoted.
const PATIENCE: Duration = CANDIDATE_GONE.saturating_mul(4);

/// A system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Three regions, one standby acknowledges.
    ThreeQuorum,
    /// The same, and a switchover waits for longer than a standby may be away.
    ThreePatient,
    /// Three regions, nobody acknowledges.
    ThreeAsync,
    /// Five regions, two standbys acknowledge.
    FiveQuorum,
    /// Two regions with data, one standby acknowledges, and a witness.
    TwoAndWitness,
    /// One region.
    Alone,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ThreeQuorum,
        Self::ThreePatient,
        Self::ThreeAsync,
        Self::FiveQuorum,
        Self::TwoAndWitness,
        Self::Alone,
    ];

    /// Regions with a node; each is a vantage point.
    #[must_use]
    pub const fn nodes(self) -> usize {
        match self {
            Self::ThreeQuorum | Self::ThreePatient | Self::ThreeAsync | Self::TwoAndWitness => 3,
            Self::FiveQuorum => 5,
            Self::Alone => 1,
        }
    }

    /// The first so many regions have a database.
    #[must_use]
    pub const fn members(self) -> usize {
        match self {
            Self::TwoAndWitness => 2,
            other => other.nodes(),
        }
    }

    /// The first so many regions have an etcd member.
    #[must_use]
    pub const fn etcd_members(self) -> usize {
        if matches!(self, Self::Alone) { 1 } else { 3 }
    }

    /// How commits are acknowledged.
    #[must_use]
    pub const fn replication(self) -> Replication {
        match self {
            Self::ThreeQuorum | Self::ThreePatient | Self::TwoAndWitness => {
                Replication::Quorum { acknowledgers: 1 }
            }
            Self::FiveQuorum => Replication::Quorum { acknowledgers: 2 },
            Self::ThreeAsync | Self::Alone => Replication::Async,
        }
    }

    /// What happens while more could be lost than the RPO allows.
    #[must_use]
    pub const fn on_rpo_breach(self) -> OnRpoBreach {
        match self {
            Self::FiveQuorum | Self::ThreePatient => OnRpoBreach::Degrade,
            Self::ThreeAsync => OnRpoBreach::Block,
            Self::ThreeQuorum | Self::TwoAndWitness | Self::Alone => OnRpoBreach::Warn,
        }
    }

    /// So many standbys must have a write before its client is told.
    #[must_use]
    pub const fn acknowledgers(self) -> usize {
        match self.replication() {
            Replication::Quorum { acknowledgers } => acknowledgers as usize,
            Replication::Async => 0,
        }
    }

    /// Whether users are never sent there: a witness, and in some systems the last region, whose copy
    /// exists for safety only (its dial is `forbid`).
    #[must_use]
    pub const fn forbidden(self, region: usize) -> bool {
        match self {
            Self::TwoAndWitness | Self::ThreeQuorum => region == 2,
            Self::FiveQuorum => region == 4,
            Self::ThreePatient | Self::ThreeAsync | Self::Alone => false,
        }
    }

    /// What the machine of that region is told.
    #[must_use]
    pub fn config(self, me: usize, flap_window: Duration) -> Config {
        Config {
            group: group(),
            me: region(me),
            members: (0..self.members()).map(region).collect(),
            initial_primary: region(0),
            replication: self.replication(),
            rpo: RPO,
            max_read_lag: Duration::from_secs(10),
            // So short that members come and go within a storm.
            candidate_gone: CANDIDATE_GONE,
            on_rpo_breach: self.on_rpo_breach(),
            timers: Timers { flap_window, ..Timers::default() },
            gateways: (0..self.nodes()).map(region).collect(),
            switchover: SwitchoverLimits::default(),
            plan: self.plan(),
        }
    }

    /// The plan that is derived from the spec; in some systems with steps before the old writer's demotion.
    fn plan(self) -> Plan {
        let mut plan = meridian_planner::derive(&self.system(), &self.database());
        let early = self.early();
        if let Some(demote) = plan.steps.iter_mut().find(|s| s.work.task == Task::Demote) {
            demote.work.after.extend(early.iter().map(|s| s.work.name.clone()));
        }
        plan.steps.splice(0..0, early);
        let works = |graceful| meridian_planner::freeze(&plan, graceful);
        let (graceful, ungraceful) = (works(true), works(false));
        Plan { name: plan.name.clone(), graceful, ungraceful, automatic: true, approval: false }
    }

    /// What the old writer does before a switchover demotes it, with each way in which it may fail.
    fn early(self) -> Vec<PlannedStep> {
        let graceful = |work| PlannedStep { form: Form::Graceful, work };
        let on_failure = match self {
            Self::ThreePatient => {
                let wait = Task::Wait { for_ms: millis(PATIENCE) };
                return vec![graceful(Work::new(named("settle"), wait, PATIENCE))];
            }
            Self::ThreeAsync => OnFailure::Pause,
            Self::FiveQuorum => OnFailure::Continue,
            Self::TwoAndWitness => OnFailure::Abort,
            Self::ThreeQuorum | Self::Alone => return Vec::new(),
        };
        let limit = Duration::from_secs(5);
        let check = Work::new(named("ready"), Task::Verify { checks: Vec::new() }, limit);
        let check = Work { retries: Some(1), on_failure, ..check };
        let wait = Work::new(named("settle"), Task::Wait { for_ms: 300 }, limit);
        let wait = Work { after: vec![check.name.clone()], ..wait };
        [check, wait].map(graceful).into()
    }

    /// The checked spec, as steering reads it.
    #[must_use]
    pub fn system(self) -> Arc<System> {
        let regions: Vec<Region> = (0..self.nodes()).map(|i| self.place(i)).collect();
        Arc::new(System {
            topology: Topology {
                name: named("simulated"),
                pattern: Pattern::ActivePassive,
                schedule: Vec::new(),
                objectives: Objectives { rto: Duration::from_secs(60), rpo: RPO },
                regions,
                users: vec![Population {
                    name: named("everybody"),
                    share: Share::ONE,
                    location: Location { latitude: 48.0, longitude: 11.0 },
                    networks: Vec::new(),
                }],
                coordination: Coordination { endpoints: Vec::new(), control_secret_file: PathBuf::new() },
                timers: Timers::default(),
                otlp_endpoint: None,
            },
            services: vec![service(self.members())],
            databases: vec![self.database()],
            policies: Vec::new(),
            plans: Vec::new(),
        })
    }

    fn place(self, i: usize) -> Region {
        let at = |port| address(i, port);
        let (latitude, longitude) =
            [(38.9, -77.4), (50.1, 8.7), (1.3, 103.8), (-33.9, 151.2), (35.6, 139.7)][i];
        Region {
            name: region(i),
            provider: Provider::Other,
            role: match i {
                0 => Role::Primary,
                i if i >= self.members() => Role::Witness,
                _ => Role::Secondary,
            },
            jurisdiction: named("none"),
            location: Location { latitude, longitude },
            cidr: None,
            dial: if self.forbidden(i) { Dial::Forbid } else { Dial::Share(Share::ONE) },
            node: NodeAddresses {
                control: at(7400),
                dns: at(5353),
                edge_http: at(8080),
                edge_https: at(8443),
                gateway_write: at(6432),
                gateway_read: at(6433),
                public: vec![at(80).ip()],
                data_dir: PathBuf::new(),
            },
        }
    }

    fn database(self) -> Database {
        let member = |i| Member {
            region: region(i),
            address: address(i, 5432),
            postgres: PostgresMember {
                bin_dir: None,
                data_dir: PathBuf::new(),
                run_as: "postgres".to_owned(),
                superuser: "meridian".to_owned(),
                password_file: PathBuf::new(),
                app_user: "app".to_owned(),
                app_password_file: PathBuf::new(),
                settings: Vec::new(),
            },
        };
        Database {
            name: group(),
            dbname: "shop".to_owned(),
            replication: self.replication(),
            max_read_lag: Duration::from_secs(10),
            members: (0..self.members()).map(member).collect(),
            gateway: GatewayLimits::default(),
            on_rpo_breach: self.on_rpo_breach(),
            switchover: SwitchoverLimits::default(),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ThreeQuorum => "three regions, quorum of one",
            Self::ThreePatient => "three regions, quorum of one, in no haste",
            Self::ThreeAsync => "three regions, asynchronous",
            Self::FiveQuorum => "five regions, quorum of two",
            Self::TwoAndWitness => "two regions and a witness, quorum of one",
            Self::Alone => "one region alone",
        })
    }
}

fn service(members: usize) -> Service {
    let backend = |i| Backend { region: region(i), endpoints: vec![address(i, 9001)], compute: None };
    Service {
        name: group(),
        hosts: vec!["shop.example.com".to_owned()],
        zone: "example.com".to_owned(),
        dns_ttl: Duration::from_secs(5),
        backends: (0..members).map(backend).collect(),
        health_check: HealthCheck { path: "/health".to_owned() },
        retries: Retries::default(),
        tls: None,
    }
}

fn address(region: usize, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 250, region as u8 + 1, 1], port))
}

thread_local! {
    /// Names are asked for at every event: each thread makes them once.
    static NAMES: [Name; REGIONS_MAX] = std::array::from_fn(|i| named(word(i)));
    static GROUP: Name = named("shop");
}

/// The one data group.
#[must_use]
pub fn group() -> Name {
    GROUP.with(Name::clone)
}

/// The name of the region of that number.
#[must_use]
pub fn region(i: usize) -> RegionName {
    NAMES.with(|names| names[i].clone())
}

/// The same as a plain word, for stories.
#[must_use]
pub const fn word(i: usize) -> &'static str {
    match i {
        0 => "alpha",
        1 => "beta",
        2 => "gamma",
        3 => "delta",
        _ => "epsilon",
    }
}

/// The number of the region of that name: they differ in their first letters.
#[must_use]
pub fn index(name: &RegionName) -> usize {
    let first = name.as_str().as_bytes().first().copied().unwrap_or_default();
    b"abgde".iter().position(|b| *b == first).unwrap_or_default()
}

#[expect(clippy::expect_used, reason = "the words are constants of this file")]
fn named(text: &str) -> Name {
    Name::new(text).expect("a name")
}
