//! The rows that each database really has, read straight from it after the load has ended.

use std::collections::HashSet;
use std::time::Duration;

use meridian_model::RegionName;

use super::DrillError;
use super::witness::{Login, chain};
use crate::ledger::MemberRows;
use crate::plan::DatabaseAddresses;

/// How long reading one database may take.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// The rows of all members that could be read.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Those of the writer.
    pub(super) writer: MemberRows,
    /// Those of the others.
    pub(super) others: Vec<MemberRows>,
    /// Members that could not be read, and why.
    pub(super) unread: Vec<(RegionName, String)>,
    /// What the writer's PostgreSQL calls itself.
    pub(super) postgres: String,
    /// More than one member said that it takes writes.
    pub(super) primaries: Vec<RegionName>,
}

/// One member, read.
struct Member {
    rows: MemberRows,
    primary: bool,
    timeline: u32,
    postgres: String,
}

/// Reads every member. The writer is the one that is not in recovery, on the highest timeline; if all
/// of them are (nobody may write at the end), the one on the highest timeline stands for it.
pub(super) async fn read(database: &DatabaseAddresses, token: &str) -> Result<Rows, DrillError> {
    let mut rows = Rows::default();
    let mut members = Vec::new();
    for (region, address) in &database.members {
        let login = Login::app(database, *address)?;
        let member = tokio::time::timeout(READ_WITHIN, member(&login, region, token)).await;
        match member.unwrap_or_else(|_| Err(format!("no answer within {READ_WITHIN:?}"))) {
            Ok(member) => members.push(member),
            Err(reason) => rows.unread.push((region.clone(), reason)),
        }
    }
    members.sort_by_key(|m| (m.primary, m.timeline));
    let Some(writer) = members.pop() else {
        let reasons: Vec<String> =
            rows.unread.iter().map(|(region, why)| format!("{region}: {why}")).collect();
        return Err(DrillError::NoRows { group: database.group.to_string(), reasons: reasons.join("; ") });
    };
    let primaries = members.iter().chain([&writer]).filter(|m| m.primary);
    rows.primaries = primaries.filter_map(|m| m.rows.region.clone()).collect();
    rows.postgres = writer.postgres;
    rows.writer = writer.rows;
    rows.others = members.into_iter().map(|m| m.rows).collect();
    Ok(rows)
}

async fn member(login: &Login, region: &RegionName, token: &str) -> Result<Member, String> {
    let client = login.open().await?;
    let state = "SELECT pg_is_in_recovery(), current_setting('server_version'), \
                 (SELECT timeline_id FROM pg_control_checkpoint())";
    let state = client.query_one(state, &[]).await.map_err(|e| chain(&e))?;
    let pattern = format!("{token}-%");
    let found = client.query("SELECT id::text FROM orders WHERE id::text LIKE $1", &[&pattern]).await;
    let found = found.map_err(|e| chain(&e))?;
    let ids: HashSet<String> = found.iter().filter_map(|row| row.try_get(0).ok()).collect();
    let in_recovery: bool = state.try_get(0).map_err(|e| e.to_string())?;
    let timeline: i32 = state.try_get(2).unwrap_or_default();
    Ok(Member {
        rows: MemberRows { region: Some(region.clone()), ids },
        primary: !in_recovery,
        timeline: u32::try_from(timeline).unwrap_or_default(),
        postgres: state.try_get(1).unwrap_or_default(),
    })
}
