//! Hosts and their backends, as one view has them: looked up for every request, made once a view.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meridian_model::RegionName;
use meridian_model::service::Service;
use meridian_steering::{BackendChoice, Rank, Via, View};
use meridian_telemetry::Metrics;
use meridian_telemetry::events::EdgeMeter;

use crate::budget::Budget;

/// All hosts of a view.
pub(crate) struct Routes {
    pub(crate) here: RegionName,
    hosts: HashMap<String, Arc<Route>>,
}

/// The way of one service's requests.
pub(crate) struct Route {
    pub(crate) service: Service,
    pub(crate) backends: Vec<Backend>,
    /// Kept from view to view.
    pub(crate) budget: Arc<Budget>,
    /// For requests that no region served.
    pub(crate) nobody: EdgeMeter,
}

/// One region's presence, in the order to try.
pub(crate) struct Backend {
    pub(crate) region: RegionName,
    pub(crate) rank: Rank,
    /// The instances here, or the edge of the other region.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) is_local: bool,
    pub(crate) meter: EdgeMeter,
}

impl Routes {
    /// Makes the routes of `view`. `former` lends its budgets.
    pub(crate) fn new(view: &View, metrics: &Metrics, former: Option<&Self>) -> Self {
        let mut hosts = HashMap::new();
        for service in &view.system.services {
            let kept = service.hosts.first().and_then(|host| former?.find(host));
            let route = Arc::new(Route {
                backends: view.backends(service).into_iter().map(|c| backend(service, c, metrics)).collect(),
                budget: kept.map_or_else(Arc::default, |route| Arc::clone(&route.budget)),
                nobody: metrics.edge_meter(&service.name, None),
                service: service.clone(),
            });
            hosts.extend(service.hosts.iter().map(|host| (normal(host), Arc::clone(&route))));
        }
        Self { here: view.here.clone(), hosts }
    }

    /// The route of a host, with or without port.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<Route>> {
        self.hosts.get(host).or_else(|| self.hosts.get(&normal(host)))
    }
}

fn backend(service: &Service, choice: BackendChoice, metrics: &Metrics) -> Backend {
    let (addresses, is_local) = match choice.via {
        Via::Local(endpoints) => (endpoints, true),
        Via::Edge(edge) => (vec![edge], false),
    };
    let meter = metrics.edge_meter(&service.name, Some(&choice.region));
    Backend { region: choice.region, rank: choice.rank, addresses, is_local, meter }
}

/// Lower case, without port and closing dot.
fn normal(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_case_port_and_dot() {
        for host in ["shop.example.com", "Shop.Example.COM:8080", "shop.example.com.", "shop.example.com.:80"]
        {
            assert_eq!(normal(host), "shop.example.com");
        }
        assert_eq!(normal("[::1]:80"), "[::1]");
        assert_eq!(normal("[::1]"), "[::1]");
    }
}
