//! Guards that stand still, or cannot be started. Real processes, but no guards: they only sleep.

use std::os::unix::fs::symlink;
use std::sync::mpsc::channel;

use super::*;

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A keeper of processes that take no orders, each from that file; what it is told of them, and its numbers.
struct Rig {
    keeper: Keeper,
    inbox: Receiver<Order>,
    _orders: Arc<SyncSender<Order>>,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("guard");
        symlink("/bin/sleep", &program).unwrap();
        let command = vec![program.clone().into_os_string(), "600".into()];
        let (data_dir, log) = (folder.path().join("data"), folder.path().join("guard.log"));
        let (orders, inbox) = sync_channel(ORDERS_WAITING);
        let (orders, written) = (Arc::new(orders), Arc::new(AtomicU64::new(0)));
        let post = Post { command, data_dir, door: None, log };
        let mut keeper = Keeper::new(Spawner::start().unwrap(), post, &orders, &written).unwrap();
        keeper.start().unwrap();
        Self { keeper, inbox, _orders: orders, program, folder }
    }

    fn pid(&self) -> u32 {
        self.keeper.child.as_ref().unwrap().pid()
    }

    fn lives(&self) -> bool {
        self.keeper.child.as_ref().unwrap().exit().is_none()
    }

    /// Waits until the process of that number has ended.
    fn gone(&self, number: u64) {
        let Order::Gone(gone) = self.inbox.recv_timeout(PATIENCE).unwrap() else { panic!("another order") };
        assert_eq!(gone, number);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(child) = &self.keeper.child {
            child.signal(Signal::KILL);
        }
    }
}

/// The keeper waited for room in its pipe for ever, and heard nothing of the commits that waited.
#[test]
fn a_guard_that_takes_no_orders_is_replaced_when_its_pipe_is_full() {
    let (done, ended) = channel();
    thread::spawn(move || {
        let mut rig = Rig::new();
        let first = rig.pid();
        let mut number = 0;
        while rig.pid() == first {
            number += 1;
            rig.keeper.obey(Order::Fence(number, Some(Moment::from_nanos(number))));
        }
        rig.gone(1);
        assert!(rig.lives(), "the next one");
        assert_eq!(rig.keeper.written.load(Ordering::SeqCst), number, "it has been told");
        done.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).unwrap();
}

/// Where no deadline came any more, nobody tried again.
#[test]
fn a_guard_that_could_not_be_started_is_started_when_it_is_missed() {
    let mut rig = Rig::new();
    std::fs::remove_file(&rig.program).unwrap();
    rig.keeper.obey(Order::Replace);
    rig.gone(1);
    rig.keeper.obey(Order::Gone(1));
    assert!(!rig.lives(), "there is no program");
    rig.keeper.obey(Order::Replace);
    assert!(!rig.lives());
    symlink("/bin/sleep", &rig.program).unwrap();
    rig.keeper.obey(Order::Replace);
    assert!(rig.lives());
    assert!(rig.folder.path().join("guard.log").exists());
}
