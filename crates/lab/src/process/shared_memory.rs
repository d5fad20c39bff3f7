//! Shared memory that killed PostgreSQL servers have left.
//!
//! A server keeps a System V segment of 56 bytes, whose key is the inode of its data directory, to notice another one on
//! the same data. The next start on that data removes what a killed one has left; when the data is removed nobody does,
//! and the system has room for some thousands only. (What else servers share ends with the data: see
//! `plan/rewrite.rs`.)

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::find_program;

/// How deep below a lab's folder data directories lie.
const DEPTH: usize = 5;

/// Removes the segments of the data directories below `folder` to which no process is attached. What cannot be removed
/// stays: it is small, and harms nobody.
pub(crate) fn release(folder: &Path) {
    let mut directories = Vec::new();
    find(folder, DEPTH, &mut directories);
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let owners = directories.iter().filter_map(|directory| std::fs::metadata(directory).ok());
    let left: Vec<String> = owners.flat_map(|about| abandoned(&table, about.ino(), about.uid())).collect();
    let Ok(program) = find_program("ipcrm", "") else { return };
    if left.is_empty() {
        return;
    }
    let arguments = left.iter().flat_map(|id| ["-m", id]);
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => tracing::warn!(said = %String::from_utf8_lossy(&output.stderr), "ipcrm failed"),
        Err(error) => tracing::warn!(%error, "cannot start ipcrm"),
    }
}

/// PostgreSQL's data directories below `folder`.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if folder.join("global/pg_control").is_file() {
        return found.push(folder.to_owned());
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in folders.filter(|_| depth > 0) {
        find(&entry.path(), depth - 1, found);
    }
}

/// The numbers of the segments in that table (`/proc/sysvipc/shm`) which a server of user `owner` on the data directory
/// with that inode has made, and to which nobody is attached.
fn abandoned(table: &str, inode: u64, owner: u32) -> Vec<String> {
    // PostgreSQL cuts the inode to the size of a key, which the table shows with its sign.
    let [a, b, c, d, ..] = inode.to_le_bytes();
    let key = i32::from_le_bytes([a, b, c, d]).to_string();
    let owner = owner.to_string();
    let of_it = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [k, id, _perms, _size, _creator, _last, attached, _uid, _gid, made_by, ..] = fields.as_slice()
        else {
            return None;
        };
        (*k == key && *attached == "0" && *made_by == owner).then(|| (*id).to_owned())
    };
    table.lines().filter_map(of_it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_of_this_very_directory_is_removed() {
        let table =
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid
  10052972    1540096   600                    56 28881 28881      0   101   104   101   104
  10052973    1540097   600                    56 28881 28881      0   101   104   101   104
  10052972    1540098   600                    56 28881 28881      7   101   104   101   104
  10052972    1540099   600                    56 28881 28881      0   102   104   102   104
        -2    1540100   600                    56 28881 28881      0   101   104   101   104
";
        assert_eq!(abandoned(table, 10_052_972, 101), ["1540096"]);
        assert_eq!(abandoned(table, 0xFFFF_FFFE, 101), ["1540100"]);
        assert_eq!(abandoned(table, (1 << 40) + 10_052_973, 101), ["1540097"]);
    }

    #[test]
    fn data_directories_are_found_and_not_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("us-east-1/postgres/orders");
        for directory in ["global", "base/1/global"] {
            std::fs::create_dir_all(data.join(directory)).unwrap();
            std::fs::write(data.join(directory).join("pg_control"), "").unwrap();
        }
        let mut found = Vec::new();
        find(folder.path(), DEPTH, &mut found);
        assert_eq!(found, [data]);
    }
}
