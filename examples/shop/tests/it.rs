//! The shop as a process against a real PostgreSQL, past any gateway.

#[cfg(test)]
mod it {
    use std::future::Future;
    use std::net::{SocketAddr, TcpListener};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Child, Command};
    use std::time::Duration;

    use meridian_actuators::{DatabaseActuator as _, Postgres, PostgresConfig, StopMode};
    use meridian_model::database::{PostgresMember, Replication};
    use meridian_model::{Epoch, Name};
    use meridian_telemetry::clock;
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    struct Rig {
        shop: Child,
        address: SocketAddr,
        database: Postgres,
        postgres: SocketAddr,
        _folder: TempDir,
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = self.shop.kill();
            let _ = self.shop.wait();
        }
    }

    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    impl Rig {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::write(folder.path().join("password"), "secret\n").unwrap();
            let (postgres, address) = (free_address(), free_address());
            let database = Postgres::open(config(&folder, postgres)).unwrap();
            let password = folder.path().join("password");
            let shop = Command::new(env!("CARGO_BIN_EXE_shop"))
                .args(["--listen", &address.to_string(), "--region", "eu-central-1", "--dbname", "shop"])
                .args(["--gateway-write", &postgres.to_string(), "--gateway-read", &postgres.to_string()])
                .args(["--password-file", &password.to_string_lossy(), "--connect-ms", "300"])
                .spawn()
                .unwrap();
            let rig = Self { shop, address, database, postgres, _folder: folder };
            until("it listens", || async { TcpStream::connect(address).await.is_ok() }).await;
            rig
        }

        async fn start_database(&self) {
            self.database.initialise().await.unwrap();
            self.database.fence_at(Some(clock::now() + Duration::from_secs(300)));
            self.database.start_primary(Epoch(1)).await.unwrap();
        }

        async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String, Value) {
            let body = body.map(|b| b.to_string()).unwrap_or_default();
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), head.to_owned(), serde_json::from_str(body).unwrap())
        }

        async fn get(&self, path: &str) -> (u16, Value) {
            let (status, _, value) = self.ask("GET", path, None).await;
            (status, value)
        }

        async fn post(&self, path: &str, body: Value) -> (u16, Value) {
            let (status, _, value) = self.ask("POST", path, Some(body)).await;
            (status, value)
        }
    }

    fn config(folder: &TempDir, address: SocketAddr) -> PostgresConfig {
        let password = folder.path().join("password");
        PostgresConfig {
            group: Name::new("orders").unwrap(),
            region: Name::new("eu-central-1").unwrap(),
            address,
            postgres: PostgresMember {
                bin_dir: None,
                data_dir: folder.path().join("data"),
                run_as: "postgres".to_owned(),
                superuser: "meridian".to_owned(),
                password_file: password.clone(),
                app_user: "app".to_owned(),
                app_password_file: password,
                settings: vec![("fsync".to_owned(), "off".to_owned())],
            },
            dbname: "shop".to_owned(),
            replication: Replication::Async,
            others: Vec::new(),
            work_dir: folder.path().join("work"),
            kept_wal_dir: folder.path().join("kept"),
            guard: Vec::new(),
        }
    }

    async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
        let end = clock::now() + Duration::from_secs(60);
        while !condition().await {
            assert!(clock::now() < end, "not within a minute: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn order(id: &str) -> Value {
        json!({ "id": id, "user": "load", "item": "tea", "quantity": 2 })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn orders_are_kept_once_and_say_who_acknowledged_them() {
        let rig = Rig::new().await;
        // Without a database it serves its health page and refuses the rest, clearly.
        let (status, body) = rig.get("/health").await;
        assert_eq!((status, &body["status"]), (200, &json!("ok")));
        let (status, head, body) = rig.ask("POST", "/orders", Some(order("a-1"))).await;
        assert_eq!((status, &body["outcome"]), (503, &json!("nothing was done")), "{body}");
        assert!(head.contains("retry-after: 1") && head.contains("meridian-region: eu-central-1"), "{head}");

        rig.start_database().await;
        until("the tables are there", || async { rig.post("/orders", order("a-1")).await.0 == 201 }).await;
        let (status, body) = rig.post("/orders", order("a-1")).await;
        assert_eq!((status, &body["new"], &body["acknowledged"]), (201, &json!(false), &json!(true)));
        assert_eq!(body["server"], json!(rig.postgres.ip().to_string()));
        assert_eq!((&body["port"], &body["timeline"]), (&json!(rig.postgres.port()), &json!(1)));
        let (status, body) = rig.get("/orders/a-1").await;
        assert_eq!((status, &body["item"], &body["quantity"]), (200, &json!("tea"), &json!(2)));
        rig.post("/orders", order("a-2")).await;
        let (_, body) = rig.get("/orders?limit=1").await;
        assert_eq!(body["orders"].as_array().unwrap().len(), 1);
        assert_eq!(body["orders"][0]["id"], json!("a-2"));

        let (status, user) = rig.post("/users", json!({ "name": "Zoë", "country": "FR" })).await;
        assert_eq!(status, 201);
        let (status, body) = rig.get(&format!("/users/{}", user["id"].as_str().unwrap())).await;
        assert_eq!((status, &body["name"]), (200, &json!("Zoë")));

        // A restart of the database breaks the connections; reads and writes get over it.
        rig.database.stop(StopMode::Immediate).await.unwrap();
        until("reads are refused", || async { rig.get("/orders").await.0 == 503 }).await;
        assert_eq!(rig.get("/health").await.0, 200);
        rig.start_database().await;
        until("reads go on", || async { rig.get("/orders/a-1").await.0 == 200 }).await;
        until("writes go on", || async { rig.post("/orders", order("a-3")).await.0 == 201 }).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn wrong_requests_are_told_what_is_wrong_and_sigterm_ends_it_in_good_order() {
        let mut rig = Rig::new().await;
        let wrong = [
            ("POST", "/orders", Some(json!({ "id": "", "user": 1, "item": "tea" })), 400, "`id` must have"),
            ("POST", "/orders", Some(json!({ "id": "x", "user": [], "item": "tea" })), 400, "`user` must be"),
            ("POST", "/orders", Some(json!({ "id": "x" })), 400, "missing field"),
            ("GET", "/orders?limit=0", None, 400, "`limit` must be 1 to 1000"),
            ("GET", "/nothing", None, 404, "no such thing"),
            ("DELETE", "/orders", None, 404, "no such thing"),
        ];
        for (method, path, body, expected, words) in wrong {
            let (status, _, body) = rig.ask(method, path, body).await;
            assert_eq!(status, expected, "{method} {path}");
            assert!(body["error"].as_str().unwrap().contains(words), "{body}");
        }
        let idle = TcpStream::connect(rig.address).await.unwrap();
        let pid = rig.shop.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let end = clock::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = rig.shop.try_wait().unwrap() {
                break status;
            }
            assert!(clock::now() < end, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(status.success(), "{status}");
        drop(idle);
    }
}
