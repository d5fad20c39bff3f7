//! Faults, carried out.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use meridian_model::order::Wish;
use meridian_model::{Moment, RegionName, Timestamp};
use meridian_node::peer::{Question, ask};
use meridian_node::secret::Secret;
use meridian_node::{ORDERS, OrderAsked};
use meridian_telemetry::clock;
use rustix::process::Signal;

use super::cleanup::{kill, signal_all, write_state};
use super::{Condition, Lab, start};
use crate::error::LabError;
use crate::faults::{Fault, FaultPart, FaultRecord};
use crate::process::{Identity, Process, Territory};

/// Rounds of looking for processes that were born while their region was being frozen.
const FREEZE_ROUNDS: u32 = 20;
/// How long a database that wakes up is awake before its fences are.
const HEAD_START: Duration = Duration::from_millis(100);

/// How long a node may take to take an order.
const ORDER_WITHIN: Duration = Duration::from_secs(3);

/// Carries `fault` out; faults happen one after the other.
pub(super) async fn carry_out(lab: &Lab, fault: Fault) -> Result<FaultRecord, LabError> {
    let _one = lab.0.acting.lock().await;
    check(&fault)?;
    let mut begun = Begun::now();
    let detail = match &fault {
        Fault::Kill { region, part: None } => kill_region(lab, region, &mut begun).await?,
        Fault::Kill { region, part: Some(part) } => kill_part(lab, region, *part, &mut begun).await?,
        Fault::Freeze { region, part } => freeze(lab, region, *part).await?,
        Fault::Restore { region } => restore(lab, region).await?,
        Fault::Switchover { to } => order_move(lab, &fault, to).await?,
        Fault::Failback => {
            let home = home(lab, &fault)?;
            format!("{}: home to {home}", order_move(lab, &fault, &home).await?)
        }
        network => on_network(lab, network)?,
    };
    let region = match &fault {
        Fault::Kill { region, .. }
        | Fault::Freeze { region, .. }
        | Fault::Restore { region }
        | Fault::Isolate { region } => Some(region.clone()),
        Fault::Partition { .. }
        | Fault::Slow { .. }
        | Fault::Heal
        | Fault::Switchover { .. }
        | Fault::Failback => None,
    };
    lab.tell(region.as_ref(), format!("{fault}: {detail}"));
    Ok(FaultRecord { fault, at: begun.at, done_at: clock::now(), wall: begun.wall, detail })
}

/// The instant just before the first effect. Looking for whom to kill comes first and takes its time.
struct Begun {
    at: Moment,
    wall: Timestamp,
}

impl Begun {
    fn now() -> Self {
        Self { at: clock::now(), wall: clock::wall() }
    }
}

fn check(fault: &Fault) -> Result<(), LabError> {
    let refuse = |reason: &str| Err(LabError::Fault { fault: fault.to_string(), reason: reason.to_owned() });
    match fault {
        Fault::Partition { from, to, .. } | Fault::Slow { from, to, .. } if from == to => {
            refuse("a region has no link to itself: name two different ones")
        }
        Fault::Slow { loss: Some(loss), .. } if !(0.0..=1.0).contains(loss) => {
            refuse("a loss is a share from 0 to 1 (0 % to 100 %)")
        }
        Fault::Slow { bandwidth: Some(0), .. } => refuse("a bandwidth of 0 is a partition: use that"),
        Fault::Slow { rtt: Some(rtt), .. } if *rtt > Duration::from_secs(60) => {
            refuse("a round trip of over a minute is a partition: use that")
        }
        Fault::Slow { rtt: None, loss: None, bandwidth: None, .. } => {
            refuse("nothing is said of how: give a round trip, a loss or a bandwidth")
        }
        _ => Ok(()),
    }
}

/// The number of that region, from 0.
fn index(lab: &Lab, region: &RegionName) -> Result<usize, LabError> {
    let names: Vec<String> = lab.system().region_names().map(ToString::to_string).collect();
    let found = names.iter().position(|n| n == region.as_str());
    found.ok_or_else(|| LabError::NoRegion { name: region.to_string(), known: names.join(", ") })
}

fn territory(lab: &Lab, region: &RegionName) -> Result<(usize, Territory), LabError> {
    let i = index(lab, region)?;
    let none = || LabError::NoRegion { name: region.to_string(), known: String::new() };
    Ok((i, lab.territory(i).ok_or_else(none)?))
}

/// Where the writer of the first database is at home.
fn home(lab: &Lab, fault: &Fault) -> Result<RegionName, LabError> {
    let home = lab.system().databases.first().and_then(|database| lab.system().home(database));
    let none =
        || LabError::Fault { fault: fault.to_string(), reason: "the system has no database".to_owned() };
    home.cloned().ok_or_else(none)
}

/// Orders the writer to move, as `meridian switchover` does; the first node that answers takes the order.
async fn order_move(lab: &Lab, fault: &Fault, to: &RegionName) -> Result<String, LabError> {
    index(lab, to)?;
    let refuse = |reason: String| LabError::Fault { fault: fault.to_string(), reason };
    let group = lab.system().databases.first().map(|d| d.name.clone());
    let group = group.ok_or_else(|| refuse("the system has no database".to_owned()))?;
    let addresses = lab.addresses();
    let secret = Secret::read(&addresses.control_secret_file).map_err(|e| refuse(e.to_string()))?;
    let wish = Wish::Switchover { to: to.clone() };
    let order = OrderAsked { group, wish, by: "drill".to_owned(), lasts_ms: None };
    let body = serde_json::to_vec(&order).map_err(|e| refuse(e.to_string()))?;
    let mut last = "no node answers".to_owned();
    for region in &addresses.regions {
        let question = Question { method: Method::POST, path: ORDERS, body: body.clone() };
        match ask(region.control, &secret, question, ORDER_WITHIN).await {
            Ok((StatusCode::OK, _)) => return Ok(format!("the node of {} took the order", region.region)),
            Ok((_, words)) => last = String::from_utf8_lossy(&words).trim().to_owned(),
            Err(error) => last = error.to_string(),
        }
    }
    Err(refuse(last))
}

async fn kill_region(lab: &Lab, region: &RegionName, begun: &mut Begun) -> Result<String, LabError> {
    let (i, territory) = territory(lab, region)?;
    // Found first, so that dark and dead are a moment apart.
    let first = territory.processes();
    *begun = Begun::now();
    lab.0.wan.set_dark(i, true);
    signal_all(&first, Signal::KILL);
    let was = lab.with_run(i, |run| {
        (run.etcd, run.node) = (None, None);
        run.frozen.clear();
        std::mem::replace(&mut run.condition, Condition::Killed)
    });
    let late = kill(|| territory.processes().into_iter().filter(|p| !first.contains(p)).collect()).await?;
    gone(&first).await?;
    write_state(lab)?;
    let count = first.len() + late;
    if count == 0 && was == Some(Condition::Killed) {
        return Ok("is killed already".to_owned());
    }
    Ok(format!("killed {}, its network is dark", processes(count)))
}

async fn kill_part(
    lab: &Lab,
    region: &RegionName,
    part: FaultPart,
    begun: &mut Begun,
) -> Result<String, LabError> {
    let (i, territory) = territory(lab, region)?;
    let targets = members(lab, i, &territory, part);
    if targets.is_empty() {
        return Err(nothing_runs(&Fault::Kill { region: region.clone(), part: Some(part) }, region, part));
    }
    lab.with_run(i, |run| match part {
        FaultPart::Etcd => run.etcd = None,
        FaultPart::Node => run.node = None,
        FaultPart::Postgres | FaultPart::App => {}
    });
    *begun = Begun::now();
    signal_all(&targets, Signal::KILL);
    gone(&targets).await?;
    write_state(lab)?;
    Ok(format!("killed {}", processes(targets.len())))
}

async fn freeze(lab: &Lab, region: &RegionName, part: Option<FaultPart>) -> Result<String, LabError> {
    let (i, territory) = territory(lab, region)?;
    let fault = Fault::Freeze { region: region.clone(), part };
    let condition = lab.with_run(i, |run| run.condition);
    let stopped_before = |run: &mut super::RegionRun| {
        part.is_some_and(|part| run.frozen.iter().any(|(p, process)| *p == part && process.is_alive()))
    };
    if condition == Some(Condition::Frozen) || lab.with_run(i, stopped_before) == Some(true) {
        return Ok("is frozen already".to_owned());
    }
    if condition != Some(Condition::Running) {
        let reason = "it does not run: restore it first".to_owned();
        return Err(LabError::Fault { fault: fault.to_string(), reason });
    }
    if part.is_none() {
        // A machine that stands still acknowledges nothing either.
        lab.0.wan.set_dark(i, true);
    }
    let mut stopped: BTreeSet<Identity> = BTreeSet::new();
    for _ in 0..FREEZE_ROUNDS {
        let all = part.map_or_else(|| territory.processes(), |part| members(lab, i, &territory, part));
        let new: Vec<Process> = all.into_iter().filter(|p| !stopped.contains(&p.identity)).collect();
        if new.is_empty() {
            break;
        }
        signal_all(&new, Signal::STOP);
        stopped.extend(new.iter().map(|p| p.identity));
    }
    match part {
        None => drop(lab.with_run(i, |run| run.condition = Condition::Frozen)),
        Some(part) if stopped.is_empty() => return Err(nothing_runs(&fault, region, part)),
        Some(part) => drop(lab.with_run(i, |run| run.frozen.extend(stopped.iter().map(|p| (part, *p))))),
    }
    Ok(format!("stopped {}", processes(stopped.len())))
}

/// `1 process`, `2 processes`.
fn processes(count: usize) -> String {
    format!("{count} process{}", if count == 1 { "" } else { "es" })
}

/// `1 process goes on`, `2 processes go on`.
fn many(count: usize, one: &str, more: &str) -> String {
    format!("{} {}", processes(count), if count == 1 { one } else { more })
}

/// Undoes what the lab did to the region, and starts what is missing.
async fn restore(lab: &Lab, region: &RegionName) -> Result<String, LabError> {
    let (i, territory) = territory(lab, region)?;
    let before = lab.with_run(i, |run| std::mem::replace(&mut run.condition, Condition::Running));
    lab.0.wan.set_dark(i, false);
    let mut done = Vec::new();
    if lab.0.wan.rejoin(i) {
        done.push("is isolated no more".to_owned());
    }
    let parts = lab.with_run(i, |run| std::mem::take(&mut run.frozen)).unwrap_or_default();
    if before == Some(Condition::Frozen) {
        done.push(many(wake(lab, i, &territory).await, "goes on", "go on"));
    } else if !parts.is_empty() {
        let going = parts.iter().filter(|(_, p)| p.signal(Signal::CONT)).count();
        done.push(many(going, "goes on", "go on"));
    }
    let started = start::start_region(lab, i).await?;
    done.extend(started.into_iter().map(|part| format!("{part} started")));
    let parted = lab.0.wan.parted_from(i);
    if !parted.is_empty() {
        done.push(format!("{region} is still cut off from {}: meridian lab heal", parted.join(" and ")));
    }
    if done.is_empty() {
        done.push("nothing was to be restored".to_owned());
    }
    Ok(done.join(", "))
}

/// Wakes a machine in the order that is worst for its fence: the databases first, their youngest processes
/// (the backends) before all others, and a good while later the node and its guards, which would end them.
async fn wake(lab: &Lab, i: usize, territory: &Territory) -> usize {
    let node = lab.with_run(i, |run| run.node.as_ref().map(|node| node.identity.pid)).flatten();
    let name = node.and_then(Process::read).map(|node| node.name);
    // Children first: a parent must not find them stopped.
    let mut all = territory.processes();
    all.reverse();
    let (fences, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| Some(&p.name) == name.as_ref());
    let (databases, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|p| p.name == "postgres");
    signal_all(&databases, Signal::CONT);
    signal_all(&others, Signal::CONT);
    tokio::time::sleep(HEAD_START).await;
    signal_all(&fences, Signal::CONT);
    databases.len() + others.len() + fences.len()
}

fn on_network(lab: &Lab, fault: &Fault) -> Result<String, LabError> {
    let wan = &lab.0.wan;
    match fault {
        Fault::Partition { from, to, one_way } => wan.partition(index(lab, from)?, index(lab, to)?, !one_way),
        Fault::Isolate { region } => wan.isolate(index(lab, region)?),
        Fault::Slow { from, to, rtt, loss, bandwidth } => {
            wan.slow(index(lab, from)?, index(lab, to)?, *rtt, *loss, *bandwidth);
        }
        _ => {
            wan.heal();
            return Ok(healed(lab));
        }
    }
    let now = wan.network_faults();
    Ok(if now.is_empty() { "the network is whole".to_owned() } else { now.join("; ") })
}

/// What `heal` leaves: regions are dark as long as they are killed or frozen, and only `restore` ends that.
fn healed(lab: &Lab) -> String {
    let runs = lab.runs().clone();
    let off = lab.system().region_names().zip(runs).filter(|(_, run)| run.condition != Condition::Running);
    let dark = off.map(|(region, run)| {
        let was = run.condition.word();
        format!("{region} stays dark because it was {was}: meridian lab restore {region}")
    });
    let dark: Vec<String> = dark.collect();
    if dark.is_empty() { "the network is whole".to_owned() } else { dark.join("; ") }
}

fn nothing_runs(fault: &Fault, region: &RegionName, part: FaultPart) -> LabError {
    LabError::Fault { fault: fault.to_string(), reason: format!("no {part} runs in {region}") }
}

/// The processes of one part of a region.
fn members(lab: &Lab, i: usize, territory: &Territory, part: FaultPart) -> Vec<Process> {
    let root = |child: &Option<crate::process::Child>| child.as_ref().map(|c| c.identity);
    let roots = lab.with_run(i, |run| (root(&run.etcd), root(&run.node)));
    let (etcd, node) = roots.unwrap_or_default();
    let apps = app_names(lab);
    let belongs = |p: &Process| match part {
        FaultPart::Etcd => Some(p.identity) == etcd,
        FaultPart::Node => Some(p.identity) == node,
        FaultPart::Postgres => p.name == "postgres",
        FaultPart::App => Some(p.identity) != node && apps.contains(&p.name),
    };
    territory.processes().into_iter().filter(belongs).collect()
}

/// The names that the instances' programs have in the process table.
fn app_names(lab: &Lab) -> BTreeSet<String> {
    const NAME_MAX: usize = 15;
    let backends = lab.system().services.iter().flat_map(|s| &s.backends);
    let programs = backends.filter_map(|b| b.compute.as_ref()?.command.first());
    let name = |program: &String| {
        let name = Path::new(program).file_name()?.to_str()?;
        Some(name.chars().take(NAME_MAX).collect())
    };
    programs.filter_map(name).collect()
}

/// Waits until none of them is alive. They have been killed: it takes as long as the kernel takes.
async fn gone(processes: &[Process]) -> Result<(), LabError> {
    kill(|| processes.iter().filter(|p| p.identity.is_alive()).cloned().collect()).await.map(drop)
}
