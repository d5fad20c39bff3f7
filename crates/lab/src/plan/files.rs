//! The files of a lab: where they lie, who may read them, what is made new and what is kept.
//!
//! Every folder on the way to a data directory can be passed by the user that PostgreSQL runs as (mode
//! 0711); what is secret has mode 0600.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use meridian_model::{GroupName, RegionName, ServiceName, System};

use super::made_for::MadeFor;
use crate::error::LabError;

/// The paths of one lab.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn region(&self, region: &RegionName) -> PathBuf {
        self.dir.join(region.as_str())
    }

    pub(crate) fn spec(&self, region: &RegionName) -> PathBuf {
        self.region(region).join("spec.yaml")
    }

    pub(crate) fn node(&self, region: &RegionName) -> PathBuf {
        self.region(region).join("node")
    }

    pub(crate) fn etcd(&self, region: &RegionName) -> PathBuf {
        self.region(region).join("etcd")
    }

    pub(crate) fn postgres(&self, region: &RegionName, group: &GroupName) -> PathBuf {
        self.region(region).join("postgres").join(group.as_str())
    }

    pub(crate) fn log(&self, region: &RegionName, part: &str) -> PathBuf {
        self.region(region).join(format!("{part}.log"))
    }

    fn secrets(&self) -> PathBuf {
        self.dir.join("secrets")
    }

    pub(crate) fn control_secret(&self) -> PathBuf {
        self.secrets().join("control")
    }

    pub(crate) fn password(&self, group: &GroupName) -> PathBuf {
        self.secrets().join(format!("{group}-superuser"))
    }

    pub(crate) fn app_password(&self, group: &GroupName) -> PathBuf {
        self.secrets().join(format!("{group}-app"))
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    pub(crate) fn certificate(&self, service: &ServiceName) -> PathBuf {
        self.secrets().join(format!("{service}.pem"))
    }

    pub(crate) fn key(&self, service: &ServiceName) -> PathBuf {
        self.secrets().join(format!("{service}.key"))
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Makes all folders and secrets that are not there; the specs are written anew. What the data of an
    /// earlier run that is there was made for.
    pub(crate) fn prepare(
        &self,
        system: &System,
        run_as: &str,
        made_for: &MadeFor,
    ) -> Result<Option<MadeFor>, LabError> {
        let before = MadeFor::read(&self.dir);
        before.iter().try_for_each(|before| made_for.refuse(before, &self.dir))?;
        folder(&self.dir, 0o711)?;
        folder(&self.secrets(), 0o711)?;
        let postgres = Account::named(run_as);
        for region in system.region_names() {
            folder(&self.region(region), 0o711)?;
            // PostgreSQL's user works in folders that the node makes there.
            folder(&self.node(region), 0o711)?;
            folder(&self.etcd(region), 0o700)?;
            let above_data = self.region(region).join("postgres");
            folder(&above_data, 0o711)?;
            postgres.own(&above_data)?;
        }
        secret(&self.control_secret())?;
        for database in &system.databases {
            for file in [self.password(&database.name), self.app_password(&database.name)] {
                secret(&file)?;
                postgres.own(&file)?;
            }
        }
        self.certificates(system)?;
        made_for.write(&self.dir)?;
        Ok(before)
    }

    /// An authority for this lab, and a certificate for each service that does not have one yet.
    fn certificates(&self, system: &System) -> Result<(), LabError> {
        let there = |s: &meridian_model::service::Service| self.certificate(&s.name).exists();
        if self.ca().exists() && system.services.iter().all(there) {
            return Ok(());
        }
        let wrong = |e: rcgen::Error| LabError::Certificates(e.to_string());
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Meridian lab");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().map_err(wrong)?;
        let authority = params.self_signed(&authority_key).map_err(wrong)?;
        let issuer = rcgen::Issuer::new(params, authority_key);
        for service in &system.services {
            let key = rcgen::KeyPair::generate().map_err(wrong)?;
            let mut leaf = rcgen::CertificateParams::new(service.hosts.clone()).map_err(wrong)?;
            let name = service.hosts.first().map_or(service.name.as_str(), String::as_str);
            leaf.distinguished_name.push(rcgen::DnType::CommonName, name);
            let certificate = leaf.signed_by(&key, &issuer).map_err(wrong)?;
            write_private(&self.key(&service.name), key.serialize_pem().as_bytes())?;
            write_private(&self.certificate(&service.name), certificate.pem().as_bytes())?;
        }
        fs::write(self.ca(), authority.pem()).map_err(LabError::file("write", self.ca()))
    }
}

fn folder(path: &Path, mode: u32) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(LabError::file("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(LabError::file("set the mode of", path))
}

/// 128 random bits in hexadecimal, made once.
fn secret(path: &Path) -> Result<(), LabError> {
    if path.exists() {
        return Ok(());
    }
    let mut random = [0; 16];
    let urandom = Path::new("/dev/urandom");
    fs::File::open(urandom)
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(LabError::file("read", urandom))?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, text.as_bytes())
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), LabError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&new).and_then(|mut file| file.write_all(content));
    written.and_then(|()| fs::rename(&new, path)).map_err(LabError::file("write", path))
}

/// The account that PostgreSQL runs as, when we may give files away.
#[derive(Debug, Clone, Copy)]
struct Account(Option<(u32, u32)>);

impl Account {
    /// Looked up in `/etc/passwd`; nobody when we are not root, or when there is no such user (the node
    /// says so then, better than the lab can).
    fn named(name: &str) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let line = table.lines().find(|l| l.split(':').next() == Some(name));
        Self(line.and_then(|l| {
            let mut fields = l.split(':').skip(2).map_while(|f| f.parse().ok());
            Some((fields.next()?, fields.next()?))
        }))
    }

    fn own(self, path: &Path) -> Result<(), LabError> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(LabError::file("give away", path))
    }
}
