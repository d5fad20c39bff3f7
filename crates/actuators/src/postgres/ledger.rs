//! The slot from which lost transactions can be decoded, on the primary.
//!
//! A logical slot of the application's database keeps what decoding needs: log and old catalogue rows. It is
//! never read while the primary lives; it is only moved up, to what every standby has, so that after a
//! failover whatever a standby lacks can still be read. It holds no more log than the slots of the
//! standbys do, `max_slot_wal_keep_size` at most. Each move reads the log since the last but one checkpoint
//! of running transactions (15 s), so it is made seldom, not each time it is asked for.
//!
//! What it costs, by `script/ledger-cost` (pgbench TPC-B on both servers at once, PostgreSQL 15, two cores under
//! other load; minimum / median / maximum of six, against `wal_level = replica`): CPU per transaction x 0.92 /
//! 1.00 / 1.04, transactions x 0.84 / 0.96 / 1.23, log per transaction x 0.97 / 1.02 / 1.06. That is nothing
//! that could be told from noise. A move over 47 to 63 MiB takes 136 / 162 / 266 ms, at most every 15 s or
//! 128 MiB.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use meridian_model::{Lsn, Moment};
use meridian_telemetry::clock;

use super::config::slot_of;
use super::layout::remove_folder;
use super::settings::{conf_value, literal};
use super::{Member, QUICK};
use crate::error::ActuatorError;

/// What is remembered between two moves.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    moved: Option<Moment>,
}

impl Member {
    /// Makes the slot if it is missing or has lost its log, and moves it up when it is time.
    pub(super) async fn advance_ledger_slot(&self) -> Result<(), ActuatorError> {
        if self.server.child().is_none() || !self.keeps_ledger() {
            return Ok(());
        }
        let Ok(_alone) = self.ledger_work.try_lock() else { return Ok(()) };
        match self.ledger_state().await? {
            State::Standby => Ok(()),
            State::Missing => self.make_ledger_slot().await,
            State::There { at, floor } => self.move_up(at, floor).await,
        }
    }

    /// The slot of a new reign. That of an earlier one, if any, knows nothing of the log since.
    pub(super) fn renew_ledger_in_background(self: &Arc<Self>, anew: bool) {
        if !self.keeps_ledger() {
            return;
        }
        let member = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = member.ledger_work.lock().await;
            let made = async {
                match member.ledger_state().await? {
                    State::Missing => {}
                    State::There { .. } if anew => {}
                    State::There { .. } | State::Standby => return Ok(()),
                }
                member.make_ledger_slot().await
            };
            if let Err(error) = made.await {
                tracing::warn!(%error, "lost transactions could only be listed, until the slot is made");
            }
        });
    }

    /// A server that is not set to keep what decoding needs refuses to start with such a slot.
    pub(super) fn forget_ledger_unless_kept(&self) -> Result<(), ActuatorError> {
        if self.keeps_ledger() {
            return Ok(());
        }
        remove_folder(&self.layout.data_dir.join("pg_replslot").join(LEDGER))
    }

    fn keeps_ledger(&self) -> bool {
        conf_value(&self.config, "wal_level").is_some_and(|level| level.eq_ignore_ascii_case("logical"))
    }

    async fn ledger_state(&self) -> Result<State, ActuatorError> {
        let others: Vec<_> = self.config.others.iter().map(|region| literal(&slot_of(region))).collect();
        let others = if others.is_empty() { "null".to_owned() } else { others.join(",") };
        let sql = STATE.replace("{others}", &others);
        let rows = self.ledger.rows("asking for the slot of the ledger", &sql, QUICK).await?;
        let field = |name: &str| rows.first().and_then(|row| row.get(name));
        if field("standby") != Some("f") {
            return Ok(State::Standby);
        }
        let lsn = |name: &str| field(name).and_then(|text| text.parse::<Lsn>().ok());
        Ok(match (lsn("at"), field("lost")) {
            (Some(at), Some("f")) => State::There { at, floor: lsn("floor").unwrap_or(at) },
            _ => State::Missing,
        })
    }

    /// Waits for the transactions that are under way, as a snapshot of the catalogue needs it.
    async fn make_ledger_slot(&self) -> Result<(), ActuatorError> {
        let sql = format!("{DROP}; {CREATE}");
        self.ledger.rows("making the slot of the ledger", &sql, MAKE).await?;
        self.moved();
        Ok(())
    }

    async fn move_up(&self, at: Lsn, floor: Lsn) -> Result<(), ActuatorError> {
        let last = self.ledger_seen.lock().unwrap_or_else(PoisonError::into_inner).moved;
        let late = last.is_none_or(|moved| clock::now().since(moved) >= MOVE_AFTER);
        let behind = floor.bytes_since(at);
        if behind == 0 || (!late && behind < MOVE_BYTES) {
            return Ok(());
        }
        let sql = format!("select pg_replication_slot_advance('{LEDGER}', '{floor}')");
        self.ledger.rows("moving the slot of the ledger up", &sql, MOVE).await?;
        self.moved();
        Ok(())
    }

    fn moved(&self) {
        self.ledger_seen.lock().unwrap_or_else(PoisonError::into_inner).moved = Some(clock::now());
    }
}

#[derive(Debug)]
enum State {
    Standby,
    /// Or without the log that it would need.
    Missing,
    /// Commits after `at` can be decoded; every standby has the log up to `floor`.
    There {
        at: Lsn,
        floor: Lsn,
    },
}

/// The name of the slot.
pub(super) const LEDGER: &str = "meridian_ledger";
const DROP: &str = "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
                    where slot_name = 'meridian_ledger' and not active";
const CREATE: &str = "select pg_create_logical_replication_slot('meridian_ledger', 'test_decoding')";
/// A standby that is away keeps its place in its slot. Alone, nothing can be lost to anybody.
const STATE: &str = "
  with me as (select pg_is_in_recovery() as standby)
  select me.standby, slot.confirmed_flush_lsn as at,
         coalesce(slot.wal_status = 'lost' or slot.database <> current_database(), true) as lost,
         coalesce((select min(restart_lsn) from pg_replication_slots
                    where slot_type = 'physical' and wal_status <> 'lost' and slot_name in ({others})),
                  case when not standby then pg_current_wal_flush_lsn() end) as floor
    from me left join pg_replication_slots slot on slot.slot_name = 'meridian_ledger'";
const MOVE_BYTES: u64 = 128 << 20;
const MOVE_AFTER: Duration = Duration::from_secs(15);
/// It waits for the oldest running transaction; a later try goes on waiting.
const MAKE: Duration = Duration::from_secs(60);
const MOVE: Duration = Duration::from_secs(30);
