//! The administrator's way in: OpenSSH of the tools closure with a key made for this test.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::failure::TestFailure;
use super::text::quoted;
use crate::tools::Tools;

const KEY: &str = "id";
const KNOWN: &str = "known_hosts";
/// How the names of kept connections' sockets end.
const SOCKET: &str = "-ssh.sock";

/// Who logs in, and how.
#[derive(Debug)]
pub(super) struct Client<'a> {
    tools: &'a Tools,
    work: PathBuf,
    user: String,
    kept: Option<Kept>,
    /// How many there have been.
    keeps: u32,
}

/// A connection that commands go through: an emulated box takes seconds for one of their own. Dropping it ends it.
#[derive(Debug)]
struct Kept {
    child: Child,
    /// In the work folder.
    socket: String,
}

/// A command that runs over ssh.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// How a command over ssh ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    /// Exit status; -1 if a signal ended it. 255 is also ssh's own failure.
    pub(super) exit: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl<'a> Client<'a> {
    /// Makes a key pair in `work`. Gives back the public half's line too.
    pub(super) fn new(
        tools: &'a Tools,
        work: PathBuf,
        user: &str,
    ) -> Result<(Self, String), TestFailure> {
        let failed = |doing: &str, name: &str| {
            let doing = format!("{doing} {}", work.join(name).display());
            move |source| TestFailure::Io { doing, source }
        };
        for name in [KEY, "id.pub", KNOWN] {
            match std::fs::remove_file(work.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("removing", name)(error));
                }
                _ => (),
            }
        }
        let files = std::fs::read_dir(&work).map_err(failed("listing", ""))?;
        let sockets = files
            .flatten()
            .filter(|file| file.file_name().to_str().is_some_and(|name| name.ends_with(SOCKET)));
        for socket in sockets {
            let name = socket.file_name().to_string_lossy().into_owned();
            std::fs::remove_file(socket.path()).map_err(failed("removing", &name))?;
        }
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", "chatimg-test", "-f", KEY];
        tools.run("usr/bin/ssh-keygen", args, &work, b"")?;
        let public = std::fs::read_to_string(work.join("id.pub"));
        let public = public.map_err(failed("reading", "id.pub"))?.trim().to_owned();
        Ok((Self { tools, work, user: user.to_owned(), kept: None, keeps: 0 }, public))
    }

    fn client(&self, port: u16) -> Command {
        let mut ssh = self.tools.command("usr/bin/ssh");
        ssh.current_dir(&self.work).args(["-F", "none", "-p", &port.to_string(), "-l", &self.user]);
        // The port on this host changes with every start, the box's key must not: hence the alias.
        for option in [
            "HostKeyAlias=box",
            "UserKnownHostsFile=known_hosts",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=accept-new",
            "UpdateHostKeys=no",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ConnectTimeout=60",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=20",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh
    }

    /// Opens a connection for the commands to come, in the background: those that come before it is there, or after it broke,
    /// have one of their own.
    pub(super) fn keep(&mut self, port: u16) -> std::io::Result<()> {
        self.let_go();
        self.keeps += 1;
        let socket = format!("{}{SOCKET}", self.keeps);
        let mut ssh = self.client(port);
        ssh.args(["-i", KEY, "-M", "-S", &socket, "-N", "--", "127.0.0.1"]);
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.kept = Some(Kept { child: ssh.spawn()?, socket });
        Ok(())
    }

    /// Ends that connection: the box may be gone behind it.
    pub(super) fn let_go(&mut self) {
        let socket = self.kept.take().map(|kept| self.work.join(&kept.socket));
        // Killed, it has left that; if it had made it yet.
        _ = socket.map(std::fs::remove_file);
    }

    /// Starts a shell command on the box.
    pub(super) fn start(&self, port: u16, command: &str, stdin: Stdio) -> std::io::Result<Running> {
        let mut ssh = self.client(port);
        if let Some(kept) = self.kept.as_ref().filter(|kept| self.work.join(&kept.socket).exists())
        {
            ssh.args(["-S", &kept.socket]);
        }
        ssh.args(["-i", KEY, "--", "127.0.0.1", command]);
        Running::new(&mut ssh, stdin)
    }

    /// A configuration for the user's own ssh, which finds the box by it as `box`. Its path.
    pub(super) fn configuration(&self, port: u16) -> std::io::Result<PathBuf> {
        let dir = self.work.display();
        let text = format!(
            "Host box\n    HostName 127.0.0.1\n    Port {port}\n    User {}\n    HostKeyAlias box\n    \
             IdentityFile \"{dir}/{KEY}\"\n    IdentitiesOnly yes\n    UserKnownHostsFile \"{dir}/{KNOWN}\"\n    \
             StrictHostKeyChecking accept-new\n    UpdateHostKeys no\n",
            self.user
        );
        let path = self.work.join("ssh_config");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// A script that does what [`Self::start`] does, for `chatimg --rsh`: it gets a host, which is always the box, and
    /// a shell command. Its path.
    pub(super) fn script(&self, port: u16) -> std::io::Result<PathBuf> {
        let mut ssh = self.client(port);
        ssh.args(["-i", KEY, "--", "127.0.0.1"]);
        let words = std::iter::once(ssh.get_program()).chain(ssh.get_args());
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        let dir = quoted(&self.work.to_string_lossy());
        let text = format!("#!/bin/sh\ncd {dir} && exec {} \"$2\"\n", words.join(" "));
        let path = self.work.join("way");
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Starts a login without any proof, which tells what proofs would be taken.
    pub(super) fn start_bare(&self, port: u16) -> std::io::Result<Running> {
        let mut ssh = self.client(port);
        ssh.args(["-o", "PreferredAuthentications=none", "--", "127.0.0.1", "true"]);
        Running::new(&mut ssh, Stdio::null())
    }
}

impl Running {
    /// Starts a program and reads all that it says.
    pub(super) fn new(command: &mut Command, stdin: Stdio) -> std::io::Result<Self> {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Ok(Self { child, stdout, stderr })
    }

    /// What came of it, if it has ended.
    pub(super) fn poll(&mut self) -> std::io::Result<Option<Output>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        Ok(Some(self.output(status)))
    }

    fn output(&mut self, status: ExitStatus) -> Output {
        let text = |handle: Option<JoinHandle<Vec<u8>>>| {
            let bytes = handle.and_then(|handle| handle.join().ok()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        Output { exit: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The ways to log in that ssh names when it is turned away: "Permission denied (publickey)."
pub(super) fn auth_methods(stderr: &str) -> Option<Vec<String>> {
    let (_, tail) = stderr.rsplit_once("Permission denied (")?;
    let (methods, _) = tail.split_once(')')?;
    Some(methods.split(',').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_log_in_are_read() {
        let denied = "admin@127.0.0.1: Permission denied (publickey,password).\n";
        assert_eq!(auth_methods(denied).expect("methods"), ["publickey", "password"]);
        assert_eq!(auth_methods("Connection refused"), None);
    }
}
