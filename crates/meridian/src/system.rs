//! The system that a command is about: the lab that runs here, or the one that a spec names; and how to
//! ask its nodes.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::{Method, StatusCode};
use meridian_lab::control;
use meridian_model::topology::Region;
use meridian_model::{GroupName, RegionName, System};
use meridian_node::peer::{Question, ask};
use meridian_node::secret::Secret;
use meridian_node::status::{GroupStatus, NodeStatus, STATUS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::{No, Output, Waiting};

mod person;

pub(crate) use person::{Person, user};

/// How long one node may take to tell what it knows, which it has at hand.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long one node may take to do what it is asked, for which it needs etcd.
const DONE_WITHIN: Duration = Duration::from_secs(4);
/// After so long a terminal is told who is waited for, and as often again.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Which system.
#[derive(Args)]
pub(crate) struct Place {
    /// A file of the system's spec, or a folder of files (may be given several times). None: the lab that runs here.
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Vec<PathBuf>,
    /// Which lab, when several run: its number or name.
    #[arg(long, conflicts_with = "spec")]
    pub(crate) lab: Option<String>,
    /// The data group; needed only when there are several.
    #[arg(long)]
    pub(crate) group: Option<GroupName>,
}

/// Which system, and how to print.
#[derive(Args)]
pub(crate) struct Which {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// The nodes of a system.
pub(crate) struct Nodes {
    /// What everybody was told to do.
    pub(crate) system: System,
    secret: Secret,
    runtime: tokio::runtime::Runtime,
}

impl Which {
    /// See [`Place::nodes`].
    pub(crate) fn nodes(&self) -> anyhow::Result<Result<Nodes, ExitCode>> {
        self.place.nodes()
    }

    /// See [`Place::group`].
    pub(crate) fn group(&self, system: &System) -> anyhow::Result<GroupName> {
        self.place.group(system)
    }
}

impl Place {
    /// The nodes that are meant; an exit code where the spec has faults, which were told.
    pub(crate) fn nodes(&self) -> anyhow::Result<Result<Nodes, ExitCode>> {
        Ok(match self.system()? {
            Ok(system) => Ok(Nodes::of(system)?),
            Err(code) => Err(code),
        })
    }

    /// The system that is meant, of which nobody is asked; an exit code where the spec has faults, which were told.
    pub(crate) fn system(&self) -> anyhow::Result<Result<System, ExitCode>> {
        let read = if self.spec.is_empty() { self.lab()? } else { crate::check::read_or_report(&self.spec)? };
        Ok(read.ok_or(ExitCode::FAILURE))
    }

    /// A lab writes one spec a region. Each node is reached by the address that its own spec gives it: by another's
    /// the question would cross the emulated network, and end where that region is lost.
    fn lab(&self) -> anyhow::Result<Option<System>> {
        let running = control::running();
        anyhow::ensure!(
            !running.is_empty(),
            "no lab runs here: start one with `meridian lab up SPEC`, \
             or name the spec of a system that runs elsewhere with `--spec FILE`"
        );
        let holder = control::choose(&running, self.lab.as_deref())?;
        let specs = meridian_lab::specs_of(&holder);
        let specs = specs.with_context(|| format!("the lab in {}", holder.dir.display()))?;
        let Some(first) = specs.first() else { return Ok(None) };
        let Some(mut system) = crate::check::read_or_report(std::slice::from_ref(first))? else {
            return Ok(None);
        };
        for spec in specs {
            let Some(own) = crate::check::read_again(spec.clone())? else { continue };
            let name = spec.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let same = |region: &&Region| Some(region.name.as_str()) == name;
            let home = own.topology.regions.iter().find(same).map(|region| region.node.control);
            let known = system.topology.regions.iter_mut().find(|region| Some(region.name.as_str()) == name);
            if let (Some(region), Some(address)) = (known, home) {
                region.node.control = address;
            }
        }
        Ok(Some(system))
    }

    /// The words by which a command that is told to a person finds this same system, and that group where there are
    /// several: to stand at the command's end.
    pub(crate) fn words(&self, system: &System, group: Option<&GroupName>) -> String {
        let spec = self.spec.iter().map(|file| format!(" --spec {}", quoted(&file.to_string_lossy())));
        let lab = self.lab.iter().map(|lab| format!(" --lab {}", quoted(lab)));
        let group = group.filter(|_| system.databases.len() > 1).map(|group| format!(" --group {group}"));
        spec.chain(lab).chain(group).collect()
    }

    /// The group that is meant.
    pub(crate) fn group(&self, system: &System) -> anyhow::Result<GroupName> {
        let names: Vec<&str> = system.databases.iter().map(|d| d.name.as_str()).collect();
        match (&self.group, system.databases.as_slice()) {
            (Some(group), all) if all.iter().any(|d| d.name == *group) => Ok(group.clone()),
            (Some(group), _) => {
                anyhow::bail!("there is no data group `{group}`; there are: {}", names.join(", "))
            }
            (None, [only]) => Ok(only.name.clone()),
            (None, []) => anyhow::bail!("the spec has no database"),
            (None, _) => anyhow::bail!("name the data group with --group: {}", names.join(", ")),
        }
    }
}

/// As a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:+,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The region of that name.
///
/// # Errors
/// There is none; and which there are.
pub(crate) fn known<'s>(system: &'s System, region: &RegionName) -> anyhow::Result<&'s Region> {
    system.region(region).with_context(|| {
        let names: Vec<&str> = system.region_names().map(RegionName::as_str).collect();
        format!("there is no region `{region}`; there are: {}", names.join(", "))
    })
}

/// Nobody is there to answer the question.
pub(crate) fn no_answer() -> anyhow::Error {
    No("no node answers: is the system up, and are its control addresses reachable from here?".to_owned())
        .into()
}

impl Nodes {
    /// The nodes of that system.
    ///
    /// # Errors
    /// They cannot be asked: the spec says not where they are, or the secret cannot be read.
    pub(crate) fn of(system: System) -> anyhow::Result<Self> {
        anyhow::ensure!(
            system.topology.regions.iter().all(|region| region.node.placed()),
            "the spec gives its regions no `address`, so it is one for `meridian lab up`; \
             a lab that runs here is found without --spec"
        );
        let secret = Secret::read(&system.topology.coordination.control_secret_file)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { system, secret, runtime })
    }

    /// Nothing for so long.
    pub(crate) fn pause(&self, time: Duration) {
        // The timer must be made inside the runtime.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Ctrl-C from now on, which then no longer ends this program by itself.
    pub(crate) fn interrupts(&self) -> std::io::Result<Signal> {
        let _within = self.runtime.enter();
        signal(SignalKind::interrupt())
    }

    /// Nothing for so long; true at once when somebody interrupts, or has done so meanwhile.
    pub(crate) fn interrupted_within(&self, time: Duration, interrupts: &mut Signal) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                _ = interrupts.recv() => true,
                () = tokio::time::sleep(time) => false,
            }
        })
    }

    /// What every node that answers knows, the best informed first: those that reach etcd, and of these the
    /// ones that know the newest reign.
    pub(crate) fn statuses(&self) -> Vec<NodeStatus> {
        let answers = self.get(STATUS).into_iter();
        let mut nodes: Vec<NodeStatus> = answers.filter_map(|(_, answer)| answer.ok()).collect();
        let epoch = |n: &NodeStatus| n.groups.iter().map(|g| g.epoch).max();
        nodes.sort_by_key(|n| std::cmp::Reverse((n.coordination.reachable, epoch(n))));
        nodes
    }

    /// The group as the best informed node sees it.
    ///
    /// # Errors
    /// No node answers, or none knows the group.
    pub(crate) fn group(&self, name: &GroupName) -> anyhow::Result<GroupStatus> {
        let nodes = self.statuses();
        let found = nodes.into_iter().find_map(|node| node.groups.into_iter().find(|g| &g.group == name));
        found.ok_or_else(no_answer)
    }

    /// What the node of every region answers, or why it has no answer; all are asked at once.
    pub(crate) fn get<A: DeserializeOwned>(
        &self,
        path: &'static str,
    ) -> Vec<(RegionName, Result<A, String>)> {
        let regions = &self.system.topology.regions;
        let open = &Open::of(regions.iter().map(|region| &region.name));
        let asked = regions.iter().map(|region| async move {
            let answer = self.told(region, path).await;
            open.answered(&region.name);
            (region.name.clone(), answer)
        });
        self.wait(open, join_all(asked))
    }

    /// Gives it to the first node that answers and reaches etcd, and to the next until one has taken it.
    ///
    /// # Errors
    /// [`No`] with the node's words when it refuses, or why none answers.
    pub(crate) fn post<A: DeserializeOwned>(
        &self,
        path: &'static str,
        body: &impl Serialize,
    ) -> anyhow::Result<A> {
        let body = serde_json::to_vec(body)?;
        let regions = &self.system.topology.regions;
        let open = Open::of(regions.iter().map(|region| &region.name));
        let mut last = String::new();
        let mut asked: FuturesUnordered<_> =
            regions.iter().map(|region| async move { (region, self.told(region, STATUS).await) }).collect();
        let taken = self.wait(&open, async {
            let mut others = Vec::new();
            while let Some((region, status)) = asked.next().await {
                open.answered(&region.name);
                let reaches =
                    |status: Value| status.pointer("/coordination/reachable") == Some(&Value::Bool(true));
                match status.map(reaches) {
                    Ok(true) => match self.done(region, path, &body).await? {
                        Ok(answer) => return Ok(Some(answer)),
                        Err(why) => last = why,
                    },
                    Ok(false) => others.push(region),
                    Err(why) => last = format!("the node of {} does not answer: {why}", region.name),
                }
            }
            for region in others {
                match self.done(region, path, &body).await? {
                    Ok(answer) => return Ok(Some(answer)),
                    Err(why) => last = why,
                }
            }
            anyhow::Ok(None)
        })?;
        taken.ok_or_else(|| No(format!("no node has taken it: {last}")).into())
    }

    /// Asks the node of one region and no other: what it tells is for the asker alone.
    ///
    /// # Errors
    /// [`No`] with the node's words when it refuses, or why it does not answer.
    pub(crate) fn post_to<A: DeserializeOwned>(
        &self,
        region: &RegionName,
        path: &'static str,
        body: &impl Serialize,
    ) -> anyhow::Result<A> {
        let body = serde_json::to_vec(body)?;
        let region = known(&self.system, region)?;
        let open = Open::of(std::iter::once(&region.name));
        self.wait(&open, self.done(region, path, &body))?.map_err(|why| No(why).into())
    }

    /// What a node knows, or why it does not tell.
    async fn told<A: DeserializeOwned>(&self, region: &Region, path: &'static str) -> Result<A, String> {
        let question = Question { method: Method::GET, path, body: Vec::new() };
        match ask(region.node.control, &self.secret, question, TOLD_WITHIN).await {
            Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).map_err(|e| e.to_string()),
            Ok((status, body)) => Err(said(status, &body)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Within: why the node has no answer. Without: it refuses, which another one would do too.
    async fn done<A: DeserializeOwned>(
        &self,
        region: &Region,
        path: &'static str,
        body: &[u8],
    ) -> anyhow::Result<Result<A, String>> {
        let name = &region.name;
        let question = Question { method: Method::POST, path, body: body.to_vec() };
        let (status, body) = match ask(region.node.control, &self.secret, question, DONE_WITHIN).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(format!("the node of {name} does not answer: {error}"))),
        };
        match status {
            StatusCode::OK => Ok(serde_json::from_slice(&body)
                .map_err(|error| format!("the answer of the node of {name} cannot be read: {error}"))),
            StatusCode::CONFLICT => Err(No(String::from_utf8_lossy(&body).trim().to_owned()).into()),
            status => Ok(Err(format!("the node of {name} says {}", said(status, &body)))),
        }
    }

    /// Waits for the answers of nodes; when it takes longer than one would think, a terminal is told for whom.
    fn wait<T>(&self, open: &Open<'_>, answers: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let (mut line, mut answers) = (Waiting::default(), pin!(answers));
            loop {
                match tokio::time::timeout(TOLD_AFTER, answers.as_mut()).await {
                    Ok(answers) => return answers,
                    Err(_) => line.show(&open.text()),
                }
            }
        })
    }
}

/// Whose answers are still to come.
struct Open<'r>(RefCell<Vec<&'r RegionName>>);

impl<'r> Open<'r> {
    fn of(regions: impl Iterator<Item = &'r RegionName>) -> Self {
        Self(RefCell::new(regions.collect()))
    }

    fn answered(&self, region: &RegionName) {
        self.0.borrow_mut().retain(|open| *open != region);
    }

    fn text(&self) -> String {
        let open: Vec<&str> = self.0.borrow().iter().map(|region| region.as_str()).collect();
        format!("waiting for {} \u{2026}", open.join(", "))
    }
}

fn said(status: StatusCode, body: &[u8]) -> String {
    format!("{status}: {}", String::from_utf8_lossy(body).trim())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc;

    use super::*;

    pub(crate) fn nodes() -> Nodes {
        let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/three-regions.yaml");
        let system = crate::check::read_or_report(&[spec.into()]).unwrap().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a secret of the tests").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Nodes { system, secret: Secret::read(file.path()).unwrap(), runtime }
    }

    #[test]
    fn a_command_that_is_told_finds_the_same_system() {
        let place = |spec: &[&str], lab: Option<&str>| Place {
            spec: spec.iter().map(PathBuf::from).collect(),
            lab: lab.map(str::to_owned),
            group: None,
        };
        let (mut system, group) = (nodes().system, GroupName::new("orders").unwrap());
        assert_eq!(place(&[], None).words(&system, Some(&group)), "");
        assert_eq!(place(&[], Some("2")).words(&system, None), " --lab 2");
        let two = place(&["a/b.yaml", "it's mine"], None).words(&system, None);
        assert_eq!(two, r" --spec a/b.yaml --spec 'it'\''s mine'");
        system.databases.push(system.databases[0].clone());
        assert_eq!(place(&[], Some("2")).words(&system, Some(&group)), " --lab 2 --group orders");
    }

    /// The timer was made outside the runtime once: every command that waited panicked.
    #[test]
    fn a_command_can_wait_between_two_looks() {
        nodes().pause(Duration::from_millis(1));
    }

    /// A node that answers what it is asked for with `status`, and what it is to do with its name. It tells what it was
    /// asked to do.
    fn node(name: &'static str, status: &'static str) -> (SocketAddr, mpsc::Receiver<&'static str>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, (done, asked)) = (listener.local_addr().unwrap(), mpsc::channel());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut reader = BufReader::new(connection.unwrap());
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                for line in reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()) {
                    length = line.strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                let order = first.starts_with("POST");
                let answer = if order { format!("\"{name}\"") } else { status.to_owned() };
                if order {
                    done.send(name).unwrap();
                }
                let length = answer.len();
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}");
                reader.into_inner().write_all(text.as_bytes()).unwrap();
            }
        });
        (address, asked)
    }

    /// The nodes were asked one after the other: each that was frozen cost four seconds.
    #[test]
    fn an_order_goes_to_the_first_node_that_answers_and_reaches_etcd() {
        // It takes connections and never answers, as one that is frozen; another is gone.
        let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
        let frozen_at = frozen.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut nodes = nodes();
        let mut give = |addresses: [SocketAddr; 3]| {
            for (region, address) in nodes.system.topology.regions.iter_mut().zip(addresses) {
                region.node.control = address;
            }
            nodes.post::<String>("/v1/orders", &()).map_err(|error| error.to_string())
        };
        let (alone, of_alone) = node("alone", r#"{"coordination": {"reachable": false}}"#);
        let (well, of_well) = node("well", r#"{"coordination": {"reachable": true}}"#);
        assert_eq!(give([frozen_at, alone, well]).as_deref(), Ok("well"));
        assert_eq!((of_well.try_recv(), of_alone.try_recv()), (Ok("well"), Err(mpsc::TryRecvError::Empty)));
        // Where none reaches etcd, a node says why it cannot.
        assert_eq!(give([alone, gone, gone]).as_deref(), Ok("alone"));
        assert!(give([gone; 3]).unwrap_err().starts_with("no node has taken it: the node of"));
        // With the runtime the connections end.
        drop(nodes);
        frozen.set_nonblocking(true).unwrap();
        let asked: Vec<_> = frozen.incoming().map_while(Result::ok).collect();
        assert!(!asked.is_empty(), "it was asked whether it is there");
        for mut connection in asked {
            let mut text = String::new();
            connection.read_to_string(&mut text).unwrap();
            assert!(!text.contains("POST"), "it was to do it: {text}");
        }
    }

    #[test]
    fn who_waits_is_told_for_whom() {
        let names = ["us-east-1", "eu-central-1"].map(|name| RegionName::new(name).unwrap());
        let open = Open::of(names.iter());
        open.answered(&names[0]);
        assert_eq!(open.text(), "waiting for eu-central-1 \u{2026}");
    }
}
