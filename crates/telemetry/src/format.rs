//! The two forms of a log line, both with the region: text for people, JSON lines for machines.

use std::fmt;

use meridian_model::RegionName;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

/// Text: the region first, then tracing's own full form.
pub(crate) struct Text {
    region: String,
    inner: format::Format<format::Full>,
}

impl Text {
    pub(crate) fn new(region: Option<&RegionName>) -> Self {
        let region = region.map(|r| format!("{r} ")).unwrap_or_default();
        Self { region, inner: format::Format::default() }
    }
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, c: &FmtContext<'_, S, N>, mut w: Writer<'_>, e: &Event<'_>) -> fmt::Result {
        w.write_str(&self.region)?;
        self.inner.format_event(c, w, e)
    }
}

/// JSON: one object a line; `deployment.region` first, then tracing's own form with the event's
/// fields at the top level.
pub(crate) struct Json {
    head: String,
    inner: format::Format<format::Json>,
}

impl Json {
    pub(crate) fn new(region: Option<&RegionName>) -> Self {
        // A region's name needs no escaping: it is an RFC 1123 label.
        let head = region.map(|r| format!(r#""deployment.region":"{r}","#)).unwrap_or_default();
        Self { head, inner: format::Format::default().json().flatten_event(true).with_current_span(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, c: &FmtContext<'_, S, N>, mut w: Writer<'_>, e: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(c, Writer::new(&mut line), e)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(w, "{{{}{rest}", self.head),
            None => w.write_str(&line),
        }
    }
}
