//! A look is worth as much as it is newer than what the member has become.

use super::*;

impl World {
    /// So long after its region's look (or before it) the member has said what it is.
    pub(super) fn says(&mut self, region: &str, role: DatabaseRole, streaming: bool, after_ms: i64) {
        let report = MemberReport {
            region: name(region),
            sequence: 1,
            epoch: Epoch(1),
            sealed: None,
            database: DatabaseStatus { streaming, ..DatabaseStatus::stopped(role) },
            reported_at: Timestamp(self.region(region).at.0 + after_ms),
        };
        self.members.get_mut(&name("orders")).unwrap().push(report);
    }

    /// The look was in vain, 20 s ago, at what its node took for that.
    pub(super) fn unseen(&mut self, region: &str, role: Option<DatabaseRole>) {
        let facts = self.region(region);
        facts.at = Timestamp(NOW.0 - 20_000);
        facts.members[0].role = role;
        facts.members[0].facts = Err("it does not run".to_owned());
    }
}

/// Right after `lab up` and after a switchover `doctor` failed by looks from before.
#[test]
fn a_look_from_before_a_member_became_what_it_is_is_unknown_and_no_failure() {
    for before in
        [None, Some(DatabaseRole::Starting), Some(DatabaseRole::Stopped), Some(DatabaseRole::Primary)]
    {
        let up = |w: &mut World| {
            w.unseen(STANDBY, before);
            w.says(STANDBY, DatabaseRole::Standby, true, 19_500);
        };
        warning("member-unknown", STANDBY, up);
        let mut world = World::sound();
        up(&mut world);
        let told = world.findings()[0].to_string();
        assert!(
            told.contains("looked at 20 s ago, when it ") && told.contains("now it is a standby"),
            "{told}"
        );
        assert!(told.contains("the next look is within 3 s"), "{told}");
    }
}

#[test]
fn a_look_in_vain_at_what_a_member_still_is_is_a_failure() {
    use DatabaseRole::{Standby, Starting, Stopped};
    // What it said before the look excuses nothing, nor that it starts.
    for (was, is, after_ms) in [
        (Some(Standby), Standby, 500),
        (Some(Stopped), Standby, -500),
        (Some(Stopped), Stopped, 500),
        (None, Stopped, 500),
        (Some(Stopped), Starting, 500),
    ] {
        error("member-unseen", STANDBY, |w| {
            w.unseen(STANDBY, was);
            w.says(STANDBY, is, false, after_ms);
        });
    }
}

/// The old writer is not expected to receive, nor the new one to keep slots, by looks from before.
#[test]
fn after_a_move_only_what_does_not_come_with_the_role_is_judged_by_older_looks() {
    let mut moved = found(|w| {
        w.writers.insert(name("orders"), name(STANDBY));
        w.member(STANDBY).streaming = false;
        w.says(STANDBY, DatabaseRole::Primary, false, 500);
        w.says(WRITER, DatabaseRole::Standby, false, 500);
        w.member(WRITER).version = 150_017;
    });
    moved.sort();
    let expected = [("member-unknown", STANDBY), ("member-unknown", WRITER), ("version", WRITER)];
    assert_eq!(moved, expected.map(|(code, region)| (Severity::Warning, code, region.to_owned())));
}

#[test]
fn a_standby_that_has_begun_to_receive_since_the_look_receives() {
    let receives = |after_ms| {
        found(|w| {
            w.member(OTHER).streaming = false;
            w.says(OTHER, DatabaseRole::Standby, true, after_ms);
        })
    };
    assert_eq!(receives(500), []);
    let expected = [(Severity::Error, "not-streaming", OTHER.to_owned())];
    assert_eq!(receives(-500), expected);
}
