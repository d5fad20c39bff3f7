//! One fault on a running PostgreSQL cluster, whoever manages it, measured by its clients: the part of
//! `script/bench failover` that is the same for every system. The script starts and breaks things.
//!
//! `failover measure KEY=VALUE…` waits for a primary with two streaming standbys, sets a writer on every server
//! (and on every other way in), runs the command of the fault, waits for the next writer, runs the command
//! that mends, and prints what it saw as one line of JSON. `failover summary FILE` sums such lines up.
//!
//! Clients try to write all the time; those who reach the primary do so 100 times a second in all. Each waits a
//! minute for an answer, so that one that comes late, from a server that was frozen, is still heard. All clients
//! are in this process: there is one clock and one ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meridian_lab::measure::{ServerAck, round, takeover};
use meridian_model::Moment;
use meridian_telemetry::clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls};

/// How often a write goes to the primary; those who reach it take turns.
const EVERY: Duration = Duration::from_millis(10);
/// A write without an answer for this long is given up, and its session with it.
const WRITE_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a cluster may take to have a primary with two standbys, and to have one primary again.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Acknowledged writes before the fault.
const BEFORE: usize = 500;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = match arguments.split_first() {
        Some((verb, rest)) if verb == "measure" => measure(&Settings::of(rest)?).await?.to_string(),
        Some((verb, [file])) if verb == "summary" => summary(&std::fs::read_to_string(file)?)?,
        _ => return Err("failover measure KEY=VALUE… | failover summary FILE".into()),
    };
    print(out.trim_end());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what this program is for")]
fn print(text: &str) {
    println!("{text}");
}

/// What the script says, `KEY=VALUE` each.
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn of(arguments: &[String]) -> Result<Self, Failure> {
        let pair = |a: &String| -> Result<(String, String), Failure> {
            let (key, value) = a.split_once('=').ok_or_else(|| format!("`{a}` is no KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        arguments.iter().map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, key: &str) -> Result<&str, Failure> {
        self.0.get(key).map(String::as_str).ok_or_else(|| format!("`{key}=` is missing").into())
    }

    fn seconds(&self, key: &str) -> Result<Duration, Failure> {
        Ok(Duration::from_secs_f64(self.get(key)?.parse()?))
    }

    fn addresses(&self, key: &str) -> Result<Vec<SocketAddr>, Failure> {
        let list = self.0.get(key).map(String::as_str).unwrap_or_default();
        let one = |text: &str| -> Result<SocketAddr, Failure> {
            text.parse().map_err(|error: std::net::AddrParseError| format!("{text}: {error}").into())
        };
        list.split(',').filter(|text| !text.is_empty()).map(one).collect()
    }

    /// A login, as `user=` and `password=` say, or their `admin-` forms.
    fn login(&self, prefix: &str, address: SocketAddr) -> Result<Config, Failure> {
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port()).dbname(self.get("dbname")?);
        config.user(self.get(&format!("{prefix}user"))?).password(self.get(&format!("{prefix}password"))?);
        config.application_name("bench").connect_timeout(CONNECT_WITHIN);
        Ok(config)
    }
}

async fn measure(settings: &Settings) -> Result<Value, Failure> {
    let nodes = settings.addresses("nodes")?;
    let other_ways = settings.addresses("gateways")?;
    let (place, primary) = ready(settings, &nodes).await?;
    open(&settings.login("admin-", primary)?).await?.batch_execute(TABLE).await?;

    let ledger = Arc::new(Ledger::default());
    let mut writers = JoinSet::new();
    // One straight client reaches the primary, and every other way does: the load is the same for all systems.
    let every = EVERY * u32::try_from(other_ways.len() + 1)?;
    for (address, usual) in ways(&nodes, &other_ways) {
        writers.spawn(write(settings.login("", address)?, usual, every, Arc::clone(&ledger)));
    }
    let old = primary.ip();
    until(READY_WITHIN, || ledger.look(|acks| acks.iter().filter(|a| a.usual).count() >= BEFORE)).await?;

    let fault = clock::now();
    shell(settings.get("fault")?, place).await?;
    let new = |a: &ServerAck| a.usual && a.server != old && a.at > fault;
    let began = until(settings.seconds("new-within")?, || ledger.look(|acks| acks.iter().any(new))).await;
    tokio::time::sleep(settings.seconds("go-on")?).await;
    shell(settings.get("mend")?, place).await?;
    tokio::time::sleep(settings.seconds("settle")?).await;
    let end = clock::now();
    writers.shutdown().await;

    let (writer, rows) = rows(settings, &nodes).await?;
    let acks = ledger.look(Vec::clone);
    let told = takeover(&acks, old, (fault, end), &rows);
    let label = |key: &str| settings.get(key).unwrap_or_default().to_owned();
    Ok(json!({
        "system": label("system"), "event": label("event"), "run": label("run"),
        "took_over": began.is_ok(), "new_after_seconds": told.new_after.map(round),
        "outage_seconds": round(told.outage), "old_after_new": told.old_after_new, "lost": told.lost,
        "acknowledged": acks.len(), "old": old.to_string(), "writer_at_end": writer.to_string(),
    }))
}

const TABLE: &str = "create table bench_writes (id bigint primary key); \
                     grant select, insert on bench_writes to public";
const WRITE: &str = "insert into bench_writes values ($1) returning host(inet_server_addr())";

/// Every server straight; and the ways that the system has its clients take, if those are others.
fn ways(nodes: &[SocketAddr], others: &[SocketAddr]) -> Vec<(SocketAddr, bool)> {
    let straight = nodes.iter().map(|node| (*node, others.is_empty()));
    straight.chain(others.iter().map(|way| (*way, true))).collect()
}

// === the clients ===

#[derive(Default)]
struct Ledger {
    next: AtomicI64,
    acks: Mutex<Vec<ServerAck>>,
}

impl Ledger {
    fn look<T>(&self, at: impl FnOnce(&Vec<ServerAck>) -> T) -> T {
        at(&self.acks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, ack: ServerAck) {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }
}

/// Writes for ever; a session is not kept after a write without an answer.
async fn write(login: Config, usual: bool, every: Duration, ledger: Arc<Ledger>) {
    loop {
        if let Ok(client) = open(&login).await {
            write_on(&client, usual, every, &ledger).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn write_on(client: &Client, usual: bool, every: Duration, ledger: &Ledger) {
    let prepared = tokio::time::timeout(WRITE_WITHIN, client.prepare(WRITE)).await;
    let Ok(Ok(statement)) = prepared else { return };
    let mut every = tokio::time::interval(every);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let id = ledger.next.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(WRITE_WITHIN, client.query_one(&statement, &[&id])).await {
            Ok(Ok(row)) => {
                let at = clock::now();
                let server = row.try_get::<_, &str>(0).ok().and_then(|text| text.parse::<IpAddr>().ok());
                let Some(server) = server else { return };
                ledger.note(ServerAck { id, server, usual, at });
            }
            Ok(Err(_)) if !client.is_closed() => {}
            _ => return,
        }
    }
}

async fn open(login: &Config) -> Result<Client, Failure> {
    let (client, connection) = tokio::time::timeout(CONNECT_WITHIN, login.connect(NoTls)).await??;
    tokio::spawn(connection);
    Ok(client)
}

// === the cluster ===

/// Waits for one primary from which two standbys stream; its place among the nodes, from 1, and its address.
async fn ready(settings: &Settings, nodes: &[SocketAddr]) -> Result<(usize, SocketAddr), Failure> {
    let deadline = clock::now() + READY_WITHIN;
    let streaming = "select count(*) from pg_stat_replication \
                     where state = 'streaming' and application_name <> 'meridian_lease'";
    while clock::now() < deadline {
        if let [(_, address)] = primaries(settings, nodes).await.as_slice() {
            let client = open(&settings.login("admin-", *address)?).await?;
            let standbys: i64 = client.query_one(streaming, &[]).await?.try_get(0)?;
            if standbys >= 2 {
                let at = nodes.iter().position(|node| node == address).ok_or("no such node")?;
                return Ok((at + 1, *address));
            }
        }
        tokio::time::sleep(LOOK_EVERY * 10).await;
    }
    Err(format!("no primary with two streaming standbys within {READY_WITHIN:?}").into())
}

/// Everybody who is not in recovery, by the timeline on which it writes, the newest first.
async fn primaries(settings: &Settings, nodes: &[SocketAddr]) -> Vec<(u32, SocketAddr)> {
    let writes = "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    let mut found = Vec::new();
    for node in nodes {
        let timeline = async {
            let client = open(&settings.login("admin-", *node)?).await?;
            let row = tokio::time::timeout(CONNECT_WITHIN, client.query_one(writes, &[])).await??;
            Ok::<u32, Failure>(u32::from_str_radix(row.try_get(0)?, 16)?)
        };
        // A standby refuses: it is in recovery.
        found.extend(timeline.await.ok().map(|timeline| (timeline, *node)));
    }
    found.sort_by_key(|one| std::cmp::Reverse(*one));
    found
}

/// What the writer has when all is over: the only primary, or of several for ever the one on the newest timeline.
async fn rows(settings: &Settings, nodes: &[SocketAddr]) -> Result<(IpAddr, BTreeSet<i64>), Failure> {
    let deadline = clock::now() + Duration::from_secs(30);
    loop {
        let found = primaries(settings, nodes).await;
        if let Some((_, writer)) = found.first().filter(|_| found.len() == 1 || clock::now() >= deadline) {
            let client = open(&settings.login("admin-", *writer)?).await?;
            let rows = client.query("select id from bench_writes", &[]).await?;
            return Ok((writer.ip(), rows.iter().filter_map(|row| row.try_get(0).ok()).collect()));
        }
        if clock::now() >= deadline + READY_WITHIN {
            return Err("nobody writes at the end".into());
        }
        tokio::time::sleep(LOOK_EVERY * 10).await;
    }
}

/// Runs a command of the script; `{n}` in it is the place of the old primary.
async fn shell(command: &str, place: usize) -> Result<(), Failure> {
    let command = command.replace("{n}", &place.to_string());
    let status = tokio::process::Command::new("bash").args(["-c", &command]).status().await?;
    if status.success() { Ok(()) } else { Err(format!("`{command}` ended with {status}").into()) }
}

async fn until(within: Duration, holds: impl Fn() -> bool) -> Result<Moment, Failure> {
    let deadline = clock::now() + within;
    while clock::now() < deadline {
        if holds() {
            return Ok(clock::now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("it did not happen within {within:?}").into())
}

// === the summary ===

/// A table: one line for each event and system, and how many times as long as ours in the same mode it takes.
fn summary(text: &str) -> Result<String, Failure> {
    let mut groups: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let run: Value = serde_json::from_str(line)?;
        let word = |key: &str| run.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        groups.entry((word("event"), word("system"))).or_default().push(run);
    }
    let mut out = format!(
        "{:<9}{:<26}{:>5}  {:<24}{:<24}{:>14}{:>16}  {}\n",
        "EVENT",
        "SYSTEM",
        "RUNS",
        "NEW WRITER AFTER, s",
        "OUTAGE, s",
        "LOST",
        "OLD AFTER NEW",
        "OF MERIDIAN'S"
    );
    for ((event, system), runs) in &groups {
        let figures = |key: &str| sorted(runs, key);
        let spread = |key: &str| match figures(key).as_slice() {
            [] => "never".to_owned(),
            all => format!("{:.2} / {:.2} / {:.2}", least(all), median(all), most(all)),
        };
        let range = |key: &str| format!("{:.0} to {:.0}", least(&figures(key)), most(&figures(key)));
        let mode = system.rsplit(' ').next().unwrap_or_default();
        let ours = groups.get(&(event.clone(), format!("meridian {mode}")));
        let ours = ours.map(|runs| sorted(runs, "new_after_seconds")).unwrap_or_default();
        let theirs = figures("new_after_seconds");
        let ratio = match (theirs.is_empty(), ours.is_empty()) {
            (false, false) => format!("{:.2}", median(&theirs) / median(&ours)),
            _ => String::new(),
        };
        let (new, outage) = (spread("new_after_seconds"), spread("outage_seconds"));
        let (lost, late, runs) = (range("lost"), range("old_after_new"), runs.len());
        writeln!(out, "{event:<9}{system:<26}{runs:>5}  {new:<24}{outage:<24}{lost:>14}{late:>16}  {ratio}")?;
    }
    Ok(out)
}

/// The values that there are, in order.
fn sorted(runs: &[Value], key: &str) -> Vec<f64> {
    let mut all: Vec<f64> = runs.iter().filter_map(|run| run.get(key)?.as_f64()).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn least(sorted: &[f64]) -> f64 {
    sorted.first().copied().unwrap_or(f64::NAN)
}

fn most(sorted: &[f64]) -> f64 {
    sorted.last().copied().unwrap_or(f64::NAN)
}

fn median(sorted: &[f64]) -> f64 {
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    at(sorted.len().saturating_sub(1) / 2).midpoint(at(sorted.len() / 2))
}
