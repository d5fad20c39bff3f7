//! What runs on this machine already, told before more is started beside it.

use meridian_lab::control::{self, Holder};
use meridian_model::System;

/// Before `lab up`: what runs, how it is addressed and ended.
pub(super) fn notices(system: &System, wanted: Option<u8>) -> Vec<String> {
    let others = beside(control::running(), wanted).into_iter();
    others.map(|holder| notice(&holder, control::is_of(&holder, system), &ending(&holder))).collect()
}

/// Those that the new lab starts beside: none when its number is taken, for then it does not start.
fn beside(running: Vec<Holder>, wanted: Option<u8>) -> Vec<Holder> {
    let taken = running.iter().any(|holder| Some(holder.number) == wanted);
    if taken { Vec::new() } else { running }
}

fn notice(holder: &Holder, same: bool, ending: &str) -> String {
    let Holder { number, dir, name, .. } = holder;
    let what = if same { ", a lab of this very spec," } else { "" };
    format!(
        "note: lab {number} ({name}){what} runs already in {}; this one starts beside it.\n  \
         Commands then need to be told which: `--lab {number}` is the running one. End it: {ending}",
        dir.display()
    )
}

/// Before a drill: whatever else runs takes its share of the machine.
pub(crate) fn warnings() -> Vec<String> {
    control::running().into_iter().map(|holder| warning(&holder, &ending(&holder))).collect()
}

fn warning(holder: &Holder, ending: &str) -> String {
    let Holder { number, name, .. } = holder;
    format!(
        "warning: lab {number} ({name}) runs on this machine and will disturb the figures of this drill; \
         to end it first: {ending}"
    )
}

/// The command that ends that lab.
fn ending(holder: &Holder) -> String {
    match control::is_served(holder) {
        true => format!("meridian lab down --lab {}", holder.number),
        // A drill, or a lab that has hardly begun: either ends in order on SIGTERM.
        false => only_if_yours(holder.pid, holder.since()),
    }
}

/// All programs of this user see each other's labs, so a person may not know it.
fn only_if_yours(pid: u32, since: Option<std::time::SystemTime>) -> String {
    let since = since.and_then(|at| jiff::Timestamp::try_from(at).ok());
    let since = since.map(|at| format!(" since {at:.0}")).unwrap_or_default();
    let user = crate::system::user();
    format!("kill {pid} (only if it is yours: process {pid} runs it{since}, as the same user, {user})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_whose_number_is_taken_starts_beside_nobody() {
        let holder = |number| Holder { number, dir: "/x".into(), name: "shop".to_owned(), pid: 77 };
        let beside = |wanted| beside(vec![holder(10), holder(150)], wanted).len();
        assert_eq!((beside(Some(150)), beside(Some(11)), beside(None)), (0, 2, 2));
    }

    #[test]
    fn what_runs_is_named_with_its_folder_and_how_to_end_it() {
        let holder = Holder { number: 10, dir: "/x/shop-10".into(), name: "shop".to_owned(), pid: 77 };
        assert!(ending(&holder).starts_with("kill 77 (only if it is yours"), "nobody listens there");
        let since = std::time::UNIX_EPOCH + std::time::Duration::from_millis(5_500);
        let told = only_if_yours(77, Some(since));
        assert!(told.contains("process 77 runs it since 1970-01-01T00:00:05Z, as the same user"), "{told}");
        let told = notice(&holder, true, "meridian lab down --lab 10");
        assert!(
            told.starts_with("note: lab 10 (shop), a lab of this very spec, runs already in /x/shop-10;"),
            "{told}"
        );
        assert!(told.contains("`--lab 10`") && told.ends_with("meridian lab down --lab 10"), "{told}");
        assert!(notice(&holder, false, "").starts_with("note: lab 10 (shop) runs already"));
        let told = warning(&holder, "kill 77");
        assert!(told.contains("disturb the figures") && told.ends_with("kill 77"), "{told}");
    }
}
