//! The zones of all services, compiled from a view: every name, every type, every class of clients.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, SOA};
use hickory_proto::rr::{Name, RData, Record};
use meridian_model::service::Service;
use meridian_model::topology::Role;
use meridian_steering::{Class, Client, View};

use crate::error::Error;
use crate::query::Query;
use crate::tail::{NOERROR, Tail, record, wire};

/// Everything that can be answered.
#[derive(Debug)]
pub(crate) struct Zones {
    view: Arc<View>,
    /// By name in wire form and lower case.
    names: HashMap<Box<[u8]>, Node>,
    /// By apex.
    zones: HashMap<Box<[u8]>, Zone>,
    refused: Tail,
    not_implemented: Tail,
}

/// What is found for a query.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) tail: Cow<'a, Tail>,
    /// For RFC 7871; 0 for what is the same for everybody.
    pub(crate) scope: u8,
}

impl<'a> Found<'a> {
    /// An answer that is the same for everybody.
    const fn fixed(tail: &'a Tail) -> Self {
        Self { tail: Cow::Borrowed(tail), scope: 0 }
    }
}

impl Zones {
    /// Compiles all answers of a view.
    pub(crate) fn compile(view: &Arc<View>) -> Result<Self, Error> {
        let mut zones = Self {
            view: Arc::clone(view),
            names: HashMap::new(),
            zones: HashMap::new(),
            refused: Tail::bare(REFUSED),
            not_implemented: Tail::bare(crate::query::NOTIMP),
        };
        for service in &view.system.services {
            let origin = name_of(service, &service.zone)?;
            zones.add_zone(&origin, service)?;
            zones.add_hosts(&origin, service)?;
        }
        Ok(zones)
    }

    /// Looks a query up. `from` is who sent it.
    pub(crate) fn find(&self, query: &Query<'_>, from: IpAddr) -> Found<'_> {
        if query.class != CLASS_IN || TRANSFERS.contains(&query.kind) {
            return Found::fixed(&self.refused);
        }
        let Some(zone) = query.name.parents().find_map(|name| self.zones.get(name)) else {
            return Found::fixed(&self.refused);
        };
        if META.contains(&query.kind) {
            return Found::fixed(&self.not_implemented);
        }
        match self.names.get(query.name.as_bytes()) {
            None => Found::fixed(&zone.no_name),
            Some(node) => node.find(query, zone, &self.view, from),
        }
    }

    /// The apex and the name servers. Several services may share a zone: the first makes it.
    fn add_zone(&mut self, origin: &Name, service: &Service) -> Result<(), Error> {
        let apex = wire(origin)?;
        if self.zones.contains_key(&apex) {
            return Ok(());
        }
        let servers = name_servers(&self.view, origin, service)?;
        let soa = soa(&self.view, origin, service)?;
        let zone = Zone { no_name: Tail::absence(NXDOMAIN, &soa)?, no_type: Tail::absence(NOERROR, &soa)? };
        self.zones.insert(apex, zone);

        let all: Vec<Record> =
            servers.iter().map(|(name, _)| record(origin, NS_TTL, RData::NS(NS(name.clone())))).collect();
        let glue: Vec<Record> = servers.iter().map(|(name, ip)| record(name, NS_TTL, address(*ip))).collect();
        self.node(origin)?.fixed.insert(TYPE_SOA, Tail::records(origin, &[soa], &[])?);
        self.node(origin)?.fixed.insert(TYPE_NS, Tail::records(origin, &all, &glue)?);
        for ((name, ip), glue) in servers.iter().zip(&glue) {
            let kind = if ip.is_ipv4() { TYPE_A } else { TYPE_AAAA };
            let tail = Tail::records(name, std::slice::from_ref(glue), &[])?;
            self.node(name)?.fixed.insert(kind, tail);
        }
        Ok(())
    }

    /// The hosts of a service that lie in its zone, each with one answer for each class.
    fn add_hosts(&mut self, origin: &Name, service: &Service) -> Result<(), Error> {
        let view = Arc::clone(&self.view);
        for host in &service.hosts {
            let name = name_of(service, host)?;
            if !origin.zone_of(&name) {
                continue;
            }
            let compiled = view
                .classes()
                .into_iter()
                .map(|class| Ok((class, Steered::compile(&view, service, &name, class)?)));
            let steered = compiled.collect::<Result<HashMap<_, _>, Error>>()?;
            self.node(&name)?.steered = Some(Hosts { service: service.clone(), name: name.clone(), steered });
            self.add_empty_names(origin, &name)?;
        }
        Ok(())
    }

    /// Names between a host and its zone exist, though they hold nothing (RFC 8020).
    fn add_empty_names(&mut self, origin: &Name, host: &Name) -> Result<(), Error> {
        let mut name = host.base_name();
        while origin.zone_of(&name) && &name != origin {
            self.node(&name)?;
            name = name.base_name();
        }
        Ok(())
    }

    fn node(&mut self, name: &Name) -> Result<&mut Node, Error> {
        let minimal = record(name, ANY_TTL, RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new())));
        let any = Tail::records(name, &[minimal], &[])?;
        Ok(self.names.entry(wire(name)?).or_insert_with(|| Node {
            fixed: HashMap::new(),
            steered: None,
            any,
        }))
    }
}

/// What a zone says of names and types that are not there.
#[derive(Debug)]
struct Zone {
    no_name: Tail,
    no_type: Tail,
}

/// A name that exists.
#[derive(Debug)]
struct Node {
    /// By type: the same for everybody.
    fixed: HashMap<u16, Tail>,
    steered: Option<Hosts>,
    /// RFC 8482: a minimal answer to ANY.
    any: Tail,
}

impl Node {
    fn find<'a>(&'a self, query: &Query<'_>, zone: &'a Zone, view: &View, from: IpAddr) -> Found<'a> {
        if let (Some(hosts), TYPE_A | TYPE_AAAA) = (&self.steered, query.kind) {
            return hosts.find(query, zone, view, from);
        }
        let tail = match query.kind {
            TYPE_ANY => &self.any,
            kind => self.fixed.get(&kind).unwrap_or(&zone.no_type),
        };
        Found::fixed(tail)
    }
}

/// A name whose addresses depend on who asks.
#[derive(Debug)]
struct Hosts {
    service: Service,
    name: Name,
    steered: HashMap<Class, Steered>,
}

impl Hosts {
    fn find<'a>(&'a self, query: &Query<'_>, zone: &'a Zone, view: &View, from: IpAddr) -> Found<'a> {
        let subnet = query.edns.and_then(|edns| edns.subnet).filter(|subnet| subnet.source > 0);
        let client = subnet.map_or(Client::at(from), |s| Client { address: s.address, prefix: s.source });
        let (class, scope) = view.classify(client);
        let v4 = query.kind == TYPE_A;
        let tail = match self.steered.get(&class) {
            Some(steered) => steered.tail(v4).map(Cow::Borrowed),
            // Only with so many partial dials that not all classes are compiled beforehand.
            None => self
                .compile(view, class)
                .map_or(Some(Tail::bare(SERVFAIL)), |s| s.into_tail(v4))
                .map(Cow::Owned),
        };
        match tail {
            Some(tail) => Found { tail, scope: if subnet.is_some() { scope } else { 0 } },
            None => Found::fixed(&zone.no_type),
        }
    }

    fn compile(&self, view: &View, class: Class) -> Result<Steered, Error> {
        Steered::compile(view, &self.service, &self.name, class)
    }
}

/// The addresses for one class; `None` where the offered regions have no address of that kind.
#[derive(Debug)]
struct Steered {
    v4: Option<Tail>,
    v6: Option<Tail>,
}

impl Steered {
    fn compile(view: &View, service: &Service, name: &Name, class: Class) -> Result<Self, Error> {
        let answer = view.answer_for(service, class);
        if answer.candidates.is_empty() {
            // Every region is forbidden: an error is lawful, any address would not be.
            let nobody = || Some(Tail::bare(SERVFAIL));
            return Ok(Self { v4: nobody(), v6: nobody() });
        }
        let regions = answer.offered().filter_map(|c| view.system.region(&c.region));
        let ips: Vec<IpAddr> = regions.flat_map(|r| r.node.public.iter().copied()).collect();
        let ttl = seconds(service.dns_ttl);
        let tail = |v4: bool| {
            let of_kind = ips.iter().filter(|ip| ip.is_ipv4() == v4);
            let records: Vec<_> = of_kind.map(|ip| record(name, ttl, address(*ip))).collect();
            if records.is_empty() { Ok(None) } else { Tail::records(name, &records, &[]).map(Some) }
        };
        Ok(Self { v4: tail(true)?, v6: tail(false)? })
    }

    const fn tail(&self, v4: bool) -> Option<&Tail> {
        if v4 { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    fn into_tail(self, v4: bool) -> Option<Tail> {
        if v4 { self.v4 } else { self.v6 }
    }
}

// === Records ===

/// `ns1` to `nsN`, one for each region that runs a name server, in the order of the spec.
fn name_servers(view: &View, origin: &Name, service: &Service) -> Result<Vec<(Name, IpAddr)>, Error> {
    let regions = view.system.topology.regions.iter().filter(|r| r.role != Role::Witness);
    let server = |(number, ip)| Ok((child(service, origin, &format!("ns{number}"))?, ip));
    (1..).zip(regions.map(|r| r.node.dns.ip())).map(server).collect()
}

fn soa(view: &View, origin: &Name, service: &Service) -> Result<Record, Error> {
    let ttl = seconds(service.dns_ttl);
    // Serial numbers live in 32 bits and wrap (RFC 1982): the low half of the generation.
    let serial = u32::try_from(view.snapshot.generation & u64::from(u32::MAX)).unwrap_or_default();
    let (primary, person) = (child(service, origin, "ns1")?, child(service, origin, "hostmaster")?);
    let soa = SOA::new(primary, person, serial, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, ttl);
    Ok(record(origin, ttl, RData::SOA(soa)))
}

fn name_of(service: &Service, text: &str) -> Result<Name, Error> {
    let bad = || Error::Name { service: service.name.clone(), name: text.to_owned() };
    let mut name = Name::from_ascii(text).map_err(|_| bad())?;
    name.set_fqdn(true);
    if name.is_root() { Err(bad()) } else { Ok(name.to_lowercase()) }
}

fn child(service: &Service, origin: &Name, label: &str) -> Result<Name, Error> {
    origin
        .prepend_label(label)
        .map_err(|_| Error::Name { service: service.name.clone(), name: format!("{label}.{origin}") })
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

fn seconds(period: Duration) -> u32 {
    u32::try_from(period.as_secs()).unwrap_or(TTL_MAX).clamp(1, TTL_MAX)
}

const CLASS_IN: u16 = 1;
pub(crate) const TYPE_A: u16 = 1;
const TYPE_NS: u16 = 2;
const TYPE_SOA: u16 = 6;
const TYPE_AAAA: u16 = 28;
const TYPE_ANY: u16 = 255;
/// IXFR and AXFR: nobody may copy the zone.
const TRANSFERS: [u16; 2] = [251, 252];
/// Types that are no data (RFC 6895): OPT, TKEY, TSIG, MAILB, MAILA.
const META: [u16; 5] = [41, 249, 250, 253, 254];
const SERVFAIL: u8 = 2;
pub(crate) const NXDOMAIN: u8 = 3;
pub(crate) const REFUSED: u8 = 5;
/// The name servers of a zone are as stable as the spec.
const NS_TTL: u32 = 300;
/// A minimal answer to ANY is worth keeping (RFC 8482 says long).
const ANY_TTL: u32 = 3_600;
/// RFC 2181: the highest TTL.
const TTL_MAX: u32 = 0x7fff_ffff;
const SOA_REFRESH: i32 = 3_600;
const SOA_RETRY: i32 = 600;
const SOA_EXPIRE: i32 = 86_400;
