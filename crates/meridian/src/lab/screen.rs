//! What a running lab shows: a table drawn in place on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};

use meridian_lab::{LabEvent, LabStatus};

use super::table;

/// The place where the lab shows itself: standard error, so that standard output is the answer alone.
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the table that stand on the terminal now.
    drawn: Vec<String>,
    /// The last thing that plain lines said of health.
    said: Option<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), drawn: Vec::new(), said: None }
    }

    /// Something happened: a line that stays.
    pub(super) fn event(&mut self, event: &LabEvent) {
        let place = event.region.as_ref().map(|r| format!("{r}: ")).unwrap_or_default();
        self.line(&format!("{} {place}{}", table::time(event.wall), event.what));
    }

    /// A line that stays, above the table.
    pub(super) fn line(&mut self, text: &str) {
        let table = std::mem::take(&mut self.drawn);
        let erase = erase(table.len());
        write(&format!("{erase}{text}\n"));
        self.draw(table, false);
    }

    /// The last picture is true no more: it goes.
    pub(super) fn end(&mut self) {
        let table = std::mem::take(&mut self.drawn);
        write(&erase(table.len()));
    }

    /// The state now.
    pub(super) fn status(&mut self, status: &LabStatus) {
        if self.terminal {
            return self.draw(table::lines(status), true);
        }
        let now = match status.missing.as_slice() {
            [] => "all healthy".to_owned(),
            [one] => format!("waiting: {one}"),
            [first, more @ ..] => format!("waiting: {first} (and {} more)", more.len()),
        };
        if self.said.as_ref() != Some(&now) {
            self.line(&format!("{} {now}", table::time(status.at)));
            self.said = Some(now);
        }
    }

    fn draw(&mut self, lines: Vec<String>, over: bool) {
        if !self.terminal {
            return;
        }
        let erase = if over { erase(self.drawn.len()) } else { String::new() };
        let width = rustix::termios::tcgetwinsize(std::io::stderr())
            .map_or(80, |size| usize::from(size.ws_col.max(20)));
        // As many lines as the terminal shows: so many are erased later.
        self.drawn = lines.iter().flat_map(|line| wrapped(line, width)).collect();
        let text: String = self.drawn.iter().map(|line| format!("{line}\n")).collect();
        write(&format!("{erase}{text}"));
    }
}

/// The line in pieces that fit, broken between words; the pieces after the first are indented.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "    ";
    let mut pieces = Vec::new();
    let mut rest = line.to_owned();
    while rest.chars().count() > width {
        let at = |count: usize| rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at);
        // A space just after the edge is a place to break, too; none within the indent is.
        let space =
            rest.get(..at(width + 1)).and_then(|head| head.rfind(' ')).filter(|at| *at > INDENT.len());
        let (head, tail) = rest.split_at(space.unwrap_or(at(width)));
        pieces.push(head.trim_end().to_owned());
        rest = format!("{INDENT}{}", tail.trim_start());
    }
    pieces.push(rest);
    pieces
}

/// Goes up so many lines and clears what is below.
fn erase(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}F\x1b[J") }
}

fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    // A terminal that is gone is told by SIGHUP.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cut_at_any_width() {
        let hint = "the next failover of orders is held back for 200 s more (until 22:18:20 UTC): the last one was 100 s \
                    ago, within flapWindow 5m";
        let row = "ap-southeast-1  etcd killed, node frozen  unknown  orders (no writer)  not streaming  12  1234 ms  1/1";
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for line in [hint, row, "", "é é é é é é é é é é é é é é"] {
            for width in 20..130 {
                let pieces = wrapped(line, width);
                assert!(pieces.iter().all(|piece| piece.chars().count() <= width), "{width}: {pieces:?}");
                assert_eq!(words(&pieces.join(" ")), words(line), "{width}");
            }
        }
        assert_eq!(wrapped(row, 120), [row], "what fits stays as it is");
        assert_eq!(wrapped("0123456789012345678901234", 20), ["01234567890123456789", "    01234"]);
    }
}
