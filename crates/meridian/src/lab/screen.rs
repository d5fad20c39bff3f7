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
        let cut: String =
            lines.iter().map(|l| l.chars().take(width).chain(['\n']).collect::<String>()).collect();
        write(&format!("{erase}{cut}"));
        self.drawn = lines;
    }
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
