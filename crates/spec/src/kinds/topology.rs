//! `Topology` as it is written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use meridian_model::schedule::{TimeOfDay, Weekday};
use meridian_model::topology::{Dial, Pattern, Provider, Role};
use meridian_model::{Name, Share};
use serde_json::{Value, json};

use crate::form::{At, AtLeastOne, Form, Url, clip, form, words, wrong};
use crate::source::Problems;
use crate::tree::{Data, Node};

form! {
    /// The regions, the people who use them, the objectives and the way to etcd. A spec has exactly one.
    pub(crate) struct TopologyForm {
        /// How regions share the work.
        required pattern "pattern": At<Pattern>,
        /// With `follow-the-sun`, and only then: at which hour of which place the writer moves where.
        optional schedule "schedule": At<Vec<At<ScheduledForm>>>,
        /// What recovery must achieve.
        required objectives "objectives": ObjectivesForm,
        /// The places that run a copy, or vote.
        required regions "regions": At<Vec<At<RegionForm>>>,
        /// Where the users are; the shares add up to 100%.
        required users "users": At<Vec<At<PopulationForm>>>,
        /// How the control plane agrees.
        optional coordination "coordination": CoordinationForm,
        /// Every period that safety and recovery time depend on. All have defaults that fit together.
        optional timers "timers": TimersForm,
        /// Where telemetry goes.
        optional telemetry "telemetry": TelemetryForm,
    }
}

words!(Pattern: "a pattern" {
    "active-passive" => Pattern::ActivePassive,
    "active-active" => Pattern::ActiveActive,
    "follow-the-sun" => Pattern::FollowTheSun,
});

form! {
    /// At that hour of those days the writer moves to that region, by switchover. Where the clocks go
    /// forward over the hour, it moves as much later; where they go back over it, once.
    pub(crate) struct ScheduledForm {
        /// Where to.
        required region "region": At<Name>,
        /// The hour, such as `08:00`.
        required at "at": TimeOfDay,
        /// On whose clocks: an IANA name, such as `Europe/Berlin`.
        required time_zone "timeZone": At<String>,
        /// On which days there, such as `[mon-fri]`. Default: every day.
        optional days "days": At<Vec<Days>>,
    }
}

impl Form for TimeOfDay {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = "a time of day such as `08:00`";
        let Data::Scalar(text) = &node.data else { return wrong(node, expected, TIME_HINT, problems) };
        let number = |digits: &str| match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse().ok(),
            false => None,
        };
        let parts = text
            .split_once(':')
            .and_then(|(h, m)| Some((number(h)?, number(m)?, h.len() == 2 && m.len() == 2)));
        let found = parts.and_then(|(hour, minute, whole)| Some((Self::new(hour, minute)?, whole)));
        match found {
            Some((time, true)) => Some(time),
            Some((time, false)) => wrong(node, expected, &format!("write `{time}`"), problems),
            None => wrong(node, expected, TIME_HINT, problems),
        }
    }
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["08:00"] })
    }
}

/// A day, or several in a row: `mon`, `mon-fri`, `sat-sun`.
#[derive(Debug, Clone)]
pub(crate) struct Days(pub(crate) Vec<Weekday>);

impl Form for Days {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        let expected = "a day or a range of days";
        let Data::Scalar(text) = &node.data else { return wrong(node, expected, DAYS_HINT, problems) };
        let place = |word: &str| Weekday::ALL.iter().position(|day| day.to_string() == word);
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (Some(from), Some(to)) = (place(from), place(to)) else {
            let _: Option<Self> = wrong(node, expected, DAYS_HINT, problems);
            // Told: the list that it stands in is not empty for all that.
            return Some(Self(Vec::new()));
        };
        let row = Weekday::ALL.iter().cycle().skip(from).take((to + 7 - from) % 7 + 1);
        Some(Self(row.copied().collect()))
    }
    fn schema() -> Value {
        let day = "(mon|tue|wed|thu|fri|sat|sun)";
        json!({ "type": "string", "pattern": format!("^{day}(-{day})?$"), "examples": ["mon-fri"] })
    }
}

const TIME_HINT: &str = "hours from 00 to 23, `:`, minutes from 00 to 59";
const DAYS_HINT: &str = "mon, tue, wed, thu, fri, sat, sun, or two of them with `-` between: `mon-fri`";

form! {
    /// What recovery must achieve.
    pub(crate) struct ObjectivesForm {
        /// Time to recover, such as `60s`. Timers that cannot meet it are refused.
        required rto "rto": At<Duration>,
        /// Data that may be lost, as time, such as `5s`. `0s` needs quorum replication.
        required rpo "rpo": At<Duration>,
    }
}

form! {
    /// A place that runs a copy, or votes.
    pub(crate) struct RegionForm {
        /// Its name; for a cloud's region, the cloud's own code.
        required name "name": At<Name>,
        /// Whose region it is. The catalogue knows the regions of aws, gcp and azure.
        required provider "provider": At<Provider>,
        /// What it does at the start. Default: `secondary`; the only region of a spec: `primary`.
        optional role "role": At<Role>,
        /// The legal area, such as `eu`. Default: the catalogue's; must be given for `other`.
        optional jurisdiction "jurisdiction": At<Name>,
        /// Where it lies. Default: the catalogue's; must be given for `other`.
        optional location "location": LocationForm,
        /// Its own network.
        optional cidr "cidr": At<IpNet>,
        /// The share of arriving traffic it takes, or `drain` (only in an emergency), or `forbid` (never). Default: `100%`.
        optional dial "dial": At<Dial>,
        /// The IP address at which its node is reached. Leave it out for a spec that only the lab runs.
        optional address "address": At<IpAddr>,
        /// Ports of the node where they differ from the defaults, or whole addresses.
        optional listen "listen": ListenForm,
        /// The addresses that DNS answers with for this region. Default: that of the edge; none for a witness.
        optional public "public": At<Vec<IpAddr>>,
        /// Where the node keeps what must survive a restart. Default: `/var/lib/meridian/<region>`.
        optional data_dir "dataDir": PathBuf,
    }
}

words!(Provider: "a provider" {
    "aws" => Provider::Aws,
    "gcp" => Provider::Gcp,
    "azure" => Provider::Azure,
    "other" => Provider::Other,
});

words!(Role: "a role" {
    "primary" => Role::Primary,
    "secondary" => Role::Secondary,
    "witness" => Role::Witness,
});

impl Form for Dial {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) if text == "drain" => Some(Self::Drain),
            Data::Scalar(text) if text == "forbid" => Some(Self::Forbid),
            Data::Scalar(text) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let hint = "a percentage, `drain` (only in an emergency) or `forbid` (never)";
                wrong(node, "a dial such as `100%`", hint, problems)
            }
            _ => Share::parse(node, problems).map(Self::Share),
        }
    }
    fn schema() -> Value {
        json!({ "anyOf": [{ "enum": ["drain", "forbid"] }, Share::schema()] })
    }
}

form! {
    /// A place on earth, in degrees.
    pub(crate) struct LocationForm {
        /// North is positive, -90 to 90.
        required latitude "latitude": At<f64>,
        /// East is positive, -180 to 180.
        required longitude "longitude": At<f64>,
    }
}

form! {
    /// What the node listens on: a port of the region's address, or a whole address with a port.
    pub(crate) struct ListenForm {
        /// Control interface and metrics. Default: 7400.
        optional control "control": SocketForm,
        /// Authoritative DNS, UDP and TCP. Default: 5353.
        optional dns "dns": SocketForm,
        /// The edge, plain HTTP. Default: 8080.
        optional edge_http "edgeHttp": SocketForm,
        /// The edge, HTTPS. Default: 8443.
        optional edge_https "edgeHttps": SocketForm,
        /// The gateway's port that leads to the writer. Default: 6432.
        optional gateway_write "gatewayWrite": SocketForm,
        /// The gateway's port that leads to the nearest replica. Default: 6433.
        optional gateway_read "gatewayRead": SocketForm,
    }
}

/// A port of the region's address, or a whole address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketForm {
    Port(u16),
    Whole(SocketAddr),
}

impl SocketForm {
    /// The whole address, with the region's own where only a port is given.
    pub(crate) fn at(self, address: IpAddr) -> SocketAddr {
        match self {
            Self::Port(port) => SocketAddr::new(address, port),
            Self::Whole(socket) => socket,
        }
    }
}

impl Form for SocketForm {
    fn parse(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.data {
            Data::Scalar(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                u16::parse(node, problems).map(Self::Port)
            }
            Data::Scalar(text) => match text.parse() {
                Ok(socket) => Some(Self::Whole(socket)),
                Err(_) => {
                    let message =
                        format!("expected a port or an address with a port, found `{}`", clip(text));
                    problems.error(node.place, message, "such as `8080` or `10.1.0.10:8080`");
                    None
                }
            },
            _ => wrong(node, "a port or an address with a port", "such as `8080`", problems),
        }
    }
    fn schema() -> Value {
        json!({ "anyOf": [u16::schema(), SocketAddr::schema()] })
    }
}

form! {
    /// A part of the users.
    pub(crate) struct PopulationForm {
        /// Its name. Default: the continent.
        optional name "name": At<Name>,
        /// Its part of all users, such as `40%`.
        required share "share": At<Share>,
        /// Where they are: north-america, europe, asia-pacific, south-america, africa or middle-east.
        optional continent "continent": At<String>,
        /// The middle of where they live. Default: that of the continent.
        optional location "location": LocationForm,
        /// The networks they come from; the longest match wins.
        optional networks "networks": At<Vec<At<IpNet>>>,
    }
}

form! {
    /// How the control plane agrees.
    pub(crate) struct CoordinationForm {
        /// Client URLs of etcd's members. Default: port 2379 of every region's `address`.
        optional endpoints "endpoints": At<Vec<Url>>,
        /// The file with the secret that nodes prove to each other. Default: `/etc/meridian/control-secret`.
        optional control_secret_file "controlSecretFile": PathBuf,
    }
}

form! {
    /// Where telemetry goes.
    pub(crate) struct TelemetryForm {
        /// An OTLP/gRPC endpoint. Default: nothing is sent.
        optional otlp_endpoint "otlpEndpoint": Url,
    }
}

form! {
    /// Every period that safety and recovery time depend on. Checked together: databaseFence + stopWithin
    /// + the clocks' drift must be less than leaseTtl.
    pub(crate) struct TimersForm {
        /// How long a renewal of the writer's lease is good for. Default: 5s.
        optional lease_ttl "leaseTtl": At<Duration>,
        /// How often the writer renews. Default: 500ms.
        optional renew_every "renewEvery": At<Duration>,
        /// After so long without a renewal the gateway stops taking writes. Default: 3s.
        optional gateway_fence "gatewayFence": At<Duration>,
        /// After so long without a renewal PostgreSQL is stopped. Default: 4s.
        optional database_fence "databaseFence": At<Duration>,
        /// The longest that stopping PostgreSQL may take. Default: 500ms.
        optional stop_within "stopWithin": At<Duration>,
        /// How much faster one clock may run than another, in parts per million. Default: 500.
        optional clock_drift_ppm "clockDriftPpm": At<u32>,
        /// How often every target is probed. Default: 1s.
        optional probe_every "probeEvery": At<Duration>,
        /// When a probe is given up. Default: 1s.
        optional probe_timeout "probeTimeout": At<Duration>,
        /// Failures in a row after which a vantage calls a target down. Default: 3.
        optional down_after "downAfter": At<AtLeastOne>,
        /// Successes in a row after which a vantage calls a target up again. Default: 2.
        optional up_after "upAfter": At<AtLeastOne>,
        /// After so long an observation says nothing any more. Default: 4s.
        optional observation_ttl "observationTtl": At<Duration>,
        /// How long a group is held down after a failover; a second one waits for a person. Default: 5m.
        optional flap_window "flapWindow": At<Duration>,
    }
}
