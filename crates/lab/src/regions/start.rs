//! How a lab starts: programs, number, files, WAN, processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use meridian_model::{RegionName, System};
use meridian_telemetry::clock;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::{Condition, EVENTS_BEHIND, Inner, Lab, RegionRun, cleanup};
use crate::drill::Tell;
use crate::error::LabError;
use crate::plan::{Holder, LabOptions, MadeFor, Number, Occupied, Plan, Wish, choose, fingerprint, port};
use crate::process::{Child, Command, MARK, Spawner, find_program, rotate};
use crate::wan::{Owners, Wan, check_free};

/// How often logs are looked at for their length.
const ROTATE_EVERY: Duration = Duration::from_secs(10);

/// What the lab runs.
#[derive(Debug)]
pub(super) struct Programs {
    etcd: PathBuf,
    meridian: PathBuf,
}

/// How long the kernel may take to close the sockets of a process that has just ended.
const CLOSING: Duration = Duration::from_secs(2);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Is the address free, or about to be? One that no process owns is being closed: the threads of an
/// etcd that was killed outlive its first thread by some milliseconds.
fn soon_free(address: SocketAddr) -> Result<(), LabError> {
    let until = clock::now() + CLOSING;
    loop {
        match check_free(address) {
            Err(LabError::AddressInUse { owner: None, .. }) if clock::now() < until => {
                std::thread::park_timeout(LOOK_EVERY);
            }
            settled => return settled,
        }
    }
}

/// Starts the whole; `tell` hears what takes time before there is a lab that could tell.
pub(super) async fn up(system: &System, options: LabOptions, tell: Tell<'_>) -> Result<Lab, LabError> {
    let name = options.own_name.clone().unwrap_or_else(|| system.topology.name.to_string());
    tell(&match options.number {
        Some(number) => format!("starting {name} as lab {number}"),
        None => format!("starting {name}: looking for a number whose addresses are free"),
    });
    let programs = programs(&options)?;
    let mut number = number(system, &options, &programs, tell).await?;
    let dir = number.folder.dir.clone();
    if options.fresh {
        cleanup::clear(&dir, "the same command", tell).await?;
    }
    let mut plan = Plan::new(system, number.number, &dir, options.seed, &programs.meridian)?;
    let made_for = MadeFor::of(system, number.number, options.temporary);
    let before = plan.files.prepare(&plan.system, &plan.run_as, &made_for)?;
    for (i, region) in system.region_names().enumerate() {
        let file = plan.files.spec(region);
        std::fs::write(&file, plan.spec_of(i)).map_err(LabError::file("write", file))?;
    }
    number.lock.sign(&Holder { number: number.number, dir, name, pid: std::process::id() })?;
    // Each connection over the WAN takes two descriptors.
    meridian_node::descriptors::raise();
    let owners = Owners::default();
    let mut wan = std::mem::take(&mut plan.wan);
    wan.owners = owners.clone();
    let secret_file = plan.files.control_secret();
    let secret = std::fs::read_to_string(&secret_file).map_err(LabError::file("read", secret_file))?;
    let run = RegionRun { condition: Condition::Running, etcd: None, node: None, frozen: Vec::new() };
    let inner = Inner {
        wan: Wan::start(wan)?,
        spawner: Spawner::new()
            .map_err(LabError::file("start the spawner thread for", plan.files.dir.clone()))?,
        runs: Mutex::new(vec![run; system.topology.regions.len()]),
        plan,
        programs,
        options,
        secret,
        owners,
        acting: tokio::sync::Mutex::default(),
        events: Mutex::default(),
        news: broadcast::Sender::new(EVENTS_BEHIND),
        tasks: Mutex::new(JoinSet::new()),
        lock: number.lock,
        _folder: number.folder,
    };
    let lab = Lab(Arc::new(inner));
    if let Some(before) = before {
        let other = if before.spec == made_for.spec { "" } else { " (of another version of this spec)" };
        let dir = lab.dir().display();
        lab.tell(
            None,
            format!("goes on with the data of an earlier run{other} in {dir}; to begin anew: --fresh"),
        );
    }
    for i in 0..system.topology.regions.len() {
        start_region(&lab, i).await?;
    }
    keep_logs_short(&lab);
    Ok(lab)
}

/// The number and the folder, with nothing left there that runs.
async fn number(
    system: &System,
    options: &LabOptions,
    programs: &Programs,
    tell: Tell<'_>,
) -> Result<Number, LabError> {
    let usable = |number: &Number| {
        let folders = || number.before.iter().chain([&number.folder]);
        folders().for_each(|folder| cleanup::leftovers(&folder.dir));
        let plan = Plan::new(system, number.number, &number.folder.dir, options.seed, &programs.meridian)?;
        plan.bound_addresses().into_iter().try_for_each(soon_free)
    };
    let spec = fingerprint(system);
    let wish = Wish {
        name: options.own_name.as_deref().unwrap_or(system.topology.name.as_str()),
        number: options.number,
        dir: options.dir.as_deref(),
        spec: options.own_name.is_none().then_some(spec.as_str()),
        fresh: options.fresh,
    };
    let mut number = choose(wish, usable)?;
    let nobodys = |folder: &Occupied| MadeFor::read(&folder.dir).is_some_and(|made| made.temporary);
    if let Some(before) = number.before.take().filter(nobodys) {
        cleanup::remove(&before.dir, tell).await?;
    }
    Ok(number)
}

fn programs(options: &LabOptions) -> Result<Programs, LabError> {
    let debian =
        |package| format!("install it (Debian, Ubuntu: `apt-get install {package}`), or run script/setup");
    find_program("setpriv", &debian("util-linux"))?;
    find_program("setsid", &debian("util-linux"))?;
    let etcd = find_program("etcd", &debian("etcd-server"))?;
    let own = || std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"));
    let meridian = options.meridian.clone().map_or_else(own, Ok)?;
    Ok(Programs { etcd, meridian })
}

/// Starts what does not run in region `i`: its etcd member and its node.
pub(super) async fn start_region(lab: &Lab, i: usize) -> Result<Vec<&'static str>, LabError> {
    let runs = |child: &Option<Child>| child.as_ref().is_some_and(|c| c.ended().is_none());
    let Some((etcd, node)) = lab.with_run(i, |run| (runs(&run.etcd), runs(&run.node))) else {
        return Ok(Vec::new());
    };
    let mut started = Vec::new();
    if !etcd {
        let child = start(lab, i, "etcd", etcd_command(lab, i)).await?;
        lab.0.owners.set(i, child.identity.pid);
        lab.with_run(i, |run| run.etcd = Some(child));
        started.push("etcd");
    }
    if !node && !lab.0.options.without_nodes {
        let child = start(lab, i, "node", node_command(lab, i)).await?;
        lab.with_run(i, |run| run.node = Some(child));
        started.push("node");
    }
    cleanup::write_state(lab)?;
    Ok(started)
}

async fn start(lab: &Lab, i: usize, part: &'static str, command: Option<Command>) -> Result<Child, LabError> {
    let region = lab.region_name(i).cloned();
    let (Some(region), Some(command)) = (region, command) else {
        return Err(LabError::NoRegion { name: i.to_string(), known: String::new() });
    };
    let spawned = lab.0.spawner.spawn(command).await;
    let child = spawned.map_err(|source| LabError::Spawn {
        part: part.to_owned(),
        region: region.clone(),
        source,
    })?;
    lab.tell(Some(&region), format!("{part} started (pid {})", child.identity.pid));
    watch_end(lab, i, part, region, child.clone());
    Ok(child)
}

/// Tells when a process ends that nobody has ended.
fn watch_end(lab: &Lab, i: usize, part: &'static str, region: RegionName, child: Child) {
    let inner = Arc::downgrade(&lab.0);
    spawn(lab, async move {
        let status = child.wait().await;
        let Some(lab) = inner.upgrade().map(Lab) else { return };
        let current = lab.with_run(i, |run| {
            let slot = if part == "etcd" { &run.etcd } else { &run.node };
            run.condition == Condition::Running && slot.as_ref().is_some_and(|c| c.identity == child.identity)
        });
        if current == Some(true) {
            let log = lab.0.plan.files.log(&region, part);
            lab.tell(Some(&region), format!("{part} ended by itself ({status}); see {}", log.display()));
        }
    });
}

fn keep_logs_short(lab: &Lab) {
    let inner: Weak<Inner> = Arc::downgrade(&lab.0);
    spawn(lab, async move {
        let mut ticks = tokio::time::interval(ROTATE_EVERY);
        loop {
            ticks.tick().await;
            let Some(lab) = inner.upgrade().map(Lab) else { return };
            for region in lab.0.plan.system.region_names() {
                for part in ["etcd", "node"] {
                    // A log that is not there yet is short enough.
                    let _ = rotate(&lab.0.plan.files.log(region, part));
                }
            }
        }
    });
}

fn spawn(lab: &Lab, task: impl Future<Output = ()> + Send + 'static) {
    lab.0.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).spawn(task);
}

fn etcd_command(lab: &Lab, i: usize) -> Option<Command> {
    let plan = &lab.0.plan;
    let region = lab.region_name(i)?;
    let home = plan.home(i);
    let advertised = plan.etcd.cluster.split(',').nth(i)?.split_once('=')?.1.to_owned();
    let client = format!("http://{home}:{}", port::ETCD_CLIENT);
    let millis = |d: Duration| d.as_millis().to_string();
    let flags = [
        ("name", region.to_string()),
        ("data-dir", plan.files.etcd(region).display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", format!("http://{home}:{}", port::ETCD_PEER)),
        ("initial-advertise-peer-urls", advertised),
        ("initial-cluster", plan.etcd.cluster.clone()),
        ("initial-cluster-token", format!("{}-{}", plan.system.topology.name, plan.number)),
        ("heartbeat-interval", millis(plan.etcd.heartbeat)),
        ("election-timeout", millis(plan.etcd.election)),
        ("pre-vote", "true".to_owned()),
        ("auto-compaction-mode", "revision".to_owned()),
        ("auto-compaction-retention", "1000".to_owned()),
        ("quota-backend-bytes", (256 << 20).to_string()),
        ("snapshot-count", "5000".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-outputs", "stderr".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    Some(Command {
        program: lab.0.programs.etcd.clone(),
        arguments: flags.iter().map(|(name, value)| format!("--{name}={value}")).collect(),
        ..command(lab, region, "etcd")
    })
}

/// Exactly what production starts.
fn node_command(lab: &Lab, i: usize) -> Option<Command> {
    let region = lab.region_name(i)?;
    let spec = lab.0.plan.files.spec(region).display().to_string();
    Some(Command {
        program: lab.0.programs.meridian.clone(),
        arguments: vec!["run".to_owned(), "--region".to_owned(), region.to_string(), spec],
        ..command(lab, region, "node")
    })
}

fn command(lab: &Lab, region: &RegionName, part: &str) -> Command {
    let files = &lab.0.plan.files;
    let folder = files.region(region);
    Command {
        program: PathBuf::new(),
        arguments: Vec::new(),
        environment: vec![(MARK.to_owned(), folder.display().to_string())],
        folder,
        log: files.log(region, part),
    }
}
