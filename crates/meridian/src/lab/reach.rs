//! How to reach what runs: commands that work, and the same as JSON.

use meridian_lab::{Addresses, Lab, LabStatus};
use serde_json::{Value, json};

/// The line before the commands to try.
pub(super) const TRY: &str = "Try:";

/// For people: commands to try.
pub(super) fn text(lab: &Lab, status: &LabStatus) -> String {
    let addresses = lab.addresses();
    let mut lines = vec![TRY.to_owned()];
    let service = lab.system().services.first();
    if let (Some(region), Some(host)) = (addresses.regions.first(), service.and_then(|s| s.hosts.first())) {
        let (dns, http, https) = (region.dns, region.edge_http, region.edge_https);
        let path = service.map_or("/health", |s| &s.health_check.path);
        lines.push(format!("  dig @{} -p {} {host}", dns.ip(), dns.port()));
        lines.push(format!("  curl -H 'host: {host}' http://{http}{path}"));
        let ca = addresses.ca_file.display();
        let port = https.port();
        lines.push(format!(
            "  curl --cacert {ca} --resolve {host}:{port}:{} https://{host}:{port}{path}",
            https.ip()
        ));
    }
    lines.extend(psql(addresses));
    if let Some(people) = addresses.populations.first()
        && let (Some(seen), Some(host)) = (people.regions.first(), service.and_then(|s| s.hosts.first()))
    {
        let note = format!("# as a user in {}, over the WAN", people.population);
        lines.push(format!("  dig @{} -p 5353 {host}   {note}", seen.address));
    }
    let lab_option = if meridian_lab::control::running().len() > 1 {
        format!(" --lab {}", lab.number())
    } else {
        String::new()
    };
    let writer = status.regions.iter().flat_map(|r| &r.groups).find_map(|g| g.writer.as_ref());
    if let Some(region) = writer.or(addresses.regions.first().map(|r| &r.region)) {
        let note = "# in another terminal: lose the writer's region";
        lines.push(format!("  meridian lab kill {region}{lab_option}   {note}"));
    }
    lines.join("\n")
}

fn psql(addresses: &Addresses) -> Option<String> {
    let (region, database) = (addresses.regions.first()?, addresses.databases.first()?);
    let gateway = region.gateway_write;
    Some(format!(
        "  PGPASSWORD=$(cat {}) psql -h {} -p {} -U {} {}",
        database.app_password_file.display(),
        gateway.ip(),
        gateway.port(),
        database.app_user,
        database.dbname
    ))
}

/// For programs: every address. Passwords are named by their files.
pub(super) fn json(lab: &Lab) -> Value {
    let addresses = lab.addresses();
    let regions = addresses.regions.iter().map(|r| {
        json!({
            "region": r.region, "public": r.public, "dns": r.dns, "edge_http": r.edge_http,
            "edge_https": r.edge_https, "gateway_write": r.gateway_write, "gateway_read": r.gateway_read,
            "control": r.control, "etcd": r.etcd, "spec_file": r.spec_file,
        })
    });
    let populations = addresses.populations.iter().map(|p| {
        let seen = p.regions.iter().map(|r| {
            json!({"region": r.region, "public": r.public, "address": r.address, "rtt_ms": r.rtt.as_secs_f64() * 1e3})
        });
        json!({
            "population": p.population, "network": p.network.to_string(), "client": p.client,
            "regions": seen.collect::<Vec<_>>(),
        })
    });
    let databases = addresses.databases.iter().map(|d| {
        let members = d.members.iter().map(|(region, address)| json!({"region": region, "address": address}));
        json!({
            "group": d.group, "dbname": d.dbname, "members": members.collect::<Vec<_>>(),
            "superuser": d.superuser, "password_file": d.password_file,
            "app_user": d.app_user, "app_password_file": d.app_password_file,
        })
    });
    json!({
        "name": lab.system().topology.name, "number": lab.number(), "dir": lab.dir(),
        "regions": regions.collect::<Vec<_>>(), "populations": populations.collect::<Vec<_>>(),
        "databases": databases.collect::<Vec<_>>(),
        "ca_file": addresses.ca_file, "control_secret_file": addresses.control_secret_file,
    })
}
