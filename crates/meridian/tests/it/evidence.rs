//! What a recovery leaves behind: its report, and the transactions that it cost, asked of the region that lost
//! them.
#![expect(clippy::panic, reason = "the helpers of tests stop the test that uses them")]

use serde_json::Value;

use super::system::{Up, alone, until};
use super::tool::{meridian, printed};

/// `meridian run COMMAND… --output json`, with its exit code.
fn run(up: &Up, arguments: &[&str], code: i32) -> Value {
    let number = up.number();
    let all = [&["run"], arguments, &["--lab", &number, "--output", "json"]].concat();
    let text = printed(&meridian(&all), code);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
}

#[test]
fn what_an_isolated_writer_acknowledged_is_told_by_its_region_when_it_is_back() {
    let _alone = alone();
    let up = Up::begin();
    let writer = up.region(0, "gateway_write");
    up.sql(
        writer,
        "create table person (id int primary key, name text); insert into person values (1, 'ann')",
    );
    let (replica, count) =
        (up.region(1, "gateway_read"), "select count(*) from pg_tables where tablename = 'person'");
    until("the table is at the replica", || (up.sql(replica, count) == "1").then_some(()));

    // Nobody else gets this row, and within its lease the writer acknowledges it.
    up.lab(&["isolate", "us-east-1"]);
    up.sql(writer, "insert into person values (2, 'eve of destruction')");
    let failover = until("another region has taken over", || {
        let list = run(&up, &["list"], 0);
        let newest = list.as_array()?.first()?.clone();
        (newest["kind"] == "failover").then_some(newest)
    });
    let id = failover["id"].as_str().unwrap();
    let rules = failover["evidence"]["rules"].as_array().unwrap();
    assert!(rules.iter().any(|r| r["rule"] == "HolderDown" && r["allows"] == true), "{failover}");
    let unknown = run(&up, &["lost", id], 1);
    assert_eq!((&unknown["transactions"], &unknown["region"]), (&Value::Null, &"us-east-1".into()));

    up.lab(&["heal"]);
    let number = up.number();
    until("the old writer is back, and what it had lost is known", || {
        let shown = run(&up, &["show", id], 0);
        shown["losses"].as_array().is_some_and(|losses| !losses.is_empty()).then_some(())
    });
    let keys = run(&up, &["lost", id], 0);
    assert!(keys["transactions"].as_u64().unwrap() >= 1 && keys["complete"] == true, "{keys}");
    let text = keys.to_string();
    assert!(text.contains("public.person") && !text.contains("eve of destruction"), "{text}");
    let values = run(&up, &["lost", id, "--values"], 0).to_string();
    assert!(values.contains("eve of destruction"), "{values}");

    let file = up.folder.path().join("run.html");
    printed(&meridian(&["run", "report", id, "--lab", &number, "--to", file.to_str().unwrap()]), 0);
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains("<svg") && page.contains("HolderDown") && page.contains("public.person"));
    assert!(!page.contains("eve of destruction"), "a report holds no user's data");
    let facts = run(&up, &["report", id], 0);
    let (writes, lease) = (facts["writes"]["seconds"].as_f64().unwrap(), 4.0);
    assert!(writes > lease, "nobody writes before the lease is over: {writes}");
}
