//! The files that steps of recovery plans need on this machine: programs, secrets, folders.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::facts::PlanFile;
use meridian_model::plan::{Exec, Notify, OnFailure, Secretive, Task};
use meridian_model::{RegionName, System};

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is run.
    Program,
    /// It is read.
    Secret,
    /// A program runs in it.
    Folder,
}

/// Those that could not be used by a step that this node may act in: of the plans whose database has a member here.
pub(super) async fn absent(system: &System, here: &RegionName) -> Vec<PlanFile> {
    let mut found: Vec<PlanFile> = Vec::new();
    for database in system.databases.iter().filter(|d| d.member(here).is_some()) {
        let plan = crate::assemble::plan_of(system, database);
        for work in plan.graceful.iter().chain(&plan.ungraceful) {
            for (path, used) in needed(&work.task) {
                let told = |f: &PlanFile| f.step == work.name && Path::new(&f.file) == path;
                if found.iter().any(|f| f.group == database.name && told(f)) {
                    continue;
                }
                if let Some(problem) = wrong(&path, used).await {
                    found.push(PlanFile {
                        group: database.name.clone(),
                        step: work.name.clone(),
                        goes_on: work.on_failure == OnFailure::Continue,
                        file: path.display().to_string(),
                        problem,
                    });
                }
            }
        }
    }
    found
}

fn needed(task: &Task) -> Vec<(PathBuf, Use)> {
    match task {
        Task::Exec(Exec { command, env_files, directory, .. }) => {
            let program = command.first().map(|program| (program.into(), Use::Program));
            let secrets = env_files.iter().map(|(_, file)| (file.clone(), Use::Secret));
            let folder = directory.iter().map(|folder| (folder.clone(), Use::Folder));
            program.into_iter().chain(secrets).chain(folder).collect()
        }
        Task::Notify { to, .. } => {
            let (url, key) = match to {
                Notify::Webhook { url } | Notify::Slack { url } => (url, None),
                Notify::Pagerduty { url, routing_key_file } => (url, Some(routing_key_file.clone())),
            };
            let url = match url {
                Secretive::File(file) => Some(file.clone()),
                Secretive::Open(_) => None,
            };
            url.into_iter().chain(key).map(|file| (file, Use::Secret)).collect()
        }
        _ => Vec::new(),
    }
}

/// What is wrong with it; a disk that does not answer is not waited for.
async fn wrong(path: &Path, used: Use) -> Option<String> {
    let looked = tokio::time::timeout(ANSWERS_WITHIN, look(path, used)).await;
    looked.unwrap_or_else(|_| Some(format!("cannot be looked at within {} s", ANSWERS_WITHIN.as_secs())))
}

async fn look(path: &Path, used: Use) -> Option<String> {
    let about = match tokio::fs::metadata(path).await {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some("does not exist".to_owned());
        }
        Err(error) => return Some(format!("cannot be looked at: {error}")),
    };
    match used {
        Use::Folder => (!about.is_dir()).then(|| "is no folder".to_owned()),
        _ if !about.is_file() => Some("is no file".to_owned()),
        Use::Program => (about.permissions().mode() & 0o111 == 0).then(|| "is not executable".to_owned()),
        Use::Secret => {
            tokio::fs::File::open(path).await.err().map(|error| format!("cannot be read: {error}"))
        }
    }
}

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use meridian_model::Name;
    use meridian_model::plan::{Form, PlannedStep, Work};

    use super::*;
    use crate::testing::{here, system};

    #[tokio::test]
    async fn programs_secrets_and_folders_are_looked_at_as_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (program, secret) = (file("program", 0o755), file("secret", 0o600));
        let missing = folder.path().join("missing");
        for (path, used, told) in [
            (&program, Use::Program, None),
            (&secret, Use::Program, Some("is not executable")),
            (&missing, Use::Program, Some("does not exist")),
            (&secret, Use::Secret, None),
            (&missing, Use::Secret, Some("does not exist")),
            (&folder.path().to_owned(), Use::Secret, Some("is no file")),
            (&folder.path().to_owned(), Use::Folder, None),
            (&secret, Use::Folder, Some("is no folder")),
        ] {
            assert_eq!(wrong(path, used).await.as_deref(), told, "{} as {used:?}", path.display());
        }
    }

    #[tokio::test]
    async fn a_node_tells_what_the_plans_of_its_members_lack() {
        let name = |text: &str| Name::new(text).unwrap();
        let mut system = system();
        let exec = Exec {
            command: vec!["/nowhere/program".to_owned(), "/nowhere/argument".to_owned()],
            env: Vec::new(),
            env_files: vec![("TOKEN".to_owned(), "/nowhere/token".into())],
            directory: None,
            output_max: 1,
        };
        let work = Work::new(name("caches"), Task::Exec(exec), Duration::from_secs(1));
        let mut plan = meridian_planner::derive(&system, &system.databases[0]);
        plan.steps.push(PlannedStep { form: Form::Always, work });
        system.plans = vec![plan];
        let told = absent(&system, &here()).await;
        let files: Vec<&str> = told.iter().map(|f| f.file.as_str()).collect();
        assert_eq!(files, ["/nowhere/program", "/nowhere/token"]);
        assert!(told.iter().all(|f| f.problem == "does not exist" && f.step == name("caches") && !f.goes_on));
        assert_eq!(absent(&system, &name("nowhere")).await, []);
    }
}
