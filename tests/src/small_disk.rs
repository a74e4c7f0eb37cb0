//! A disk that a test can make full and read-only, and whole again.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// A tmpfs, in a user and mount namespace of its own: so nobody has to be root, and
/// everybody of the same user reaches it through the process that holds the namespace. It goes when
/// this is dropped and the last file in it is closed.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Where it is mounted, as the holder sees it.
    mounted: TempDir,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Panics
    /// When this machine does not let a user have a namespace: what needs a full disk must not pass
    /// without one.
    pub fn new(mebibytes: u64) -> Self {
        let mounted = tempfile::tempdir().expect("a temporary directory");
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare (of util-linux) does not run: {error}"));
        let orders = holder.stdin.take().expect("piped");
        let answers = BufReader::new(holder.stdout.take().expect("piped"));
        let inside = mounted.path().strip_prefix("/").expect("it is absolute");
        let path = PathBuf::from(format!("/proc/{}/root", holder.id())).join(inside);
        let mut disk = Self {
            holder,
            orders,
            answers,
            mounted,
            path,
        };
        let place = disk.place();
        disk.order(&format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=700 small-disk {place}"
        ));
        disk
    }

    /// The root of it, for every process of this user.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it as small as leaves room for `mebibytes` beside what is on it now.
    ///
    /// # Panics
    /// When it cannot be resized.
    pub fn leave(&mut self, mebibytes: u64) {
        let place = self.place();
        let used = format!("$(df -Pk {place} | tail -n 1 | tr -s ' ' | cut -d ' ' -f 3)");
        self.order(&format!(
            "mount -o remount,size=$(({used} + {}))k {place}",
            // The kernel takes no 0 for a size.
            (mebibytes << 10).max(4)
        ));
    }

    /// From now on nothing can be written. No file may be open for writing.
    ///
    /// # Panics
    /// When one is.
    pub fn protect(&mut self) {
        let place = self.place();
        self.order(&format!("mount -o remount,ro {place}"));
        let refused = File::create(self.path.join("refused")).expect_err("it is read-only");
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    }

    /// It can be written to again.
    ///
    /// # Panics
    /// When it cannot.
    pub fn unprotect(&mut self) {
        let place = self.place();
        self.order(&format!("mount -o remount,rw {place}"));
    }

    fn place(&self) -> String {
        format!("'{}'", self.mounted.path().display())
    }

    fn order(&mut self, command: &str) {
        let order = format!("{command} 2>&1 && echo done || echo failed\n");
        let mut said = String::new();
        let sent = self.orders.write_all(order.as_bytes());
        while sent.is_ok() && !["done", "failed"].iter().any(|end| said.ends_with(end)) {
            let mut line = String::new();
            if self
                .answers
                .read_line(&mut line)
                .is_ok_and(|bytes| bytes > 0)
            {
                said.push_str(line.trim_end());
            } else {
                break;
            }
        }
        assert!(
            said.ends_with("done"),
            "{command}: {said}; a test of a full disk needs a user namespace of its own: allow it by \
             kernel.unprivileged_userns_clone=1, or run as root with CAP_SYS_ADMIN"
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
