//! The system as the lab runs it, and as each region reads it.

use std::path::{Path, PathBuf};

use meridian_model::service::{Backend, TlsFiles};
use meridian_model::topology::NodeAddresses;
use meridian_model::{RegionName, System};

use super::{Files, Grid, app_port, at, instances, port, postgres_port};

/// What is the same for all regions: files, programs, the populations' networks.
pub(super) fn common(system: &System, grid: Grid, files: &Files, meridian: &Path) -> System {
    let mut system = system.clone();
    for (k, people) in system.topology.users.iter_mut().enumerate() {
        let own = grid.network(k);
        if !people.networks.contains(&own) {
            people.networks.push(own);
        }
    }
    system.topology.coordination.control_secret_file = files.control_secret();
    for database in &mut system.databases {
        for member in &mut database.members {
            member.postgres.data_dir = files.postgres(&member.region, &database.name);
            member.postgres.password_file = files.password(&database.name);
            member.postgres.app_password_file = files.app_password(&database.name);
            shared_memory_ends_with_the_data(&mut member.postgres.settings);
        }
    }
    let app_password = system.databases.first().map(|d| files.app_password(&d.name));
    for service in &mut system.services {
        service.tls = Some(TlsFiles {
            certificate_file: files.certificate(&service.name),
            key_file: files.key(&service.name),
        });
        for compute in service.backends.iter_mut().filter_map(|b| b.compute.as_mut()) {
            program_beside(meridian, &mut compute.command);
            substitute(&mut compute.command, "{app_password_file}", app_password.as_deref());
        }
    }
    system
}

/// A lab kills servers and removes their data. A killed server leaves segments in `/dev/shm`, which only the next start
/// on the same data would remove; in the data directory they go with it. What is used all the time (statistics) is in
/// the main memory, which ends with the processes, so that no commit waits for the pages of a file.
const SHARED_MEMORY: [(&str, &str); 2] =
    [("dynamic_shared_memory_type", "mmap"), ("min_dynamic_shared_memory", "8MB")];

/// What the spec sets itself stays.
fn shared_memory_ends_with_the_data(settings: &mut Vec<(String, String)>) {
    for (name, value) in SHARED_MEMORY {
        if !settings.iter().any(|(set, _)| set.eq_ignore_ascii_case(name)) {
            settings.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// A program without a folder is the one beside `meridian`, if there is one.
fn program_beside(meridian: &Path, command: &mut [String]) {
    let Some(program) = command.first_mut() else { return };
    let beside: Option<PathBuf> = meridian.parent().map(|folder| folder.join(&*program));
    if let Some(file) = beside.filter(|file| !program.contains('/') && file.is_file()) {
        *program = file.display().to_string();
    }
}

fn substitute(command: &mut [String], what: &str, by: Option<&Path>) {
    let Some(by) = by.map(|path| path.display().to_string()) else { return };
    for argument in command.iter_mut() {
        *argument = argument.replace(what, &by);
    }
}

/// What the node of region `i` reads: its own addresses to bind, the others' through the WAN.
pub(super) fn seen_from(system: &System, grid: Grid, files: &Files, i: usize) -> System {
    let mut seen = system.clone();
    let names: Vec<RegionName> = system.region_names().cloned().collect();
    let place = |name: &RegionName| names.iter().position(|n| n == name);
    for (j, region) in seen.topology.regions.iter_mut().enumerate() {
        region.node = node_addresses(grid, files, i, j, &region.name);
    }
    let others = (0..names.len()).filter(|j| *j != i);
    seen.topology.coordination.endpoints = std::iter::once(i)
        .chain(others)
        .map(|j| format!("http://{}", at(grid.seen(i, j), port::ETCD_CLIENT)))
        .collect();
    for (d, database) in seen.databases.iter_mut().enumerate() {
        for member in &mut database.members {
            if let Some(j) = place(&member.region) {
                member.address = at(grid.seen(i, j), postgres_port(d));
            }
        }
    }
    for (s, service) in seen.services.iter_mut().enumerate() {
        for backend in &mut service.backends {
            if let Some(j) = place(&backend.region) {
                backend.endpoints = endpoints(backend, grid, (i, j), s);
            }
        }
    }
    seen
}

fn endpoints(backend: &Backend, grid: Grid, (i, j): (usize, usize), s: usize) -> Vec<std::net::SocketAddr> {
    match instances(backend) {
        // Somebody else runs it: its addresses are what they are.
        0 => backend.endpoints.clone(),
        n => (0..n).map(|instance| at(grid.seen(i, j), app_port(s) + instance)).collect(),
    }
}

fn node_addresses(grid: Grid, files: &Files, i: usize, j: usize, name: &RegionName) -> NodeAddresses {
    let ip = grid.seen(i, j);
    NodeAddresses {
        control: at(ip, port::CONTROL),
        dns: at(ip, port::DNS),
        edge_http: at(ip, port::EDGE_HTTP),
        edge_https: at(ip, port::EDGE_HTTPS),
        gateway_write: at(ip, port::GATEWAY_WRITE),
        gateway_read: at(ip, port::GATEWAY_READ),
        // The one name of a region that all agree on; clients map it to what they can reach.
        public: vec![grid.home(j).into()],
        data_dir: files.node(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_ends_with_the_data_unless_the_spec_says_otherwise() {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut settings = vec![pair(("work_mem", "8MB"))];
        shared_memory_ends_with_the_data(&mut settings);
        assert_eq!(settings[1..], SHARED_MEMORY.map(pair));
        let own =
            [("Dynamic_Shared_Memory_Type", "posix"), ("min_dynamic_shared_memory", "0")].map(pair).to_vec();
        let mut settings = own.clone();
        shared_memory_ends_with_the_data(&mut settings);
        assert_eq!(settings, own);
    }
}
