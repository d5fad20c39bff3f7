//! Whose acknowledgements count, in which order the record and PostgreSQL change, and what happens while the RPO is
//! not kept: a writer whose standbys come and go.

use meridian_failover::{Command, Completed, Config, DatabaseAction, Event, Rule};
use meridian_model::database::{OnRpoBreach, Replication};
use meridian_model::group::{DatabaseRole, DatabaseStatus, GroupRecord, Quorum, StandbyStatus};
use meridian_model::order::{Order, OrderState};
use meridian_model::{Lsn, RegionName};

use super::desk::{Desk, record, status};
use super::names::{config, region};

/// The writer, and what it did to the record, to PostgreSQL and to the gateways, in order.
pub(crate) struct Writer {
    pub(crate) desk: Desk,
    running: Option<u64>,
    told: Option<Quorum>,
    log: Vec<String>,
}

fn words(quorum: &Quorum) -> String {
    let names: Vec<&str> = quorum.candidates.iter().map(RegionName::as_str).collect();
    format!("{} of {}", quorum.acknowledgers, names.join(" "))
}

fn primary(standbys: &[(usize, u64)], lsn: u64) -> DatabaseStatus {
    let standby =
        |(i, at): &(usize, u64)| StandbyStatus { region: region(*i), flushed: Lsn(*at), synchronous: true };
    DatabaseStatus { standbys: standbys.iter().map(standby).collect(), ..status(DatabaseRole::Primary, lsn) }
}

impl Writer {
    fn new(config: Config) -> Self {
        let mut desk = Desk::of(config, DatabaseRole::Absent, None);
        desk.record(None).win();
        desk.makes().done(status(DatabaseRole::Primary, 50));
        Self::at(desk)
    }

    /// A writer as it stands.
    pub(crate) fn at(desk: Desk) -> Self {
        let told = desk.machine.record().and_then(|record| record.quorum.clone());
        Self { desk, running: None, told, log: Vec::new() }
    }

    fn quorum_of_one(on_rpo_breach: OnRpoBreach) -> Self {
        Self::new(Config { on_rpo_breach, ..config(0, 3, Replication::Quorum { acknowledgers: 1 }) })
    }

    fn asynchronous(on_rpo_breach: OnRpoBreach) -> Self {
        Self::new(Config { on_rpo_breach, ..config(0, 3, Replication::Async) })
    }

    fn note(&mut self) {
        for command in &self.desk.out {
            let text = match command {
                Command::Database { id, action: DatabaseAction::SetQuorum(quorum) } => {
                    self.running = Some(*id);
                    format!("set {}", words(quorum))
                }
                Command::Database { id, action: DatabaseAction::SetReadOnly(on) } => {
                    self.running = Some(*id);
                    format!("read-only {on}")
                }
                Command::Hold { reason, .. } => reason.clone(),
                Command::Unhold { .. } => "unhold".to_owned(),
                Command::EndOrder(Order { state: OrderState::Refused { reason, .. }, .. }) => reason.clone(),
                Command::Swap(swap) if swap.record.quorum != self.told => {
                    self.told = swap.record.quorum.clone();
                    // A member that knows no quorum goes by the terms, and must not think that more is promised.
                    let terms = swap.record.terms.as_ref().unwrap().acknowledgers;
                    assert!(terms <= self.told.as_ref().map(|told| told.acknowledgers), "{:?}", swap.record);
                    format!("record {}", words(self.told.as_ref().unwrap()))
                }
                _ => continue,
            };
            self.log.push(text);
        }
        if self.desk.swap().is_some() {
            self.desk.win();
            self.note();
        }
    }

    /// Half a second with these standbys, and the log as long as that.
    fn beat(&mut self, standbys: &[(usize, u64)], lsn: u64) {
        self.desk.say(Event::Database(primary(standbys, lsn)));
        self.note();
        self.desk.wait(500);
        self.note();
    }

    pub(crate) fn beats(&mut self, times: usize, standbys: &[(usize, u64)], lsn: u64) {
        (0..times).for_each(|_| self.beat(standbys, lsn));
    }

    /// The action under way ends.
    pub(crate) fn done(&mut self, lsn: u64) {
        let id = self.running.take().expect("an action");
        let completed = Completed { status: primary(&[], lsn), detail: String::new() };
        self.desk.say(Event::Finished { id, result: Ok(completed) });
        self.note();
    }

    /// What was done since the last question.
    pub(crate) fn did(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

#[test]
fn who_leaves_is_missed_by_postgresql_first_and_who_joins_is_in_the_record_first() {
    let mut writer = Writer::quorum_of_one(OnRpoBreach::Warn);
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    writer.beats(59, &[(1, 60)], 60);
    assert_eq!(writer.did(), Vec::<String>::new(), "29.5 s are not 30");
    writer.beats(3, &[(1, 60)], 60);
    assert_eq!(writer.did(), ["set 1 of beta"]);
    writer.done(100);
    writer.beats(3, &[(1, 99)], 120);
    assert_eq!(writer.did(), Vec::<String>::new(), "what gamma alone acknowledged may be missing there");
    writer.beats(2, &[(1, 100)], 120);
    assert_eq!(writer.did(), ["record 1 of beta"]);

    writer.beats(4, &[(1, 120), (2, 10)], 120);
    assert_eq!(writer.did(), Vec::<String>::new(), "it has not caught up");
    writer.beats(3, &[(1, 120), (2, 120)], 130);
    assert_eq!(writer.did(), ["record 1 of beta gamma", "set 1 of beta gamma"]);
    writer.done(130);
    writer.beats(5, &[(1, 130), (2, 130)], 130);
    assert_eq!(writer.did(), Vec::<String>::new());
}

#[test]
fn where_nobody_is_left_nobody_leaves() {
    let mut writer = Writer::quorum_of_one(OnRpoBreach::Block);
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    writer.beats(80, &[], 60);
    assert_eq!(writer.did(), Vec::<String>::new());
    let doing = writer.desk.machine.explain(writer.desk.now).doing;
    assert!(doing.contains("0 standbys have streamed within 30.0 s, 1 must acknowledge"), "{doing}");
    assert!(doing.contains("commits wait"), "{doing}");
    writer.beats(2, &[(2, 60)], 60);
    assert_eq!(writer.desk.machine.rpo_breach(), None);
    assert_eq!(writer.did(), ["set 1 of gamma"], "beta is gone, and gamma is enough");
}

#[test]
fn a_setting_that_failed_is_set_again_and_proves_nothing_before() {
    let mut writer = Writer::quorum_of_one(OnRpoBreach::Warn);
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    writer.beats(63, &[(1, 60)], 60);
    assert_eq!(writer.did(), ["set 1 of beta"]);
    let id = writer.running.take().unwrap();
    writer.desk.say(Event::Finished { id, result: Err("it did not end in time".to_owned()) });
    writer.note();
    writer.beats(2, &[(1, 200)], 60);
    assert_eq!(writer.did(), ["set 1 of beta"], "again, and the record stays");
    writer.done(210);
    writer.beats(2, &[(1, 210)], 210);
    assert_eq!(writer.did(), ["record 1 of beta"]);
}

/// The number of the spec changed while the holder was away: it begins with the record's.
#[test]
fn another_number_in_the_spec_takes_the_same_way() {
    let quorum = |acknowledgers, others: &[usize]| Quorum {
        acknowledgers,
        candidates: others.iter().map(|i| region(*i)).collect(),
    };
    for (before, after, way) in [
        (1, 2, ["record 2 of alpha gamma"].as_slice()),
        (2, 1, ["record 1 of alpha gamma", "set 1 of alpha gamma"].as_slice()),
    ] {
        let memory = meridian_failover::Memory {
            epoch: meridian_model::Epoch(2),
            holder: Some(region(1)),
            ..meridian_failover::Memory::default()
        };
        let config = config(1, 3, Replication::Quorum { acknowledgers: after });
        let mut desk = Desk::of(config, DatabaseRole::Stopped, Some(memory));
        desk.record(Some(GroupRecord { quorum: Some(quorum(before, &[0, 2])), ..record(1, 2, 5) }));
        desk.wait(1_100);
        assert_eq!(
            desk.swap().unwrap().record.quorum,
            Some(quorum(before, &[0, 2])),
            "nothing is proven yet"
        );
        desk.win();
        let (_, action) = desk.action().unwrap();
        assert!(matches!(action, DatabaseAction::Seal), "{action:?}");
        desk.done(status(DatabaseRole::Standby, 50));
        let (_, action) = desk.action().unwrap();
        let DatabaseAction::Promote { quorum: Some(first), .. } = action else { panic!("{action:?}") };
        assert_eq!(first, quorum(before.max(after), &[0, 2]));
        desk.done(status(DatabaseRole::Primary, 60));
        let mut writer = Writer { desk, running: None, told: Some(quorum(before, &[0, 2])), log: Vec::new() };
        writer.note();
        writer.beats(4, &[(0, 60), (2, 60)], 60);
        assert_eq!(writer.did(), way, "{before} to {after}");
    }
}

#[test]
fn degraded_to_no_acknowledger_and_back() {
    let mut writer = Writer::quorum_of_one(OnRpoBreach::Degrade);
    writer.beats(2, &[(1, 60), (2, 60)], 60);
    writer.beats(63, &[], 60);
    assert_eq!(writer.did(), ["record 0 of beta gamma", "set 0 of beta gamma"], "the record says so first");
    writer.done(70);
    writer.beats(2, &[(1, 40)], 80);
    assert_eq!(writer.did(), Vec::<String>::new(), "it has not caught up");
    writer.beats(2, &[(1, 80)], 90);
    assert_eq!(writer.did(), ["set 1 of beta"]);
    writer.done(100);
    writer.beats(2, &[(1, 99)], 110);
    assert_eq!(writer.did(), Vec::<String>::new());
    writer.beats(2, &[(1, 110)], 110);
    assert_eq!(writer.did(), ["record 1 of beta"]);
}

#[test]
fn a_record_without_acknowledgers_gives_nobody_a_proof() {
    let proof = |acknowledgers, candidates: &[usize]| {
        let candidates = candidates.iter().map(|i| region(*i)).collect();
        let quorum = Some(Quorum { acknowledgers, candidates });
        let last = GroupRecord { quorum, ..record(0, 1, 2_048) };
        let mut desk = Desk::following();
        desk.record(Some(last.clone()));
        let mut desk = desk.sealing_after(last);
        desk.done(status(DatabaseRole::Standby, 120));
        desk.explain(Rule::ProofOfData)
    };
    let degraded = proof(0, &[1, 2]);
    assert!(!degraded.allows && degraded.evidence.contains("--accept-data-loss"), "{}", degraded.evidence);
    let both = proof(1, &[1, 2]);
    assert!(!both.allows && both.evidence.contains("(beta, gamma)"), "{}", both.evidence);
    assert!(proof(1, &[1]).allows, "gamma does not count");
    assert!(!proof(1, &[2]).allows, "only gamma counts");
}

/// The log grows by ten in each half second, and the best standby is so many of them behind.
pub(crate) fn lags(writer: &mut Writer, from: u64, times: u64, behind: impl Fn(u64) -> u64) -> Vec<String> {
    for beat in from..from + times {
        let written = 1_000 + 10 * beat;
        writer.beat(&[(1, written - 10 * behind(beat)), (2, 100)], written);
    }
    let mut did = writer.did();
    did.dedup();
    did
}

#[test]
fn writes_are_held_while_the_lag_is_over_the_rpo() {
    let mut writer = Writer::asynchronous(OnRpoBreach::Block);
    assert_eq!(lags(&mut writer, 0, 10, |_| 0), Vec::<String>::new());
    assert_eq!(lags(&mut writer, 10, 10, |beat| beat - 9), Vec::<String>::new(), "5 s are not over 5 s");
    let held = "writes are held: the best standby is 5.5 s behind, at most 5.0 s may be lost";
    assert_eq!(lags(&mut writer, 20, 4, |beat| beat - 9), [held]);
    assert_eq!(lags(&mut writer, 24, 20, |_| 6), [held], "3 s are not well within it; it is asked for anew");
    assert_eq!(lags(&mut writer, 44, 4, |_| 4), ["unhold"]);
    assert_eq!(lags(&mut writer, 48, 4, |_| 9), Vec::<String>::new());
}

#[test]
fn an_idle_writer_without_standbys_is_not_late() {
    let mut writer = Writer::asynchronous(OnRpoBreach::Block);
    writer.beats(4, &[(1, 60)], 60);
    writer.beats(80, &[], 60);
    assert_eq!(writer.did(), Vec::<String>::new());
    writer.beats(12, &[], 61);
    assert!(writer.did()[0].contains("writes are held"), "the next write was acknowledged by nobody else");
}

#[test]
fn a_degraded_asynchronous_database_is_read_only() {
    let mut writer = Writer::asynchronous(OnRpoBreach::Degrade);
    lags(&mut writer, 0, 10, |_| 0);
    assert_eq!(lags(&mut writer, 10, 14, |beat| beat - 9), ["read-only true"]);
    writer.done(1_300);
    assert_eq!(lags(&mut writer, 24, 4, |_| 0), ["read-only false"]);
    writer.done(1_300);
    let mut writer = Writer::asynchronous(OnRpoBreach::Warn);
    lags(&mut writer, 0, 10, |_| 0);
    assert_eq!(lags(&mut writer, 10, 14, |beat| beat - 9), Vec::<String>::new(), "it is only told");
    assert!(writer.desk.machine.rpo_breach().is_some());
}

/// PostgreSQL took the setting, and the answer did not come: nobody took it back when the breach had ended.
#[test]
fn a_database_that_may_be_read_only_is_told_otherwise() {
    for well in [true, false] {
        let mut writer = Writer::asynchronous(OnRpoBreach::Degrade);
        lags(&mut writer, 0, 10, |_| 0);
        assert_eq!(lags(&mut writer, 10, 12, |beat| beat - 9), ["read-only true"]);
        let id = writer.running.take().unwrap();
        writer.desk.say(Event::Finished { id, result: Err("it did not answer".to_owned()) });
        writer.note();
        if well {
            assert_eq!(lags(&mut writer, 22, 4, |_| 0), ["read-only false"]);
        } else {
            assert_eq!(lags(&mut writer, 22, 4, |beat| beat - 9), ["read-only true"], "it is tried again");
        }
        writer.done(1_300);
        assert_eq!(lags(&mut writer, 26, 4, |beat| if well { 0 } else { beat - 9 }), Vec::<String>::new());
    }
}

/// A setting that ended when the database was being started anew.
#[test]
fn a_database_that_starts_again_in_a_breach_is_made_read_only_again() {
    let mut writer = Writer::asynchronous(OnRpoBreach::Degrade);
    lags(&mut writer, 0, 10, |_| 0);
    assert_eq!(lags(&mut writer, 10, 12, |beat| beat - 9), ["read-only true"]);
    writer.desk.say(Event::Database(status(DatabaseRole::Stopped, 0)));
    writer.done(1_220);
    let (id, action) = writer.desk.asked.clone().unwrap();
    assert!(matches!(action, DatabaseAction::StartPrimary { .. }), "{action:?}");
    let completed = Completed { status: primary(&[], 1_220), detail: String::new() };
    writer.desk.say(Event::Finished { id, result: Ok(completed) });
    writer.note();
    assert_eq!(writer.did(), ["read-only true"]);
}
