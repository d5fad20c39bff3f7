//! The state of a lab as a table for people: the same in the live view and in `lab status`.

use meridian_lab::status::GroupRow;
use meridian_lab::{LabStatus, RegionStatus};
use meridian_model::Timestamp;
use serde_json::Value;

use crate::table::{self, Column};

/// The regions.
pub(crate) const REGIONS: [Column; 8] = [
    Column("REGION", "a row for each database of a region"),
    Column("STATE", "running, or what the lab did to it: killed, frozen, or a part of it"),
    Column("VERDICT", "what most nodes hold the region to be: up, down or unknown"),
    Column("DATABASE", "the data group; (writes): here; (no writer): this node knows of none"),
    Column("ROLE", "primary, standby, not streaming (a standby that receives nothing), starting, stopped"),
    Column("EPOCH", "the reign that this node knows; one with a lower number is behind"),
    Column("LAG", "of a standby: behind by so much; `nothing heard`: of the writer, for so long"),
    Column("APP", "instances of the application: running of wanted"),
];

/// The table and everything that is missing.
pub(super) fn verbose(status: &LabStatus) -> Vec<String> {
    let mut all = lines(status);
    all.extend(status.missing.iter().map(|what| format!("  {what}")));
    all
}

/// The table, a line each, without line ends.
pub(super) fn lines(status: &LabStatus) -> Vec<String> {
    let rows: Vec<[String; 8]> = status.regions.iter().flat_map(region_rows).collect();
    let mut all = table::lines(&REGIONS, &rows);
    all.extend(status.network_faults.iter().map(|fault| format!("network: {fault}")));
    all.extend(status.held_back.iter().cloned());
    all.push(summary(status));
    all
}

fn summary(status: &LabStatus) -> String {
    let more = status.missing.len().saturating_sub(1);
    let state = match status.missing.first() {
        None => "healthy".to_owned(),
        Some(first) if more == 0 => format!("not healthy: {first}"),
        Some(first) => {
            let number = status.number;
            format!("not healthy: {first} (and {more} more: meridian lab status --verbose --lab {number})")
        }
    };
    format!("lab {} ({}), {state}", status.number, status.name)
}

/// One row for each database member; one for a region without any.
fn region_rows(region: &RegionStatus) -> Vec<[String; 8]> {
    if region.groups.is_empty() {
        return vec![row(region, None)];
    }
    region.groups.iter().map(|group| row(region, Some(group))).collect()
}

fn row(region: &RegionStatus, group: Option<&GroupRow>) -> [String; 8] {
    let none = || "-".to_owned();
    let writer = |g: &GroupRow| match &g.writer {
        Some(writer) if *writer == region.region => format!("{} (writes)", g.group),
        Some(_) => g.group.to_string(),
        None => format!("{} (no writer)", g.group),
    };
    let role = |g: &GroupRow| match (g.role.as_str(), g.streaming) {
        ("", _) => "-".to_owned(),
        ("standby", false) => "not streaming".to_owned(),
        (role, _) => role.to_owned(),
    };
    [
        region.region.to_string(),
        region.condition.clone(),
        region.verdict.clone(),
        group.map_or_else(none, writer),
        group.map_or_else(none, role),
        group.map_or_else(none, |g| g.epoch.to_string()),
        group.and_then(|g| g.lag.clone()).unwrap_or_else(none),
        region.node.as_ref().map_or_else(none, instances),
    ]
}

/// `2/2`: running of wanted.
fn instances(node: &Value) -> String {
    let services = || node.get("compute").and_then(Value::as_array).into_iter().flatten();
    let sum = |key: &str| services().filter_map(|s| s.get(key)?.as_u64()).sum::<u64>();
    format!("{}/{}", sum("running"), sum("wanted"))
}

/// `12:03:04.123`, UTC.
pub(super) fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| "-".to_owned(), |t| t.strftime("%H:%M:%S%.3f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Name;

    #[test]
    fn a_region_that_is_gone_and_one_that_writes() {
        let region = |name: &str, condition: &str, groups| RegionStatus {
            region: Name::new(name).unwrap(),
            condition: condition.to_owned(),
            processes: 0,
            node: None,
            verdict: "unknown".to_owned(),
            groups,
        };
        let orders = GroupRow {
            group: Name::new("orders").unwrap(),
            role: "primary".to_owned(),
            epoch: 2,
            writer: Some(Name::new("eu").unwrap()),
            reason: String::new(),
            streaming: false,
            lag_ms: None,
            lag: None,
            lsn: "0/3000000".to_owned(),
        };
        let status = LabStatus {
            name: "shop".to_owned(),
            number: 10,
            dir: "/tmp".into(),
            at: Timestamp(0),
            healthy: false,
            missing: vec!["us is killed".to_owned(), "more".to_owned()],
            held_back: Vec::new(),
            regions: vec![region("us", "killed", Vec::new()), region("eu", "running", vec![orders])],
            network_faults: vec!["us is dark".to_owned()],
        };
        let expected = [
            "REGION  STATE    VERDICT  DATABASE         ROLE     EPOCH  LAG  APP",
            "us      killed   unknown  -                -        -      -    -",
            "eu      running  unknown  orders (writes)  primary  2      -    -",
            "network: us is dark",
            "lab 10 (shop), not healthy: us is killed (and 1 more: meridian lab status --verbose --lab 10)",
        ];
        assert_eq!(lines(&status), expected);
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(time(Timestamp(1_700_000_000_123)), "22:13:20.123");
    }
}
