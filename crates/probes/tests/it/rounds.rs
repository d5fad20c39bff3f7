//! Rounds over a system of two regions made of fakes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian_model::database::{
    Database, GatewayLimits, Member, OnRpoBreach, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::health::{Health, Observation, Part, Report};
use meridian_model::service::{Backend, HealthCheck, Retries, Service};
use meridian_model::topology::{
    Coordination, Dial, Location, NodeAddresses, Objectives, Pattern, Provider, Region, Role, System,
    Topology,
};
use meridian_model::{Name, Share, Timers};
use meridian_probes::{Prober, ProberError};
use meridian_telemetry::Metrics;
use tokio::sync::watch;

use super::fakes::{Fake, Mood};

struct World {
    node: Fake,
    edge: Fake,
    gateway: Fake,
    apps: [Fake; 2],
    postgres: Fake,
    password: tempfile::NamedTempFile,
}

const HERE: &str = "eu-central-1";
const THERE: &str = "us-east-1";
const WITNESS: &str = "eu-west-1";

impl World {
    async fn new() -> Self {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "secret\n").unwrap();
        Self {
            node: Fake::http().await,
            edge: Fake::http().await,
            gateway: Fake::gateway().await,
            apps: [Fake::http().await, Fake::http().await],
            postgres: Fake::postgres().await,
            password,
        }
    }

    fn region(&self, name: &str, role: Role) -> Region {
        let addresses = NodeAddresses {
            control: self.node.address,
            dns: self.node.address,
            edge_http: self.edge.address,
            edge_https: self.edge.address,
            gateway_write: self.gateway.address,
            gateway_read: self.gateway.address,
            public: Vec::new(),
            data_dir: PathBuf::new(),
        };
        Region {
            name: Name::new(name).unwrap(),
            provider: Provider::Other,
            role,
            jurisdiction: Name::new("eu").unwrap(),
            location: Location { latitude: 0.0, longitude: 0.0 },
            cidr: None,
            dial: Dial::Share(Share::ONE),
            node: addresses,
        }
    }

    fn system(&self) -> System {
        let member = |region| Member {
            region: Name::new(region).unwrap(),
            address: self.postgres.address,
            postgres: PostgresMember {
                bin_dir: None,
                data_dir: PathBuf::new(),
                run_as: String::new(),
                superuser: "meridian".to_owned(),
                password_file: self.password.path().to_owned(),
                app_user: String::new(),
                app_password_file: PathBuf::new(),
                settings: Vec::new(),
            },
        };
        let backend = Backend {
            region: Name::new(THERE).unwrap(),
            endpoints: self.apps.iter().map(|app| app.address).collect(),
            compute: None,
        };
        System {
            topology: Topology {
                name: Name::new("shop").unwrap(),
                pattern: Pattern::ActivePassive,
                schedule: Vec::new(),
                objectives: Objectives { rto: Duration::from_secs(60), rpo: Duration::from_secs(5) },
                regions: vec![
                    self.region(THERE, Role::Primary),
                    self.region(HERE, Role::Secondary),
                    self.region(WITNESS, Role::Witness),
                ],
                users: Vec::new(),
                coordination: Coordination { endpoints: Vec::new(), control_secret_file: PathBuf::new() },
                timers: Timers {
                    probe_every: Duration::from_millis(60),
                    probe_timeout: Duration::from_millis(250),
                    ..Timers::default()
                },
                otlp_endpoint: None,
            },
            services: vec![Service {
                name: Name::new("shop").unwrap(),
                hosts: vec!["shop.example.com".to_owned()],
                zone: "example.com".to_owned(),
                dns_ttl: Duration::from_secs(5),
                backends: vec![backend],
                health_check: HealthCheck { path: "/health".to_owned() },
                retries: Retries::default(),
                tls: None,
            }],
            databases: vec![Database {
                name: Name::new("orders").unwrap(),
                dbname: "shop".to_owned(),
                replication: Replication::Async,
                max_read_lag: Duration::from_secs(10),
                on_rpo_breach: OnRpoBreach::default(),
                switchover: SwitchoverLimits::default(),
                members: vec![member(THERE), member(HERE)],
                gateway: GatewayLimits::default(),
            }],
            policies: Vec::new(),
            plans: Vec::new(),
        }
    }

    fn watch(&self) -> Rounds {
        let prober =
            Prober::new(Arc::new(self.system()), Name::new(HERE).unwrap(), Metrics::new(None)).unwrap();
        let (out, reports) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(prober.run(out, stopped));
        Rounds { reports, stop, task }
    }
}

struct Rounds {
    reports: watch::Receiver<Option<Report>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Rounds {
    /// The first report that pleases, within 20 s.
    async fn until(&mut self, what: &str, pleases: impl Fn(&Report) -> bool) -> Report {
        let waiting = self.reports.wait_for(|report| report.as_ref().is_some_and(&pleases));
        let found = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        found.unwrap_or_else(|_| panic!("not seen: {what}")).unwrap().clone().unwrap()
    }

    async fn until_part(&mut self, part: Part, health: Health) -> Observation {
        let report =
            self.until(&format!("{part} {health}"), |r| of(r, THERE, part).unwrap().health == health).await;
        of(&report, THERE, part).unwrap().clone()
    }
}

fn of<'a>(report: &'a Report, region: &str, part: Part) -> Option<&'a Observation> {
    report.observations.iter().find(|o| o.target.region.as_str() == region && o.target.part == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_of_all_regions_are_asked_and_connections_are_kept() {
    let world = World::new().await;
    let mut rounds = world.watch();
    let all_up = |r: &Report| r.round > 5 && r.observations.iter().all(|o| o.health == Health::Up);
    let report = rounds.until("all is up", all_up).await;
    assert_eq!(report.vantage.as_str(), HERE);
    assert!(report.observations.iter().all(|o| o.rtt_us.is_some()), "{report:?}");
    let parts = |region| Part::ALL.map(|part| of(&report, region, part).is_some());
    assert_eq!(parts(THERE), [true; 5]);
    assert_eq!(parts(HERE), [true, true, false, true, true], "no backend is no part");
    assert_eq!(parts(WITNESS), [true, false, false, false, false], "a witness is only a node");
    assert_eq!((world.node.connections(), world.edge.connections()), (3, 2), "kept open, one a target");
    assert_eq!(world.postgres.connections(), 2);
    let next = rounds.until("the round rises", |r| r.round > report.round).await;
    assert!(next.observations.iter().all(|o| o.health == Health::Up));
    rounds.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), rounds.task).await.expect("it does not stop").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_badly_goes_down_with_its_words_and_comes_up_again() {
    let world = World::new().await;
    let mut rounds = world.watch();
    let cases = [
        (Part::Node, &world.node, "it answered 503 Service Unavailable"),
        (Part::Gateway, &world.gateway, "it refused the session"),
        (Part::Database, &world.postgres, "not yet accepting connections (57P03)"),
    ];
    for (part, fake, words) in cases {
        rounds.until_part(part, Health::Up).await;
        fake.set(Mood::Badly);
        let seen = rounds.until_part(part, Health::Down).await;
        assert!(seen.detail.contains(words), "{}", seen.detail);
        assert!(seen.in_a_row >= 3);
        fake.set(Mood::Well);
        rounds.until_part(part, Health::Up).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_fails_by_its_deadline_holds_up_nobody_and_is_replaced() {
    let world = World::new().await;
    let mut rounds = world.watch();
    for (part, fake) in
        [(Part::Edge, &world.edge), (Part::Gateway, &world.gateway), (Part::Database, &world.postgres)]
    {
        rounds.until_part(part, Health::Up).await;
        fake.set(Mood::Silent);
        let seen = rounds.until_part(part, Health::Down).await;
        assert!(seen.detail.contains("no answer within"), "{}", seen.detail);
        let report = rounds.until("the others are up", |_| true).await;
        assert_eq!(of(&report, THERE, Part::Node).unwrap().health, Health::Up);
        fake.set(Mood::Well);
        rounds.until_part(part, Health::Up).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_other_side_closes_is_no_failure() {
    let world = World::new().await;
    let mut rounds = world.watch();
    world.edge.set(Mood::Curt);
    world.postgres.set(Mood::Curt);
    let report = rounds.until("ten rounds", |r| r.round >= 10).await;
    let edge = of(&report, THERE, Part::Edge).unwrap();
    assert_eq!((edge.health, edge.in_a_row), (Health::Up, u32::try_from(report.round).unwrap()), "{edge:?}");
}

/// A session whose first statement came too late was thrown away, so that a database far away stayed down.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_far_away_is_up_although_opening_a_session_takes_more_than_a_round() {
    let world = World::new().await;
    world.postgres.set(Mood::Far);
    let mut rounds = world.watch();
    rounds.until_part(Part::Database, Health::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_up_while_any_instance_is() {
    let world = World::new().await;
    let mut rounds = world.watch();
    world.apps[0].set(Mood::Badly);
    rounds.until_part(Part::App, Health::Up).await;
    world.apps[1].set(Mood::Badly);
    let seen = rounds.until_part(Part::App, Health::Down).await;
    assert_eq!(seen.detail.matches("503").count(), 2, "{}", seen.detail);
    world.apps[0].set(Mood::Well);
    rounds.until_part(Part::App, Health::Up).await;
}

#[tokio::test]
async fn a_wrong_region_and_a_missing_password_are_named() {
    let world = World::new().await;
    let system = Arc::new(world.system());
    let error =
        Prober::new(Arc::clone(&system), Name::new("mars-1").unwrap(), Metrics::new(None)).err().unwrap();
    assert!(matches!(error, ProberError::UnknownRegion(_)), "{error}");
    let path = world.password.path().to_owned();
    drop(world);
    let error = Prober::new(system, Name::new(HERE).unwrap(), Metrics::new(None)).err().unwrap();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}
