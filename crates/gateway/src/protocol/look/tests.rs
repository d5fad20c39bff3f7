//! Texts as drivers and pools send them.

use proptest::prelude::*;

use super::*;

fn marks(text: &str) -> Vec<Mark> {
    let marks = Look::at(text.as_bytes(), true).marks;
    ALL.into_iter().filter(|mark| marks.has(*mark)).collect()
}

fn set(key: &str, text: &str) -> Does {
    Does::Set { key: key.as_bytes().into(), text: text.as_bytes().into() }
}

fn does(text: &str) -> Vec<Does> {
    Look::at(text.as_bytes(), true).does
}

#[test]
fn ordinary_work_leaves_nothing() {
    for text in [
        "",
        ";",
        "select 1",
        "BEGIN",
        "insert into t (temp, hold) values ('set x = 1; listen y', 2)",
        "update t set x = 1 where name = 'temporary'",
        "select pg_advisory_xact_lock(1), pg_advisory_unlock(2)",
        "select temp from weather",
        "/* set */ select 'with hold'",
        "do $$ begin perform 1; end $$",
        "with temp as (select 1) select * from temp",
        "(select 1) union (select 2)",
        "copy t from stdin",
        "declare c cursor without hold for select 1",
    ] {
        assert!(Look::at(text.as_bytes(), true).is_plain(), "{text}: {:?}", Look::at(text.as_bytes(), true));
    }
}

#[test]
fn what_cannot_be_carried_is_marked() {
    for (text, mark) in [
        ("select pg_advisory_lock(1)", Mark::AdvisoryLock),
        ("SELECT PG_TRY_ADVISORY_LOCK_SHARED(1)", Mark::AdvisoryLock),
        ("select 1; select \"set_config\"('a', 'b', false)", Mark::SetConfig),
        ("do $$ begin perform set_config('a', 'b', false); end $$", Mark::SetConfig),
        ("do $$ begin set x = 1; end $$", Mark::Procedural),
        ("do 'begin execute ''listen x''; end'", Mark::Procedural),
        ("create temp table t (n int)", Mark::Temporary),
        ("CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1", Mark::Temporary),
        ("create /* a */ local temp table t (n int)", Mark::Temporary),
        ("select 1 into temporary t", Mark::Temporary),
        ("create function pg_temp.f() returns int language sql as 'select 1'", Mark::Temporary),
        ("declare c cursor with hold for select 1", Mark::Cursor),
        ("select lastval()", Mark::Sequence),
        ("select dblink_connect('x')", Mark::Load),
    ] {
        assert_eq!(marks(text), [mark], "{text}");
    }
}

#[test]
fn settings_are_told_apart_by_their_names() {
    for (text, key) in [
        ("SET Search_Path TO a, b", "search_path"),
        ("set session statement_timeout = 5", "statement_timeout"),
        ("set app.tenant = 'x'", "app.tenant"),
        ("set time zone 'UTC'", "time"),
        ("set names 'utf8'", "names"),
        ("set role bob", "role"),
        ("reset app.tenant", "app.tenant"),
        ("reset role", "role"),
        ("set session authorization bob", "session authorization"),
        ("reset session authorization", "session authorization"),
        (
            "set session characteristics as transaction read only",
            "set session characteristics as transaction read only",
        ),
        ("set \"Search_Path\" to a", "set \"Search_Path\" to a"),
        ("set local.x = 1", "local.x"),
    ] {
        assert_eq!(does(text), [set(key, text)], "{text}");
    }
    for text in ["set local x = 1", "SET TRANSACTION READ ONLY", "set constraints all deferred"] {
        assert_eq!(does(text), [Does::SetLocal], "{text}");
    }
    assert_eq!(does("reset all"), [Does::ResetAll]);
}

#[test]
fn each_statement_of_a_text_is_told_at_its_place() {
    let text = "-- hello\nselect 1;; set a = ';' ; select pg_advisory_unlock_all(); unlisten *; select 2";
    let clear = |mark| Does::Clear(Marks::of(mark));
    assert_eq!(
        does(text),
        [Does::Nothing, set("a", "set a = ';'"), clear(Mark::AdvisoryLock), clear(Mark::Listen)]
    );
    assert_eq!(does("rollback to savepoint s"), [Does::RollbackTo]);
    assert_eq!(does("rollback"), []);
    let gone = |name: &str| Does::Deallocate(name.as_bytes().into());
    assert_eq!(does("deallocate prepare A1"), [gone("a1")]);
    assert_eq!(does("deallocate \"A1\""), [gone("A1")]);
    assert_eq!(does("select pg_advisory_unlock_all(), pg_advisory_lock(1)"), [], "which came last?");
}

#[test]
fn of_a_long_text_only_the_beginning_is_known() {
    let long = |text: &str| Look::at(text.as_bytes(), false);
    assert!(long("insert into t values (1), (2").is_plain());
    assert_eq!(long("select * from t where n in (1, 2").marks, Marks::of(Mark::Long));
    assert_eq!(long("insert into t values (1); sel").marks, Marks::of(Mark::Long));
    assert_eq!(long("set x = '1").marks, Marks::of(Mark::Long));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..300), whole: bool) {
        let look = Look::at(&text, whole);
        prop_assert!(look.does.last() != Some(&Does::Nothing), "no needless places");
    }

    #[test]
    fn any_disorder_of_words_is_survived(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "set", "session", "local", "reset", "all", "x", ".", "=", ";", "'", "$$", "--", "\n", "/*", "*/", "\"",
            "rollback", "to", "deallocate", "prepare", "unlisten", "*", "temp", "create", "do", "E'\\",
        ]), 0..30))
    {
        let text = words.join(" ");
        let statements = text.matches(';').count() + 1;
        prop_assert!(Look::at(text.as_bytes(), true).does.len() <= statements);
    }
}
