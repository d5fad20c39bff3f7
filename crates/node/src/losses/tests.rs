//! Losses are remembered, bounded, for the owner alone, and find their run.

use std::os::unix::fs::PermissionsExt as _;

use meridian_actuators::lost::LostReport;
use meridian_actuators::{RejoinMethod, Rejoined};
use meridian_model::RegionName;
use meridian_model::run::RunKind;

use super::*;
use crate::testing::name;

pub(crate) fn rejoined(lost: Lost) -> Rejoined {
    Rejoined {
        method: RejoinMethod::Rewound,
        kept_wal: Some("/kept/orders-1".into()),
        kept_data: None,
        lost,
        detail: "rewound to 0/60 on timeline 1".to_owned(),
    }
}

pub(crate) fn told(transactions: u64, complete: bool, file: &str) -> Lost {
    let by_table = BTreeMap::from([("public.orders".to_owned(), transactions)]);
    let detail = if complete { "decoded from the slot" } else { "listed without keys and values: no luck" };
    Lost::Told(LostReport { transactions, by_table, file: file.into(), complete, detail: detail.to_owned() })
}

fn loss(epoch: u64, lost: Lost) -> Loss {
    Loss::of(Epoch(epoch), "rewound", &rejoined(lost), Timestamp(7))
}

fn run(epoch: u64, from: &str, to: &str) -> Run {
    let from: Option<RegionName> = Some(name(from)).filter(|f| f.as_str() != "nobody");
    Run {
        from,
        ..Run::begin(
            name(&format!("orders-{epoch}")),
            name("orders"),
            RunKind::Failover,
            Epoch(epoch),
            name(to),
            Timestamp(0),
        )
    }
}

#[test]
fn a_loss_says_what_is_known_and_where_the_log_is() {
    let sentence = |lost| loss(2, lost).sentence();
    assert_eq!(sentence(Lost::Nothing), "no transaction is lost");
    assert_eq!(sentence(told(3, true, "/l")), "lost transactions: 3; its log is kept in /kept/orders-1");
    let listed = sentence(told(3, false, "/l"));
    assert!(listed.contains("no luck") && listed.contains("/kept/orders-1"), "{listed}");
    for unknown in [told(0, false, "/l"), Lost::Unknown("no luck".to_owned())] {
        let told = loss(2, unknown);
        assert_eq!(told.transactions, None);
        let sentence = told.sentence();
        assert!(sentence.contains("not known") && sentence.contains("no luck"), "{sentence}");
        assert!(sentence.contains("/kept/orders-1"), "{sentence}");
    }
}

#[test]
fn a_loss_belongs_to_the_run_that_took_the_writer_away() {
    let runs = [
        run(1, "nobody", "us"),
        run(2, "us", "eu"),
        run(3, "eu", "us"),
        run(4, "us", "us"),
        run(6, "us", "eu"),
    ];
    let of = |run: usize, losses: &[Loss]| {
        losses_of(&runs[run], &runs, losses).iter().map(|l| l.epoch.0).collect::<Vec<_>>()
    };
    let known = [loss(2, told(3, true, "/l")), loss(7, told(1, true, "/l"))];
    assert_eq!(of(1, &known), [2]);
    assert_eq!(of(4, &known), [7], "it came back late, under a later reign");
    assert_eq!(of(1, &known[1..]), [0_u64; 0], "what came back after the later run is the later run's");
    assert_eq!(of(4, &known[..1]), [0_u64; 0], "it has not come back yet");
    assert_eq!(of(0, &known), [0_u64; 0], "nobody wrote before");
    assert_eq!(of(3, &known), [0_u64; 0], "the same writer again has lost nothing");
}

#[tokio::test]
async fn losses_survive_a_restart_for_the_owner_alone_and_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::open(folder.path()).unwrap();
    let losses = Losses::open(memory.clone(), [name("orders")]);
    losses.keep(&name("orders"), loss(2, told(3, true, "/l"))).await;
    losses.keep(&name("orders"), loss(2, Lost::Nothing)).await;
    let mode = std::fs::metadata(folder.path().join("lost-orders.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Losses::open(memory.clone(), [name("orders")]);
    assert_eq!(again.of(&name("orders")), [loss(2, told(3, true, "/l"))], "nothing new was found later");
    for epoch in 3..200 {
        again.keep(&name("orders"), loss(epoch, Lost::Nothing)).await;
    }
    let kept = Losses::open(memory, [name("orders")]).of(&name("orders"));
    assert_eq!((kept.len(), kept.last().map(|l| l.epoch)), (LOSSES_MAX, Some(Epoch(199))));
    assert!(again.of(&name("users")).is_empty());
}
