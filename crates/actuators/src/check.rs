//! What a plan asks of the running system, asked as the application or a person would ask it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures_util::Stream;
use http::Method;
use meridian_model::plan::Check;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::error::ActuatorError;
use crate::postgres::reason;
use crate::web::{Address, Message, Web, secret};

/// The ports of one database's gateway in a region, and as whom one goes through them.
#[derive(Debug, Clone)]
pub struct Access {
    /// Leads to the writer.
    pub write: SocketAddr,
    /// Leads to a database that may serve reads.
    pub read: SocketAddr,
    /// The application's user.
    pub user: String,
    /// The name of the database in PostgreSQL.
    pub dbname: String,
    /// The file with the user's password.
    pub password_file: PathBuf,
}

impl Access {
    /// Does `work` over a session of its own, through the write port or the read port.
    ///
    /// # Errors
    /// The password cannot be read, or PostgreSQL or the gateway says no.
    pub async fn through<T>(
        &self,
        write: bool,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, ActuatorError> {
        let (what, address) = if write {
            ("a write through the gateway", self.write)
        } else {
            ("a read through the gateway", self.read)
        };
        let password = secret(self.password_file.clone()).await?;
        let mut config = Config::new();
        config.host(address.ip().to_string()).port(address.port());
        config.user(&self.user).dbname(&self.dbname).password(password);
        config.application_name("meridian-verify").connect_timeout(CONNECT_WITHIN);
        let failed = |e: tokio_postgres::Error| ActuatorError::Sql {
            what,
            address: address.to_string(),
            reason: reason(&e),
        };
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        // It is driven as long as this is awaited.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        work(&client).await.map_err(failed)
    }
}

/// Asks; says what was seen when it holds, else what was seen instead.
pub(crate) async fn ask(web: &Web, access: &Access, check: &Check) -> Result<String, ActuatorError> {
    match check {
        Check::Sql { statement, write, expect } => sql(access, statement, *write, expect.as_deref()).await,
        Check::Http { url, status, contains } => page(web, url, *status, contains.as_deref()).await,
        Check::Promql { url, query } => promql(web, url, query).await,
    }
}

async fn sql(
    access: &Access,
    statement: &str,
    write: bool,
    expect: Option<&str>,
) -> Result<String, ActuatorError> {
    let found = access.through(write, async |client: &Client| first_value(client, statement).await).await?;
    let seen = match &found {
        None => "no row".to_owned(),
        Some(None) => "NULL".to_owned(),
        Some(Some(text)) => format!("`{}`", short(text)),
    };
    let value = found.flatten();
    match expect {
        Some(wanted) if value.as_deref() != Some(wanted) => {
            let check = format!("`{}` is `{}`", short(statement), short(wanted));
            Err(ActuatorError::Unmet { check, seen: format!("it is {seen}") })
        }
        Some(_) => Ok(format!("`{}` is {seen}", short(statement))),
        None => Ok(format!("`{}` succeeds", short(statement))),
    }
}

/// The first column of the first row, when there is a row. The others are read, for a statement may fail
/// late, and not kept.
async fn first_value(
    client: &Client,
    statement: &str,
) -> Result<Option<Option<String>>, tokio_postgres::Error> {
    let mut answers = pin!(client.simple_query_raw(statement).await?);
    let mut found = None;
    while let Some(answer) = poll_fn(|context| answers.as_mut().poll_next(context)).await {
        if let SimpleQueryMessage::Row(row) = answer? {
            found.get_or_insert_with(|| row.try_get(0).ok().flatten().map(str::to_owned));
        }
    }
    Ok(found)
}

async fn page(web: &Web, url: &str, status: u16, contains: Option<&str>) -> Result<String, ActuatorError> {
    let address = Address::open(url)?;
    let answer = web.send(&address, Message::get()).await?;
    let place = address.label();
    let unmet = |check: String, seen: String| Err(ActuatorError::Unmet { check, seen });
    if answer.status.as_u16() != status {
        return unmet(format!("{place} answers {status}"), format!("it answered {}", answer.status));
    }
    match contains {
        Some(text) if !String::from_utf8_lossy(&answer.body).contains(text) => {
            let read = answer.body.len();
            unmet(format!("{place} contains `{}`", short(text)), format!("it is not in its {read} bytes"))
        }
        Some(text) => Ok(format!("{place} answers {status} and contains `{}`", short(text))),
        None => Ok(format!("{place} answers {status}")),
    }
}

async fn promql(web: &Web, url: &str, query: &str) -> Result<String, ActuatorError> {
    let address = Address::open(url)?;
    let form = format!("query={}", encoded(query));
    let body = Some(("application/x-www-form-urlencoded", form.into_bytes()));
    let message = Message { method: Method::POST, below: "/api/v1/query", body, key: None };
    let answer = web.send(&address, message).await?;
    if !answer.whole {
        return Err(address.failed("the query has too large a result; let it sum up"));
    }
    let seen: Prometheus = serde_json::from_slice(&answer.body)
        .map_err(|_| address.failed(format!("it answered {}, and not as Prometheus does", answer.status)))?;
    let values = values(seen).map_err(|problem| address.failed(short(&problem)))?;
    let unmet = |seen: String| Err(ActuatorError::Unmet { check: format!("`{}`", short(query)), seen });
    match values.iter().find(|value| **value == 0.0 || value.is_nan()) {
        Some(value) => unmet(format!("a value of its result is {value}")),
        None if values.is_empty() => unmet("its result is empty".to_owned()),
        None => Ok(format!("`{}` holds ({} values)", short(query), values.len())),
    }
}

/// An answer of Prometheus's HTTP API.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
enum Prometheus {
    Success { data: Data },
    Error { error: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "resultType", content = "result")]
enum Data {
    Vector(Vec<Series>),
    Scalar((f64, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    /// None: it is a histogram.
    value: Option<(f64, String)>,
}

fn values(answer: Prometheus) -> Result<Vec<f64>, String> {
    let samples: Vec<(f64, String)> = match answer {
        Prometheus::Error { error } => return Err(format!("it refused the query: {error}")),
        Prometheus::Success { data: Data::Vector(series) } => {
            let samples: Option<_> = series.into_iter().map(|s| s.value).collect();
            samples.ok_or("the result holds histograms, which are neither zero nor not")?
        }
        Prometheus::Success { data: Data::Scalar(sample) } => vec![sample],
        Prometheus::Success { data: Data::Matrix(_) } => {
            return Err("the query gives a range; ask for one instant".to_owned());
        }
        Prometheus::Success { data: Data::String(_) } => return Err("the query gives a text".to_owned()),
    };
    // Prometheus writes infinity as `+Inf`, which Rust reads too.
    let number = |(_, text): &(f64, String)| text.parse().map_err(|_| format!("`{text}` is no number"));
    samples.iter().map(number).collect()
}

/// As a form's value: everything but letters, digits and four marks as `%` and two digits.
fn encoded(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What a person still reads, in one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_MAX) {
        None => line,
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

/// Of a statement or a value, in characters.
const SHOWN_MAX: usize = 120;
/// A gateway in the same region answers at once, or is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Result<Vec<f64>, String> {
        values(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn answers_of_prometheus() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"job":"a"},"value":[1.5,"1"]},{"metric":{},"value":[1.5,"+Inf"]}]}}"#;
        assert_eq!(told(vector), Ok(vec![1.0, f64::INFINITY]));
        let none = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["w"]}"#;
        assert_eq!(told(none), Ok(Vec::new()));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"0.5"]}}"#;
        assert_eq!(told(scalar), Ok(vec![0.5]));
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert!(told(refused).unwrap_err().contains("parse error"));
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[]}]}}"#;
        assert!(told(matrix).unwrap_err().contains("range"));
        let histogram = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"histogram":[1.5,{"count":"1"}]}]}}"#;
        assert!(told(histogram).unwrap_err().contains("histogram"));
    }

    #[test]
    fn a_query_is_encoded_byte_by_byte() {
        assert_eq!(encoded("a{b=\"ü\"} > 0"), "a%7Bb%3D%22%C3%BC%22%7D%20%3E%200");
    }
}
