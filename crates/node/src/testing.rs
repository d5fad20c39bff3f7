//! A small spec for the unit tests of this crate: three regions, two databases.

use std::sync::Arc;

use meridian_model::{Database, Name, RegionName, Snapshot, System};
use meridian_spec::SourceFile;
use meridian_steering::View;

use crate::secret::Secret;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The region whose node is under test.
pub(crate) fn here() -> RegionName {
    name("us-east-1")
}

pub(crate) fn system() -> System {
    let file = SourceFile { name: "test.yaml".to_owned(), text: SPEC.to_owned() };
    let mut system = meridian_spec::read(&[file]).unwrap();
    let users = Database { name: name("users"), ..system.databases[0].clone() };
    system.databases.push(users);
    system
}

/// A view that knows nothing.
pub(crate) fn view() -> Arc<View> {
    let system = Arc::new(system());
    let unknown = Snapshot::unknown(here(), system.region_names().cloned());
    View::new(system, here(), Arc::new(unknown))
}

pub(crate) fn secret() -> Secret {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a secret of the tests").unwrap();
    Secret::read(file.path()).unwrap()
}

const SPEC: &str = "
apiVersion: meridian.dev/v1alpha1
kind: Topology
metadata:
  name: shop
spec:
  pattern: active-passive
  objectives:
    rto: 60s
    rpo: 5s
  regions:
    - name: us-east-1
      provider: aws
      role: primary
    - name: eu-central-1
      provider: aws
      role: secondary
    - name: ap-southeast-1
      provider: aws
      role: secondary
  users:
    - continent: europe
      share: 100%

---
apiVersion: meridian.dev/v1alpha1
kind: Database
metadata:
  name: orders
spec:
  replication: async
";
