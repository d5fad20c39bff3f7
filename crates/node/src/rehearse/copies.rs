//! Copies of the application's instances that talk to the clone; and whether anything still listens.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use meridian_actuators::{ComputeActuator as _, ComputeConfig, ProcessInstances};
use meridian_model::service::Service;
use meridian_model::topology::NodeAddresses;
use meridian_model::{RegionName, System};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How often an instance that is not well yet is asked again.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a port that may be open is looked at.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// The head of an answer as far as the status: `HTTP/1.1 200`.
const HEAD: usize = 12;

/// All that were started.
#[derive(Default)]
pub(super) struct Copies {
    running: Vec<ProcessInstances>,
    /// Where they listen, or have listened.
    pub(super) addresses: Vec<SocketAddr>,
    /// Why the last one that was asked is not well yet.
    pub(super) problem: String,
}

/// Where the clone is.
pub(super) struct Target<'a> {
    pub(super) system: &'a System,
    pub(super) here: &'a RegionName,
    /// The clone's port, for writes and reads.
    pub(super) database: SocketAddr,
    /// Its folder, in which the instances' words are kept until the end.
    pub(super) folder: &'a Path,
}

impl Copies {
    /// Starts `wanted` copies; returns when all of them call themselves well.
    ///
    /// # Errors
    /// They cannot be started. One that is never well is waited for until this is dropped.
    pub(super) async fn start(
        &mut self,
        service: &Service,
        wanted: u32,
        target: &Target<'_>,
    ) -> Result<(), String> {
        let plain = |e: meridian_actuators::ActuatorError| e.to_string();
        let node = target.system.region(target.here).map(|region| region.node.clone());
        let node = node.ok_or_else(|| format!("there is no region {}", target.here))?;
        let node = NodeAddresses { gateway_write: target.database, gateway_read: target.database, ..node };
        let mut config = ComputeConfig::at(target.system, service, target.here, &node).map_err(plain)?;
        let addresses = unused(wanted).map_err(|e| format!("looking for free ports on loopback: {e}"))?;
        config.endpoints.clone_from(&addresses);
        config.log_dir = target.folder.join("instances");
        self.addresses.extend(&addresses);
        let instances = ProcessInstances::open(config).map_err(plain)?;
        let started = instances.scale(wanted).await.map_err(plain);
        // Whatever has started is ended with the others.
        self.running.push(instances);
        started?;
        for address in addresses {
            self.until_well(address, &service.health_check.path).await;
        }
        Ok(())
    }

    async fn until_well(&mut self, address: SocketAddr, path: &str) {
        while let Err(problem) = well(address, path).await {
            self.problem = format!("{address}{path}: {problem}");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Ends all of them; the number that is left.
    pub(super) async fn end(self) -> u32 {
        let mut left = 0;
        for instances in &self.running {
            if let Err(error) = instances.scale(0).await {
                tracing::warn!(%error, "copied instances are killed");
            }
            left += instances.running();
        }
        left
    }
}

/// Those that still take connections.
pub(super) async fn still_open(ports: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut open = Vec::new();
    for port in ports {
        if matches!(tokio::time::timeout(LOOK_WITHIN, TcpStream::connect(port)).await, Ok(Ok(_))) {
            open.push(*port);
        }
    }
    open
}

/// Different ports: each is held until all are found.
fn unused(wanted: u32) -> std::io::Result<Vec<SocketAddr>> {
    let held: Vec<TcpListener> =
        (0..wanted).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

async fn well(address: SocketAddr, path: &str) -> Result<(), String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let question = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut head = [0; HEAD];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    let head = asked.await.map_err(|e| e.to_string())?;
    let head = String::from_utf8_lossy(&head).into_owned();
    if head.ends_with(" 200") { Ok(()) } else { Err(format!("it answers `{head}`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that answers the next question with this.
    async fn page(says: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; 512];
            let read = stream.read(&mut question).await.unwrap();
            assert!(question[..read].starts_with(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1"));
            stream.write_all(says.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_an_instance_that_answers_200_is_well() {
        assert_eq!(well(page("HTTP/1.1 200 OK\r\n\r\n").await, "/health").await, Ok(()));
        let draining = well(page("HTTP/1.1 503 Service Unavailable\r\n\r\n").await, "/health").await;
        assert!(draining.unwrap_err().contains("503"));
        assert!(well(page("HTTP").await, "/health").await.is_err());
    }

    #[tokio::test]
    async fn ports_that_still_take_connections_are_told() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let closed = unused(2).unwrap();
        assert_ne!(closed[0], closed[1]);
        assert_eq!(still_open(&[closed[0], address, closed[1]]).await, [address]);
    }
}
