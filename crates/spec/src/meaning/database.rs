//! Databases: members, replication and the limits of the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_model::database::{
    Database, GatewayLimits, Member, PostgresMember, Replication, SwitchoverLimits,
};
use meridian_model::topology::Role;
use meridian_model::{GroupName, Name};
use meridian_planner::Subject;

use super::regions::{Known, ports};
use super::{World, twice};
use crate::form::{At, clip};
use crate::kinds::{
    Body, DatabaseForm, GatewayForm, MemberForm, PostgresForm, ReplicationForm, ReplicationMode, Resource,
    SwitchoverForm,
};
use crate::source::{Place, Problems};

/// What a database means; none if the resource is something else.
pub(super) fn database(resource: &Resource, world: &mut World<'_>) -> Option<Database> {
    let Body::Database(Some(form)) = &resource.body else { return None };
    let name = &resource.name;
    remember_places(form, name, world);
    let made = members(form, &name.value, resource.place.file, world);
    has_primary(&made, form, name.place, world);
    Some(Database {
        name: name.value.clone(),
        dbname: dbname(form, &name.value, world.problems),
        replication: form.replication.as_ref().map_or(Replication::Async, |r| replication(r, world.problems)),
        max_read_lag: form.max_read_lag.unwrap_or(MAX_READ_LAG),
        on_rpo_breach: form.on_rpo_breach.unwrap_or_default(),
        switchover: form.switchover.as_ref().map(|s| switchover(&s.value)).unwrap_or_default(),
        members: made,
        gateway: form.gateway.as_ref().map(|g| gateway(&g.value)).unwrap_or_default(),
    })
}

fn remember_places(form: &DatabaseForm, name: &At<Name>, world: &mut World<'_>) {
    let mut remember = |subject: fn(GroupName) -> Subject, place: Option<Place>| {
        world.places.insert(subject(name.value.clone()), place.unwrap_or(name.place));
    };
    remember(Subject::Replication, form.replication.as_ref().map(|r| r.place));
    remember(Subject::Members, form.members.as_ref().map(|m| m.place));
    remember(Subject::Gateway, form.gateway.as_ref().map(|g| g.place));
    remember(Subject::Switchover, form.switchover.as_ref().map(|s| s.place));
}

fn dbname(form: &DatabaseForm, name: &Name, problems: &mut Problems) -> String {
    let Some(written) = &form.dbname else { return name.to_string() };
    if written.value.is_empty() || written.value.len() > 63 || written.value.chars().any(char::is_control) {
        let message = format!("`{}` is no name of a database in PostgreSQL", clip(&written.value));
        problems.error(written.place, message, "1 to 63 bytes");
    }
    written.value.clone()
}

fn replication(form: &At<ReplicationForm>, problems: &mut Problems) -> Replication {
    match (form.value.mode, form.value.acknowledgers) {
        (Some(ReplicationMode::Quorum), count) => {
            Replication::Quorum { acknowledgers: count.map_or(1, |c| c.value) }
        }
        (Some(ReplicationMode::Async), Some(count)) => {
            let message = "with `async` replication no standby acknowledges a commit";
            problems.error(count.place, message, "remove `acknowledgers`, or write `mode: quorum`");
            Replication::Async
        }
        (Some(ReplicationMode::Async) | None, _) => Replication::Async,
    }
}

fn members(form: &DatabaseForm, name: &Name, file: usize, world: &mut World<'_>) -> Vec<Member> {
    let Some(listed) = &form.members else {
        let regions = world.data_regions();
        return regions.into_iter().map(|r| member(&r, None, form, (name, file), world)).collect();
    };
    if listed.value.is_empty() {
        let hint = "name regions, or leave `members` out: then every region has one";
        world.problems.error(listed.place, "a database needs at least one member", hint);
    }
    let mut seen: Vec<&At<Name>> = Vec::new();
    let mut made = Vec::new();
    for form_of_member in &listed.value {
        let Some(at) = form_of_member.region() else { continue };
        if let Some(first) = seen.iter().find(|r| r.value == at.value) {
            twice("the region", &at.value, at.place, first.place, world.problems);
        }
        seen.push(at);
        if let Some(region) = world.data_region(at) {
            made.push(member(&region, Some(form_of_member), form, (name, file), world));
        }
    }
    made
}

fn member(
    region: &Known,
    form: Option<&MemberForm>,
    database: &DatabaseForm,
    (name, file): (&Name, usize),
    world: &World<'_>,
) -> Member {
    let map = form.and_then(MemberForm::map);
    let address = map.and_then(|m| m.address).map(|a| a.value);
    let settings =
        Settings { own: map.and_then(|m| m.postgres.as_ref()), common: database.postgres.as_ref() };
    Member {
        region: region.name.clone(),
        address: address.unwrap_or_else(|| SocketAddr::new(region.address, ports::POSTGRES)),
        postgres: settings.postgres(region, name, file, world),
    }
}

/// A member's own settings, over those of all members.
struct Settings<'f> {
    own: Option<&'f PostgresForm>,
    common: Option<&'f PostgresForm>,
}

impl Settings<'_> {
    fn pick<T: Clone>(&self, field: fn(&PostgresForm) -> Option<&T>) -> Option<T> {
        self.own.and_then(field).or_else(|| self.common.and_then(field)).cloned()
    }

    fn postgres(&self, region: &Known, name: &Name, file: usize, world: &World<'_>) -> PostgresMember {
        let path =
            |written: Option<PathBuf>, standard: PathBuf| written.map_or(standard, |p| world.path(file, &p));
        let secret = |what: &str| PathBuf::from("/etc/meridian").join(format!("{name}-{what}-password"));
        PostgresMember {
            bin_dir: self.pick(|f| f.bin_dir.as_ref()).map(|p| world.path(file, &p)),
            data_dir: path(
                self.pick(|f| f.data_dir.as_ref()),
                region.data_dir.join("postgres").join(name.as_str()),
            ),
            run_as: self.pick(|f| f.run_as.as_ref()).unwrap_or_else(|| "postgres".to_owned()),
            superuser: self.pick(|f| f.superuser.as_ref()).unwrap_or_else(|| "meridian".to_owned()),
            password_file: path(self.pick(|f| f.password_file.as_ref()), secret("superuser")),
            app_user: self.pick(|f| f.app_user.as_ref()).unwrap_or_else(|| "app".to_owned()),
            app_password_file: path(self.pick(|f| f.app_password_file.as_ref()), secret("app")),
            settings: self.pick(|f| f.settings.as_ref()).unwrap_or_default(),
        }
    }
}

/// The writer at the start is a member.
fn has_primary(made: &[Member], form: &DatabaseForm, place: Place, world: &mut World<'_>) {
    let primaries: Vec<&Known> = world.regions.iter().filter(|r| r.role == Role::Primary).collect();
    let [first, ..] = primaries.as_slice() else { return };
    let there = primaries.iter().any(|p| made.iter().any(|m| m.region == p.name));
    let all_told = form.members.as_ref().is_none_or(|m| m.value.len() == made.len());
    if !there && all_told && !made.is_empty() {
        let place = form.members.as_ref().map_or(place, |m| m.place);
        let hint = format!("add `{}` to the members", first.name);
        world.problems.error(place, "no member is in a primary region: nobody would write", hint);
    }
}

fn switchover(form: &SwitchoverForm) -> SwitchoverLimits {
    let standard = SwitchoverLimits::default();
    SwitchoverLimits {
        drain: form.drain.unwrap_or(standard.drain),
        catch_up: form.catch_up.unwrap_or(standard.catch_up),
        max_lag: form.max_lag.unwrap_or(standard.max_lag),
    }
}

fn gateway(form: &GatewayForm) -> GatewayLimits {
    let standard = GatewayLimits::default();
    GatewayLimits {
        max_sessions: form.max_sessions.map_or(standard.max_sessions, |n| n.0),
        max_waiting: form.max_waiting.unwrap_or(standard.max_waiting),
        max_waiting_bytes: form.max_waiting_bytes.map_or(standard.max_waiting_bytes, |b| b.0),
        max_wait: form.max_wait.unwrap_or(standard.max_wait),
    }
}

/// A standby further behind serves no reads.
const MAX_READ_LAG: Duration = Duration::from_secs(10);
