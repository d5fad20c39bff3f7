//! What the tag of a completed command says about the session.

use super::super::look::Mark;

/// What the tag of a completed statement tells by itself.
pub(super) enum Told {
    Nothing,
    Leaves(Mark),
    Clears(Mark),
}

pub(super) fn told_by(tag: &[u8]) -> Told {
    match tag {
        b"LISTEN" => Told::Leaves(Mark::Listen),
        b"PREPARE" => Told::Leaves(Mark::Prepare),
        b"LOAD" => Told::Leaves(Mark::Load),
        // Their texts say what they did; if we did not see it, we have misread something.
        b"SET" | b"RESET" | b"DEALLOCATE" => Told::Leaves(Mark::Unread),
        b"DISCARD TEMP" => Told::Clears(Mark::Temporary),
        b"DISCARD SEQUENCES" => Told::Clears(Mark::Sequence),
        b"CLOSE CURSOR ALL" => Told::Clears(Mark::Cursor),
        _ => Told::Nothing,
    }
}
