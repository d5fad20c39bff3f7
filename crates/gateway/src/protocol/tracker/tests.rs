//! Conversations as clients have them, and what of them is carried over.

use proptest::prelude::*;

use super::*;

/// Plays a conversation, one message after each `|`: `Q text` and the like are the client's, `<…` the
/// server's.
fn after(script: &str) -> Tracker {
    let mut tracker = Tracker::default();
    script.split('|').for_each(|line| say(&mut tracker, line));
    tracker
}

fn say(tracker: &mut Tracker, line: &str) {
    let zero = |text: &str| format!("{text}\0").into_bytes();
    let (tag, rest) = line.split_at(1);
    let rest = rest.trim_start();
    if tag == "<" {
        return match rest.split_at(1) {
            ("Z", status) => tracker.server_said(b'Z', status.trim().as_bytes()),
            ("S", parameter) => {
                let (name, value) = parameter.trim().split_once('=').unwrap();
                tracker.server_said(b'S', &[zero(name), zero(value)].concat());
            }
            (tag, text) => tracker.server_said(tag.as_bytes()[0], &zero(text.trim())),
        };
    }
    let body = match tag {
        "Q" => zero(rest),
        // Parse: name:text; Bind: portal:statement.
        "P" | "B" => {
            let (name, text) = rest.split_once(':').unwrap();
            [zero(name), zero(text), vec![0, 0]].concat()
        }
        "E" => [zero(rest), vec![0; 4]].concat(),
        "C" => zero(&format!("S{rest}")),
        _ => Vec::new(),
    };
    tracker.client_said(tag.as_bytes()[0], &body, true);
}

/// The queries and the names of statements that would be sent to a new server.
fn replayed(tracker: &Tracker) -> Vec<String> {
    let mut said = Vec::new();
    let replay = tracker.replay();
    let note = |tag: u8, body: &[u8]| {
        said.push(format!("{} {}", char::from(tag), String::from_utf8_lossy(until_zero(body))));
    };
    crate::protocol::Frames::default().scan(&replay.bytes, note).unwrap();
    said
}

#[track_caller]
fn carries(script: &str, expected: &[&str]) {
    let tracker = after(script);
    assert_eq!(tracker.hindrance(), None, "{script}");
    assert_eq!(replayed(&tracker), expected, "{script}");
}

#[track_caller]
fn hindered(script: &str, mark: Mark) {
    assert_eq!(after(script).hindrance(), Some(mark), "{script}");
}

#[test]
fn settings_are_kept_the_last_for_each_in_order() {
    carries(
        "<Z I|Q set a = 1; set b = 2|<C SET|<C SET|<Z I|Q set a = 3|<C SET|<Z I",
        &["Q set b = 2", "Q set a = 3"],
    );
    carries("Q set a = 1|<C SET|<Z I|Q reset a|<C RESET|<Z I", &["Q reset a"]);
    carries("Q set role r|<C SET|<Z I|Q set a = 1|<C SET|<Z I|Q reset all|<C RESET|<Z I", &["Q set role r"]);
    carries("P :set a = 1|B :|E |S|<1|<2|<C SET|<Z I", &["Q set a = 1"]);
    carries("P s:set a = 1|S|<1|<Z I|B :s|E |S|<2|<C SET|<Z I", &["Q set a = 1", "P s", "S "]);
}

#[test]
fn what_failed_or_was_rolled_back_is_not_kept() {
    carries("Q set nonsense|<E|<Z I", &[]);
    carries("Q set a = 1; select 1/0|<C SET|<E|<Z I", &[]);
    carries("Q begin|<C BEGIN|<Z T|Q set a = 1|<C SET|<Z T|Q rollback|<C ROLLBACK|<Z I", &[]);
    carries("Q begin|<C BEGIN|<Z T|Q set a = 1|<C SET|<Z T|Q commit|<C COMMIT|<Z I", &["Q set a = 1"]);
    carries("Q begin|<C BEGIN|<Z T|Q set local a = 1|<C SET|<Z T|Q commit|<C COMMIT|<Z I", &[]);
    // A commit that fails is a rollback, whatever its tag.
    carries("Q begin|<C BEGIN|<Z T|Q set a = 1|<C SET|<Z T|Q commit|<E|<Z I", &[]);
    // Committed before the error came.
    carries("Q begin; set a = 1; commit; select 1/0|<C BEGIN|<C SET|<C COMMIT|<E|<Z I", &["Q set a = 1"]);
}

#[test]
fn after_a_savepoint_it_is_unknown_what_of_it_is_left() {
    hindered(
        "Q begin|<C BEGIN|<Z T|Q set a = 1|<C SET|<Z T|Q rollback to s|<C ROLLBACK|<Z T|Q commit|<C COMMIT|<Z I",
        Mark::Savepoint,
    );
    carries(
        "Q begin|<C BEGIN|<Z T|Q rollback to s|<C ROLLBACK|<Z T|Q set a = 1|<C SET|<Z T|Q commit|<C COMMIT|<Z I",
        &["Q set a = 1"],
    );
}

#[test]
fn named_statements_are_kept_while_they_live() {
    let prepared = "P one:select 1|D|P two:select 2|S|<1|<t|<1|<Z I";
    let then = |more: &str| format!("{prepared}|{more}");
    carries(prepared, &["P one", "P two", "S "]);
    carries(&then("C one|S|<3|<Z I"), &["P two", "S "]);
    carries(&then("Q deallocate one|<C DEALLOCATE|<Z I"), &["P two", "S "]);
    carries(&then("Q deallocate all|<C DEALLOCATE ALL|<Z I"), &[]);
    carries(&then("Q discard all|<C DISCARD ALL|<Z I"), &[]);
    carries("P bad:selec|P good:select 1|S|<E|<Z I|P :select 1|S|<1|<Z I", &[]);
    // They outlive the transaction in which they were made.
    carries("Q begin|<C BEGIN|<Z T|P s:select 1|S|<1|<Z T|Q rollback|<C ROLLBACK|<Z I", &["P s", "S "]);
    let kept = after(prepared).replay();
    assert_eq!(kept.readies, 1);
    assert!(kept.bytes.starts_with(b"P\0\0\0\x13one\0select 1\0\0\0"), "as it came");
}

#[test]
fn marks_come_by_tag_and_by_text_and_go_with_discard() {
    for (text, tag, mark) in [
        ("listen x", "LISTEN", Mark::Listen),
        ("prepare s as select 1", "PREPARE", Mark::Prepare),
        ("load 'x'", "LOAD", Mark::Load),
        ("select pg_advisory_lock(1)", "SELECT 1", Mark::AdvisoryLock),
        ("declare c cursor with hold for select 1", "DECLARE CURSOR", Mark::Cursor),
        ("create temp table t (n int)", "CREATE TABLE", Mark::Temporary),
    ] {
        hindered(&format!("Q {text}|<C {tag}|<Z I"), mark);
        hindered(&format!("P s:{text}|B :s|E |S|<1|<2|<C {tag}|<Z I"), mark);
        let discarded = after(&format!("Q {text}|<C {tag}|<Z I|Q discard all|<C DISCARD ALL|<Z I"));
        assert_eq!(discarded.hindrance(), (mark == Mark::Load).then_some(mark), "{text}");
    }
    // As the pools of asyncpg and Npgsql clean up.
    let used = "Q select pg_advisory_lock(1)|<C SELECT 1|<Z I|Q listen x|<C LISTEN|<Z I";
    let cleaned = "Q select pg_advisory_unlock_all(); close all; unlisten *; reset all";
    let answers = "<C SELECT 1|<C CLOSE CURSOR ALL|<C UNLISTEN|<C RESET|<Z I";
    carries(&format!("{used}|{cleaned}|{answers}"), &[]);
    // A statement that failed may have taken its lock; one that was only prepared has not.
    hindered("Q select pg_advisory_lock(1), 1/0|<E|<Z I", Mark::AdvisoryLock);
    carries("P s:select pg_advisory_lock(1)|S|<1|<Z I", &["P s", "S "]);
    hindered("P :set a = 1|B c:|E c|S|<1|<2|<C SET|<Z I", Mark::Unread);
    hindered("<S standard_conforming_strings=off|Q discard all|<C DISCARD ALL|<Z I", Mark::Unread);
    hindered("Q call something()|<C SET|<Z I", Mark::Unread);
}

#[test]
fn copy_errors_and_pipelines_stay_in_step() {
    for before in [
        "Q copy t from stdin|<G|d|d|c|<C COPY 2|<Z I",
        "P :copy t from stdin|B :|E |S|<1|<2|<G|d|c|S|<C COPY 1|<Z I",
        "P :select 1|B :|E |P :select 2|B :|E |S|<1|<2|<C SELECT 1|<1|<2|<C SELECT 1|<Z I",
        "P :select 1/0|B :|E |P s:select 2|S|Q select 1|<1|<2|<E|<Z I|<C SELECT 1|<Z I",
        "P :select 1|B :|E |E |S|<1|<2|<s|<C SELECT 1|<Z I",
        "Q |<I|<Z I|P :|B :|E |S|<1|<2|<I|<Z I|F|<V|<Z I",
        "S|S|<Z I|<Z I",
    ] {
        carries(&format!("{before}|Q set a = 1|<C SET|<Z I"), &["Q set a = 1"]);
    }
    // Answers that nobody asked for.
    hindered("<C SELECT 1", Mark::Unread);
    hindered("P :select 1|S|<Z I", Mark::Unread);
}

#[test]
fn parameters_that_differ_are_news() {
    let tracker = after("<S TimeZone=UTC|<S is_superuser=off|<S TimeZone=Europe/Paris");
    assert!(!tracker.is_news(b"TimeZone\0Europe/Paris\0") && !tracker.is_news(b"is_superuser\0off\0"));
    assert!(tracker.is_news(b"TimeZone\0UTC\0") && tracker.is_news(b"new\0x\0"));
}

#[test]
fn beyond_the_bounds_it_gives_up_and_owns_nothing() {
    let mut tracker = Tracker::default();
    let long = "x".repeat(10_000);
    for n in 0..40 {
        say(&mut tracker, &format!("P s{n}:select '{long}'"));
        say(&mut tracker, "S");
        say(&mut tracker, "<1");
        say(&mut tracker, "<Z I");
        assert!(tracker.weight() <= KEPT_MAX);
    }
    assert_eq!(tracker.hindrance(), Some(Mark::TooMuch));
    assert_eq!((tracker.weight(), tracker.told.capacity(), tracker.asked.capacity()), (0, 0, 0));
    // What is closed again does not count.
    let mut tracker = Tracker::default();
    for _ in 0..100 {
        for line in [&*format!("P s:select '{long}'"), "S", "<1", "<Z I", "C s", "S", "<3", "<Z I"] {
            say(&mut tracker, line);
        }
    }
    assert_eq!((tracker.hindrance(), tracker.weight()), (None, 0));
    // Neither is a flood of questions without an end.
    let mut tracker = Tracker::default();
    (0..=ASKED_MAX).for_each(|_| say(&mut tracker, "P :select 1"));
    assert_eq!(tracker.hindrance(), Some(Mark::TooMuch));
    let mut tracker = Tracker::default();
    (0..100).for_each(|_| say(&mut tracker, &format!("P s:select '{long}'")));
    assert_eq!(tracker.hindrance(), Some(Mark::TooMuch), "unanswered ones count");
    let mut tracker = Tracker::default();
    tracker.client_said(b'P', b"named\0select 1", false);
    assert_eq!(tracker.hindrance(), Some(Mark::TooMuch), "it cannot be told again");
}

#[test]
fn an_idle_session_owns_no_memory_for_what_is_done() {
    let tracker = after("P :select 1|B :|E |S|<1|<2|<C SELECT 1|<Z I|Q select 1|<C SELECT 1|<Z I");
    assert_eq!((tracker.asked.capacity(), tracker.open.capacity(), tracker.weight()), (0, 0, 0));
}

fn piece() -> impl Strategy<Value = (bool, u8, Vec<u8>, bool)> {
    let tags = proptest::sample::select(b"QPBECSFXcfdZ123CsIEVSTDnG".to_vec());
    let texts = proptest::sample::select(vec![
        "set a = 1\0",
        "s\0set a = 1\0\0\0",
        "\0s\0",
        "\0\0\0\0\0",
        "Ss\0",
        "SET\0",
        "I",
        "T",
        "E",
        "COMMIT\0",
        "ROLLBACK\0",
        "DISCARD ALL\0",
        "a\0b\0",
        "begin; set b = 1; rollback to x\0",
        "deallocate s\0",
        "DEALLOCATE\0",
    ]);
    let bodies =
        prop_oneof![texts.prop_map(|t| t.as_bytes().to_vec()), proptest::collection::vec(any::<u8>(), 0..40)];
    (any::<bool>(), prop_oneof![4 => tags, 1 => any::<u8>()], bodies, any::<bool>())
}

proptest! {
    #[test]
    fn any_talk_is_survived(talk in proptest::collection::vec(piece(), 0..200)) {
        let mut tracker = Tracker::default();
        for (client, tag, body, whole) in talk {
            if client { tracker.client_said(tag, &body, whole) } else { tracker.server_said(tag, &body) }
            prop_assert!(tracker.kept >= tracker.weight());
        }
        let replay = tracker.replay();
        let mut frames = crate::protocol::Frames::default();
        prop_assert!(frames.scan(&replay.bytes, |_, _| ()).is_ok());
        prop_assert_eq!(frames.cleared(), replay.bytes.len());
    }
}
