//! What the lab sees of its regions from outside, through each node's `GET /v1/status`.
//!
//! The answer is read leniently, as JSON: a lab must still show something when a node of another version,
//! or half of one, answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use meridian_model::{GroupName, Lsn, Name, RegionName, System, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;

/// The whole lab at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// The name of the topology.
    pub name: String,
    /// The number of the lab: the second octet of its addresses.
    pub number: u8,
    /// Its state folder.
    pub dir: std::path::PathBuf,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Everything that should work does.
    pub healthy: bool,
    /// What is missing, one sentence each.
    pub missing: Vec<String>,
    /// The regions, in the order of the spec.
    pub regions: Vec<RegionStatus>,
    /// Faults on the network now, one sentence each.
    pub network_faults: Vec<String>,
}

/// One region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Which.
    pub region: RegionName,
    /// `running`, `killed`, `frozen`, `starting`; what the lab did to it.
    pub condition: String,
    /// Processes that belong to it.
    pub processes: usize,
    /// The node answered; its whole answer.
    pub node: Option<Value>,
    /// What most nodes hold it to be: `up`, `down`, `unknown`.
    pub verdict: String,
    /// Each group that it is a member of.
    pub groups: Vec<GroupRow>,
}

/// One database member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Which group.
    pub group: GroupName,
    /// `primary`, `standby`, …
    pub role: String,
    /// The epoch that it knows.
    pub epoch: u64,
    /// Who writes, as this node knows.
    pub writer: Option<RegionName>,
    /// Why nobody does.
    pub reason: String,
    /// A standby that receives, or a primary.
    pub streaming: bool,
    /// How far behind, in milliseconds.
    pub lag_ms: Option<u64>,
    /// The log position, as text.
    pub lsn: String,
}

/// The longest a node is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The largest answer that is read.
const ANSWER_MAX: usize = 8 << 20;

/// What a node answers to `GET path`; the error is a sentence.
pub(crate) async fn ask(address: SocketAddr, path: &str, secret: &str) -> Result<Value, String> {
    match tokio::time::timeout(ANSWER_WITHIN, get(address, path, secret)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{address} does not answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}

async fn get(address: SocketAddr, path: &str, secret: &str) -> Result<Value, String> {
    let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
    let wrong = |e: hyper::Error| format!("{address}: {e}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::AUTHORIZATION, format!("Bearer {secret}"))
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(wrong)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|e| format!("{address}: {e}"))?.to_bytes();
        if !status.is_success() {
            return Err(format!("{address} answers {status}"));
        }
        serde_json::from_slice(&body).map_err(|e| format!("{address} does not answer JSON: {e}"))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or_else(|| "it closed".to_owned(), |e| e.to_string())),
    }
}

/// One text field of an answer.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The items of one list of an answer.
fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A region from what its node answered, if it did.
pub(crate) fn region_status(
    region: &RegionName,
    condition: &str,
    processes: usize,
    node: Option<Value>,
) -> RegionStatus {
    let groups = node.iter().flat_map(|n| list(n, "groups")).filter_map(group_row).collect();
    RegionStatus {
        region: region.clone(),
        condition: condition.to_owned(),
        processes,
        verdict: "unknown".to_owned(),
        groups,
        node,
    }
}

fn group_row(group: &Value) -> Option<GroupRow> {
    let database = group.get("database").unwrap_or(&Value::Null);
    let lsn = database.pointer("/received/lsn").and_then(Value::as_u64);
    Some(GroupRow {
        group: Name::new(text(group, "group")).ok()?,
        role: text(database, "role").to_owned(),
        epoch: group.get("epoch").and_then(Value::as_u64).unwrap_or(0),
        writer: Name::new(text(group, "writer")).ok(),
        reason: text(group, "reason").to_owned(),
        streaming: database.get("streaming").and_then(Value::as_bool).unwrap_or(false),
        lag_ms: database.get("replay_lag_ms").and_then(Value::as_u64),
        lsn: lsn.map(|l| Lsn(l).to_string()).unwrap_or_default(),
    })
}

/// What most nodes hold each region to be; the worse one of a tie.
pub(crate) fn settle_verdicts(regions: &mut [RegionStatus]) {
    for i in 0..regions.len() {
        let Some(name) = regions.get(i).map(|r| r.region.clone()) else { continue };
        let said: Vec<&str> = regions
            .iter()
            .filter_map(|r| r.node.as_ref())
            .flat_map(|n| list(n, "verdicts"))
            .filter(|v| text(v, "region") == name.as_str())
            .map(|v| text(v, "health"))
            .collect();
        let count = |word: &str| said.iter().filter(|s| **s == word).count();
        let verdict =
            ["down", "unknown", "up"].into_iter().rev().max_by_key(|w| count(w)).filter(|w| count(w) > 0);
        if let Some(region) = regions.get_mut(i) {
            verdict.unwrap_or("unknown").clone_into(&mut region.verdict);
        }
    }
}

/// What is missing until the whole is healthy, one sentence each.
pub(crate) fn missing(system: &System, regions: &[RegionStatus]) -> Vec<String> {
    let nodes = regions.iter().flat_map(|r| node_missing(r));
    let groups = system.databases.iter().flat_map(|d| group_missing(d, regions));
    nodes.chain(groups).collect()
}

fn node_missing(region: &RegionStatus) -> Vec<String> {
    let name = &region.region;
    if region.condition != "running" {
        return vec![format!("{name} is {}", region.condition)];
    }
    let Some(node) = &region.node else { return vec![format!("the node of {name} does not answer")] };
    let not_up = list(node, "verdicts").filter(|v| text(v, "health") != "up");
    let sentence = |v: &Value| {
        let (other, health) = (text(v, "region"), text(v, "health"));
        let parts = list(v, "parts").filter(|p| text(p, "health") != "up");
        let parts: Vec<String> = parts
            .map(|p| {
                format!(
                    "{} {}",
                    p.pointer("/target/part").and_then(Value::as_str).unwrap_or("?"),
                    text(p, "health")
                )
            })
            .collect();
        format!(
            "{name} holds {other} to be {health} ({})",
            if parts.is_empty() { text(v, "reason").to_owned() } else { parts.join(", ") }
        )
    };
    let mut all: Vec<String> = not_up.map(sentence).collect();
    // A region can be up with a part that is not: the application of a standby, for one.
    all.extend(list(node, "verdicts").filter(|v| text(v, "health") == "up").filter_map(|v| {
        let parts: Vec<&str> = list(v, "parts")
            .filter(|p| text(p, "health") == "down")
            .filter_map(|p| p.pointer("/target/part").and_then(Value::as_str))
            .collect();
        (!parts.is_empty()).then(|| format!("{name} sees {} of {} down", parts.join(", "), text(v, "region")))
    }));
    if list(node, "verdicts").next().is_none() {
        all.push(format!("{name} has no verdict yet"));
    }
    all
}

fn group_missing(database: &meridian_model::Database, regions: &[RegionStatus]) -> Vec<String> {
    let group = &database.name;
    let row = |r: &&RegionName| {
        let status = regions.iter().find(|s| &s.region == *r)?;
        status.groups.iter().find(|g| &g.group == group).map(|g| (status, g))
    };
    let members: Vec<&RegionName> = database.members.iter().map(|m| &m.region).collect();
    let mut all = Vec::new();
    let mut writers = std::collections::BTreeSet::new();
    for (status, row) in members.iter().filter_map(row) {
        match &row.writer {
            Some(writer) => drop(writers.insert(writer.clone())),
            None => all.push(format!("{} knows no writer of {group} ({})", status.region, row.reason)),
        }
        let follows = row.writer.as_ref() != Some(&status.region);
        if follows && !(row.role == "standby" && row.streaming) {
            all.push(format!("{group} in {} is {} and does not stream", status.region, row.role));
        }
        if !follows && row.role != "primary" {
            all.push(format!("{group} in {} should write and is {}", status.region, row.role));
        }
    }
    if writers.len() > 1 {
        all.push(format!("the nodes do not agree on the writer of {group}"));
    }
    all
}
