//! The answers that the edge gives itself: short text that says what happened and what to do, fit for
//! strangers. Addresses and reasons of the inside go to the log only.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;

/// A request that was not passed on, or got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) what: String,
    /// In seconds: trying again then makes sense.
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), retry_after: None }
    }

    /// One that will pass.
    pub(crate) fn passing(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), retry_after: Some(RETRY_AFTER_SECONDS) }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut text = format!("{}\n", self.what);
        text.insert_str(0, &format!("{} ", self.status.as_u16()));
        let mut response = Response::new(Body::whole(Bytes::from(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Health changes within seconds; sooner is of no use.
const RETRY_AFTER_SECONDS: u32 = 2;
