//! Certificates: read once at the start, chosen by the name that the client asks for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use meridian_model::System;
use meridian_model::service::{Service, TlsFiles};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::error::Error;

/// The acceptor for all services that have a certificate; `None` if none has.
pub(crate) fn acceptor(system: &System) -> Result<Option<TlsAcceptor>, Error> {
    let mut keys = Keys { by_host: HashMap::new(), first: None };
    for service in &system.services {
        let Some(files) = &service.tls else { continue };
        let key = Arc::new(read(service, files)?);
        keys.by_host.extend(service.hosts.iter().map(|host| (host.to_ascii_lowercase(), Arc::clone(&key))));
        keys.first.get_or_insert(key);
    }
    let Some(some) = keys.first.clone() else { return Ok(None) };
    drop(some);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| no_use(system, &error))?;
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(keys));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// One key for each host; clients that name none, or a strange one, get the first and decide
/// themselves.
#[derive(Debug)]
struct Keys {
    by_host: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.by_host.get(&name.to_ascii_lowercase()));
        named.or(self.first.as_ref()).cloned()
    }
}

fn read(service: &Service, files: &TlsFiles) -> Result<CertifiedKey, Error> {
    let bad = |path: &Path, detail: String| Error::TlsFile {
        service: service.name.clone(),
        path: path.to_owned(),
        detail,
    };
    let path = &files.certificate_file;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(path, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(path, "there is no certificate in it".to_owned()));
    }
    let path = &files.key_file;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| bad(path, error.to_string()))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| Error::TlsPair { service: service.name.clone(), detail: error.to_string() })
}

fn no_use(system: &System, error: &rustls::Error) -> Error {
    let service = system.services.iter().find(|s| s.tls.is_some()).map(|s| s.name.clone());
    Error::TlsPair {
        service: service.unwrap_or_else(|| system.topology.name.clone()),
        detail: error.to_string(),
    }
}
