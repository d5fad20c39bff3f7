//! What the shop does: the statements, and the rule for each.
//!
//! A write is one statement, committed by itself, and sent once: who asks again with the same id gets the
//! same order. A read is tried a second time on a fresh connection, because it changes nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::fault::Fault;
use crate::pool::Pool;

/// The shop in one region.
pub(crate) struct Shop {
    pub(crate) region: String,
    pub(crate) writes: Pool,
    pub(crate) reads: Pool,
    pub(crate) statement_within: Duration,
}

/// A new order, as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewOrder {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) item: String,
    pub(crate) quantity: i32,
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl Shop {
    /// Adds an order; says which server committed it.
    pub(crate) async fn add_order(&self, order: &NewOrder) -> Result<Value, Fault> {
        let parameters: [Parameter<'_>; 5] = [
            (&order.id, Type::TEXT),
            (&order.user, Type::TEXT),
            (&order.item, Type::TEXT),
            (&order.quantity, Type::INT4),
            (&self.region, Type::TEXT),
        ];
        let row = self.write(ADD_ORDER, &parameters).await?;
        let new: bool = get(&row, "new")?;
        Ok(self.acknowledged(&row, json!({ "id": order.id, "new": new })))
    }

    /// Adds a user; the id is made here.
    pub(crate) async fn add_user(&self, name: &str, country: &str) -> Result<Value, Fault> {
        let row = self.write(ADD_USER, &[(&name, Type::TEXT), (&country, Type::TEXT)]).await?;
        let id: String = get(&row, "id")?;
        Ok(self.acknowledged(&row, json!({ "id": id, "name": name, "country": country })))
    }

    /// One order.
    pub(crate) async fn order(&self, id: &str) -> Result<Value, Fault> {
        self.one(&format!("{ORDERS} where id = $1"), id).await
    }

    /// The newest orders.
    pub(crate) async fn orders(&self, limit: i64) -> Result<Value, Fault> {
        let sql = format!("{ORDERS} order by created_at desc limit $1");
        let rows = self.read(&sql, &[(&limit, Type::INT8)]).await?;
        let orders: Result<Vec<_>, _> = rows.iter().map(body).collect();
        Ok(json!({ "region": self.region, "orders": orders? }))
    }

    /// One user.
    pub(crate) async fn user(&self, id: &str) -> Result<Value, Fault> {
        self.one(USER, id).await
    }

    /// Makes the tables at the writer, however long that takes.
    pub(crate) async fn make_tables(self: Arc<Self>) {
        while let Err(Fault::Unavailable(why) | Fault::Unknown(why)) = self.try_tables().await {
            self.writes.note(Err(why));
            sleep(AGAIN).await;
        }
    }

    /// Keeps the health page's word on reads fresh, also without traffic.
    pub(crate) async fn watch_reads(self: Arc<Self>) {
        loop {
            let _noted_by_the_pool = self.read("select 1", &[]).await;
            sleep(AGAIN).await;
        }
    }

    async fn one(&self, sql: &str, id: &str) -> Result<Value, Fault> {
        let rows = self.read(sql, &[(&id, Type::TEXT)]).await?;
        let mut found = body(rows.first().ok_or(Fault::Missing)?)?;
        if let Some(fields) = found.as_object_mut() {
            fields.insert("region".to_owned(), json!(self.region));
        }
        Ok(found)
    }

    async fn write(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Fault> {
        let lease = self.writes.lease().await?;
        let sent = timeout(self.statement_within, lease.client().query_typed(sql, parameters)).await;
        let rows = match sent {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return Err(self.noted(&self.writes, Fault::of_statement(&error))),
            Err(_) => {
                let why = format!("no answer to the write within {:?}", self.statement_within);
                return Err(self.noted(&self.writes, Fault::Unknown(why)));
            }
        };
        self.writes.give_back(lease);
        rows.into_iter().next().ok_or_else(|| Fault::Unknown("the write answered nothing".to_owned()))
    }

    async fn read(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        match self.read_once(sql, parameters).await {
            Err(Fault::Unknown(_)) => self.read_once(sql, parameters).await,
            other => other,
        }
        // A read that may have happened has not harmed: it is just not there.
        .map_err(|fault| match fault {
            Fault::Unknown(why) => Fault::Unavailable(why),
            other => other,
        })
    }

    async fn read_once(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Fault> {
        let lease = self.reads.lease().await?;
        let rows = match timeout(self.statement_within, lease.client().query_typed(sql, parameters)).await {
            Ok(rows) => rows.map_err(|e| self.noted(&self.reads, Fault::of_statement(&e)))?,
            Err(_) => {
                let why = format!("no answer to the read within {:?}", self.statement_within);
                return Err(self.noted(&self.reads, Fault::Unavailable(why)));
            }
        };
        self.reads.give_back(lease);
        Ok(rows)
    }

    async fn try_tables(&self) -> Result<(), Fault> {
        let lease = self.writes.lease().await?;
        let made = timeout(TABLES_WITHIN, lease.client().batch_execute(TABLES)).await;
        made.map_err(|_| Fault::Unknown("the tables took too long".to_owned()))?
            .map_err(|e| Fault::Unknown(crate::fault::words(&e)))?;
        self.writes.give_back(lease);
        Ok(())
    }

    /// The answer to a write: who took it, so that a drill can tell which server acknowledged what.
    fn acknowledged(&self, row: &Row, mut answer: Value) -> Value {
        let text = |name: &str| row.try_get::<_, Option<String>>(name).ok().flatten();
        let number = |name: &str| row.try_get::<_, Option<i32>>(name).ok().flatten();
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("region".to_owned(), json!(self.region));
            fields.insert("server".to_owned(), json!(text("server")));
            fields.insert("port".to_owned(), json!(number("port")));
            fields.insert("timeline".to_owned(), json!(number("timeline")));
            fields.insert("acknowledged".to_owned(), json!(true));
        }
        answer
    }

    fn noted(&self, pool: &Pool, fault: Fault) -> Fault {
        if let Fault::Unavailable(why) | Fault::Unknown(why) = &fault {
            pool.note(Err(why.clone()));
        }
        fault
    }
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, Fault> {
    row.try_get(name).map_err(|e| Fault::Unknown(crate::fault::words(&e)))
}

/// The JSON that a read's only column holds.
fn body(row: &Row) -> Result<Value, Fault> {
    let text: String = get(row, "body")?;
    serde_json::from_str(&text).map_err(|e| Fault::Unavailable(e.to_string()))
}

const AGAIN: Duration = Duration::from_millis(500);
const TABLES_WITHIN: Duration = Duration::from_secs(15);

/// Several instances begin at once: the lock lets one of them make the tables.
const TABLES: &str = "
  begin;
  select pg_advisory_xact_lock(5107);
  create table if not exists users (id text primary key, name text not null, country text not null,
                                    created_at timestamptz not null default now());
  create table if not exists orders (id text primary key, user_id text not null, item text not null,
                                     quantity int not null, region text not null,
                                     created_at timestamptz not null default now());
  create index if not exists orders_by_time on orders (created_at);
  commit";

/// The timeline is taken from the log's file name: the control file would show it only after a checkpoint.
const ADD_ORDER: &str = "
  with added as (insert into orders (id, user_id, item, quantity, region) values ($1, $2, $3, $4, $5)
                 on conflict (id) do nothing returning 1)
  select exists (select from added) as new, host(inet_server_addr()) as server, inet_server_port() as port,
         ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline";

const ADD_USER: &str = "
  insert into users (id, name, country) values (gen_random_uuid()::text, $1, $2)
  returning id, host(inet_server_addr()) as server, inet_server_port() as port,
            ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline";

const ORDERS: &str = "
  select json_build_object('id', id, 'user', user_id, 'item', item, 'quantity', quantity, 'taken_in', region,
                           'created_at', created_at)::text as body from orders";

const USER: &str = "
  select json_build_object('id', id, 'name', name, 'country', country, 'created_at', created_at)::text as body
    from users where id = $1";
