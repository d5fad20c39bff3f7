//! What the figures of a report mean.

use crate::measure::STALL;
use crate::report::DefinitionFact;

pub(super) fn definitions() -> Vec<DefinitionFact> {
    let stall = STALL.as_secs_f64();
    let pair = |word: &str, meaning: String| DefinitionFact::of(word, meaning);
    vec![
        pair("Outage", format!(
            "A stretch of at least {stall} s between two good answers in which somebody failed or waited for at \
             least {stall} s. Counted for reads and writes of each population."
        )),
        pair("Good after (RTO)", "From the instant before the fault's first effect to the good answer that ends the \
             last outage; without an outage, to the first good answer to a request made after the fault. The \
             worst population counts. An outage that begins more than 10 s after the service was good again has \
             another cause (the lost region coming back, say): it is told as one after the recovery.".to_owned()),
        pair("Lost (RPO)", "Writes that clients were told are committed and that are not in the writer's table, \
             compared id by id. As time: from the first of them to the fault, or to the last of them if that is \
             later.".to_owned()),
        pair("Latency", "Of good answers, from the instant at which the request was due by a schedule that does not \
             wait for answers, retries included. The longest of a kind is its longest wait.".to_owned()),
        pair("Fault", "The first one; in a drill that only moves the writer on purpose, the first order to move.".to_owned()),
        pair("Before, during, after", "Before: answered before the fault. After: due after everybody was served \
             again. During: all others.".to_owned()),
        pair("Phases", "In the order of time. Reads leave a region as soon as its neighbours doubt it (DNS and edges \
             by themselves); writes wait for the decision, the fence and the promotion, in that order.".to_owned()),
        pair("Writers", "Databases that acknowledged a write to a client connected straight to them. A reign counts \
             from the sending of its first acknowledged write to its last acknowledgement. These are the drill's own \
             test writes, not the users'.".to_owned()),
        pair("Acknowledged writes", "Of users, who are told so after all retries. Before, during and after add up to \
             all of them. The rows at the writer are those acknowledged, less the lost ones, and with those whose \
             client never learned their fate.".to_owned()),
    ]
}
