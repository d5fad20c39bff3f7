//! What the loops are made from: the parts that every group and the observer share.

use super::*;

/// What the loops of the groups are made from.
pub(super) struct Parts<'a> {
    pub(super) system: &'a Arc<System>,
    pub(super) region: &'a Region,
    pub(super) memory: Memory,
    pub(super) losses: Losses,
    pub(super) secret: Secret,
    pub(super) fence: Arc<Fence>,
    pub(super) nudge: &'a Arc<Notify>,
    pub(super) metrics: Metrics,
}

/// Who sees and judges, and the ends of its channels.
pub(super) struct Eyes {
    pub(super) observer: Observer,
    pub(super) reports: watch::Sender<Option<Report>>,
    pub(super) verdicts: watch::Receiver<Arc<Vec<RegionHealth>>>,
    pub(super) coordination: watch::Receiver<CoordinationStatus>,
}

impl Parts<'_> {
    pub(super) fn eyes<'e>(
        &self,
        etcd: &Arc<Etcd>,
        knowledge: &Arc<Mutex<Knowledge>>,
        groups: impl Iterator<Item = (&'e GroupName, &'e GroupEnds)>,
    ) -> Eyes {
        let (reports, own) = watch::channel(None);
        let (verdicts_in, verdicts) = watch::channel(Arc::default());
        let (coordination_in, coordination) = watch::channel(CoordinationStatus::default());
        let observer = Observer {
            here: self.region.name.clone(),
            regions: self.system.region_names().cloned().collect(),
            timers: self.system.topology.timers,
            store: Arc::clone(etcd) as Arc<dyn Store>,
            keys: Keys::new(&self.system.topology.name),
            knowledge: Arc::clone(knowledge),
            groups: groups.map(|(name, ends)| Inbox::new(name.clone(), ends.events.clone())).collect(),
            own,
            verdicts: verdicts_in,
            coordination: coordination_in,
            nudge: Arc::clone(self.nudge),
            metrics: self.metrics.clone(),
        };
        Eyes { observer, reports, verdicts, coordination }
    }

    pub(super) fn groups(
        &self,
        etcd: &Arc<Etcd>,
        compute: &Arc<Compute>,
        publisher: &Publisher,
    ) -> Result<(Vec<Group>, Vec<GroupEnds>), Error> {
        let mut loops = Vec::new();
        for database in &self.system.databases {
            let tools = self.tools(database, etcd, compute, publisher.views())?;
            loops.push(Group::new(self.config(database), tools, Arc::clone(self.nudge)));
        }
        Ok(loops.into_iter().unzip())
    }

    /// Who looks at what is at home, and judges.
    pub(super) fn doctor(&self, etcd: &Arc<Etcd>, board: &Board, groups: &[GroupEnds]) -> Doctor {
        Doctor {
            system: Arc::clone(self.system),
            here: self.region.name.clone(),
            members: self.patients(groups),
            compute: Arc::clone(&board.compute),
            certificates: doctor::certificates(self.system),
            open_files: descriptors::facts(self.system),
            knowledge: Arc::clone(&board.knowledge),
            verdicts: board.verdicts.clone(),
            coordination: board.coordination.clone(),
            store: Arc::clone(etcd) as Arc<dyn Store>,
            keys: Keys::new(&self.system.topology.name),
            metrics: self.metrics.clone(),
        }
    }

    /// Who carries rehearsals out.
    pub(super) fn rehearser(
        &self,
        etcd: &Arc<Etcd>,
        knowledge: &Arc<Mutex<Knowledge>>,
        groups: &[GroupEnds],
        stop: &watch::Receiver<bool>,
    ) -> Rehearser {
        Rehearser {
            system: Arc::clone(self.system),
            here: self.region.name.clone(),
            databases: self.databases(groups),
            knowledge: Arc::clone(knowledge),
            store: Arc::clone(etcd) as Arc<dyn Store>,
            keys: Keys::new(&self.system.topology.name),
            workspace: self.region.node.data_dir.join("rehearsals"),
            stop: stop.clone(),
        }
    }

    /// The databases of this region, in the order of the spec, which is that of the groups.
    fn databases(&self, groups: &[GroupEnds]) -> Vec<(GroupName, Arc<dyn DatabaseActuator>)> {
        let named = self.system.databases.iter().map(|d| d.name.clone()).zip(groups);
        named.filter_map(|(name, ends)| Some((name, ends.database.clone()?))).collect()
    }

    /// The same, each with what its group's loop says of it.
    fn patients(&self, groups: &[GroupEnds]) -> Vec<Patient> {
        let named = self.system.databases.iter().map(|d| d.name.clone()).zip(groups);
        let patient = |(group, ends): (GroupName, &GroupEnds)| {
            Some(Patient { group, database: ends.database.clone()?, facts: ends.facts.clone() })
        };
        named.filter_map(patient).collect()
    }

    fn config(&self, database: &Database) -> meridian_failover::Config {
        let members: Vec<RegionName> = database.members.iter().map(|m| m.region.clone()).collect();
        meridian_failover::Config {
            group: database.name.clone(),
            me: self.region.name.clone(),
            initial_primary: self.system.home(database).unwrap_or(&self.region.name).clone(),
            members,
            replication: database.replication,
            rpo: self.system.topology.objectives.rpo,
            max_read_lag: database.max_read_lag,
            candidate_gone: meridian_failover::config::CANDIDATE_GONE,
            on_rpo_breach: database.on_rpo_breach,
            timers: self.system.topology.timers,
            gateways: self.system.region_names().cloned().collect(),
            switchover: database.switchover,
            plan: plan_of(self.system, database),
        }
    }

    /// PostgreSQL with a guard: this same program as a tiny process that kills the database when this
    /// node dies or is frozen.
    fn postgres(&self, database: &Database) -> Result<Postgres, Error> {
        let config = PostgresConfig::of(self.system, database, &self.region.name)?;
        let program = std::env::current_exe().map_err(Error::OwnProgram)?;
        Ok(Postgres::open(config.guarded_by(vec![program.into(), GUARD.into()]))?)
    }

    fn tools(
        &self,
        database: &Database,
        etcd: &Arc<Etcd>,
        compute: &Arc<Compute>,
        views: watch::Receiver<Arc<View>>,
    ) -> Result<Tools, Error> {
        let here = &self.region.name;
        let member = database.member(here);
        let actuator = member.map(|_| self.postgres(database)).transpose()?;
        let others = self.system.topology.regions.iter().filter(|r| &r.name != here);
        let members: HashMap<_, _> = database.members.iter().map(|m| (m.region.clone(), m.address)).collect();
        Ok(Tools {
            store: Arc::clone(etcd) as Arc<dyn Store>,
            keys: Keys::new(&self.system.topology.name),
            database: actuator.map(|a| Arc::new(a) as Arc<dyn DatabaseActuator>),
            members,
            peers: others.map(|r| (r.name.clone(), r.node.control)).collect(),
            secret: self.secret.clone(),
            fence: Arc::clone(&self.fence),
            memory: self.memory.clone(),
            losses: self.losses.clone(),
            metrics: self.metrics.clone(),
            steps: Arc::new(Steps {
                here: here.clone(),
                database: database.clone(),
                views,
                compute: Arc::clone(compute),
                asks: Asks::new(Arc::clone(etcd) as Arc<dyn Store>, Keys::new(&self.system.topology.name)),
                outside: Outside::new(self.region.node.data_dir.clone())?,
            }),
        })
    }
}
