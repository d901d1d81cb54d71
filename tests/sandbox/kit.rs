//! What tests of cells need, where everybody can read it; and the same test again as somebody else.

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use chatimg::lock::Group;
use chatimg::sandbox::{self, Cell, SandboxError};
use tempfile::TempDir;

use crate::project::{Project, chatimg, text};

/// Says to a test that it was started anew as somebody else: where all is that it needs.
pub const KIT: &str = "CHATIMG_TEST_KIT";
pub const PYTHON: &str = "usr/bin/python3.13";

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What tests need, where everybody can read it.
pub struct Kit {
    pub dir: PathBuf,
    /// Removes the folder in the end.
    _temporary: Option<TempDir>,
}

impl Kit {
    pub fn get() -> Self {
        match env::var_os(KIT) {
            Some(dir) => {
                let dir = PathBuf::from(dir);
                sandbox::made_by(&dir.join("chatimg"));
                Self { dir, _temporary: None }
            }
            None => {
                sandbox::made_by(Path::new(chatimg()));
                Self::new()
            }
        }
    }

    fn new() -> Self {
        let temporary = folder();
        let dir = temporary.path().to_owned();
        let copy = |from: &Path, to: &str| {
            let to = dir.join(to);
            fs::hard_link(from, &to).or_else(|_| fs::copy(from, &to).map(drop)).unwrap();
        };
        copy(Path::new(chatimg()), "chatimg");
        copy(&env::current_exe().unwrap(), "test");
        let (tools, _) = Project::open().tools(Group::Build);
        copy(&tools.path("usr/bin/busybox"), "busybox");
        Self { dir, _temporary: Some(temporary) }
    }

    /// Adds Python, unless it is there.
    pub fn with_python(self) -> Self {
        let usr = self.dir.join("usr");
        if usr.exists() {
            return self;
        }
        let (tools, _) = Project::open().tools(Group::Build);
        copy_python(&tools, &self.dir);
        self
    }

    /// An empty root with busybox.
    pub fn cell(&self) -> (TempDir, Cell) {
        let dir = folder();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        fs::copy(self.dir.join("busybox"), dir.path().join("bin/busybox")).unwrap();
        let cell = Cell::new(dir.path());
        (dir, cell)
    }
}

pub fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Python and all libraries of the closure.
fn copy_python(tools: &chatimg::tools::Tools, to: &Path) {
    for path in ["usr/bin", "usr/lib"] {
        fs::create_dir_all(to.join(path)).unwrap();
    }
    for path in [PYTHON, "usr/lib/python3.13", "usr/lib64", "usr/lib/x86_64-linux-gnu"] {
        let copied = Command::new("cp").arg("-a").arg(tools.path(path)).arg(to.join(path)).status();
        assert!(copied.unwrap().success(), "{path}");
    }
}

/// Runs the test of this name again as nobody, and as root without user namespaces.
pub fn as_everybody(name: &str, kit: &Kit) {
    if !is_root() || env::var_os(KIT).is_some() {
        return;
    }
    let again = |mut command: Command| {
        command.arg(kit.dir.join("test")).args([name, "--exact", "--nocapture"]).env(KIT, &kit.dir);
        command.current_dir("/").env_remove("TMPDIR");
        let output = command.output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{command:?}: {said}");
        println!("{said}");
    };
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    again(nobody);
    let space = Space::new();
    again(space.command());
}

/// A user namespace with all users, in which there can be no other.
pub struct Space(Child);

impl Space {
    pub fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295").unwrap();
        }
        Self(child)
    }

    /// The beginning of a command in it.
    pub fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
        command
            .arg("--user")
            .arg(format!("--target={}", self.0.id()))
            .args(["sh", "-c", script, "sh"]);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What a shell of the cell says, if it ends well.
pub fn says(cell: &Cell, script: &str) -> String {
    let output = shell(cell, script).unwrap_or_else(|error| panic!("{script}: {error}"));
    assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn shell(cell: &Cell, script: &str) -> Result<Output, SandboxError> {
    let script = format!("b=/bin/busybox; {script}");
    cell.run(&["/bin/busybox", "sh", "-c", &script])
}
