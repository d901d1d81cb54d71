//! The way to a box: the system's own ssh, with the user's configuration, agent and known hosts. Nothing here turns the
//! check of the host's key off.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::interrupt::{self, Interrupted};

/// What ssh itself exits with when there is no connection.
const SSH_FAILED: i32 = 255;
/// How often waiting looks around.
const TICK: Duration = Duration::from_millis(50);
/// Most of a command's output that is kept.
const OUTPUT_MAX: u64 = 16 << 20;

/// Where a box is, and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// `box.example`, `me@box.example`, or a name of the user's ssh configuration.
    pub host: String,
    /// Who logs in, unless `host` says it.
    pub user: Option<String>,
    /// The port; else ssh's configuration decides.
    pub port: Option<u16>,
    /// Options for ssh's `-o`; they go before ours, so they win.
    pub options: Vec<String>,
    /// Another program instead of ssh, as rsync has it: a shell's words, to which host and command are added.
    pub rsh: Option<String>,
}

/// A command on the box cannot be run, or says no.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The program is not there.
    #[error("starting {program} to reach {host}: {source}; is the ssh client installed?")]
    Start {
        /// `ssh`
        program: String,
        /// The box.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No connection, or it broke.
    #[error("{}", broken(host, said))]
    Broken {
        /// The box.
        host: String,
        /// What ssh, or the box's shell, said.
        said: String,
    },
    /// The box refuses.
    #[error("{host}: {error}{}", help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default())]
    Refused {
        /// The box.
        host: String,
        /// Its words.
        error: String,
        /// What to do, in its words.
        help: Option<String>,
    },
    /// Nothing comes.
    #[error(
        "{host} has said nothing for {seconds} s while {doing}; the connection may be dead, or the disks very slow: try \
         again, what it has already is not sent again"
    )]
    Silent {
        /// The box.
        host: String,
        /// What was waited for.
        doing: &'static str,
        /// How long.
        seconds: u64,
    },
    /// It speaks another language.
    #[error(
        "{host} answers what cannot be understood: {why}; is chatimg there of another version?"
    )]
    Protocol {
        /// The box.
        host: String,
        /// What.
        why: String,
    },
    /// The connection cannot be used.
    #[error("talking to {host}: {source}")]
    Io {
        /// The box.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

fn broken(host: &str, said: &str) -> String {
    match said.trim() {
        "" => format!("the connection to {host} ended too early; try again"),
        said => format!("talking to {host}: {said}"),
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; -1: a signal ended it.
    pub exit: i32,
    /// What it printed.
    pub stdout: String,
    /// What it, or ssh, complained of.
    pub stderr: String,
}

impl Output {
    /// Whether there was no connection, or none any more.
    pub fn is_broken(&self) -> bool {
        matches!(self.exit, SSH_FAILED | -1)
    }
}

impl Remote {
    /// The program that runs a shell command on the box.
    pub fn command(&self, command: &str) -> Command {
        self.words(command, "-T")
    }

    fn words(&self, command: &str, terminal: &str) -> Command {
        if let Some(rsh) = &self.rsh {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{rsh} \"$@\""), "rsh", &self.host, command]);
            return shell;
        }
        let mut ssh = Command::new("ssh");
        ssh.arg(terminal);
        self.options.iter().for_each(|option| _ = ssh.args(["-o", option]));
        // A login of its own each: a shared connection would outlive the restart, and would prove nothing.
        for option in [
            "ControlPath=none",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
        ] {
            ssh.args(["-o", option]);
        }
        if let Some(port) = self.port {
            ssh.args(["-p", &port.to_string()]);
        }
        if let Some(user) = self.user.as_ref().filter(|_| !self.host.contains('@')) {
            ssh.args(["-l", user]);
        }
        ssh.args(["--", &self.host, command]);
        ssh
    }

    /// Starts it, all three streams led here.
    pub(super) fn start(&self, command: &str) -> Result<Child, RemoteError> {
        let mut program = self.command(command);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        program.spawn().map_err(|source| self.start_error(source))
    }

    fn start_error(&self, source: io::Error) -> RemoteError {
        let program = if self.rsh.is_some() { "sh" } else { "ssh" };
        RemoteError::Start { program: program.to_owned(), host: self.host.clone(), source }
    }

    pub(super) fn broken(&self, said: &str) -> RemoteError {
        RemoteError::Broken { host: self.host.clone(), said: said.trim().to_owned() }
    }

    /// Runs a command to its end, without input.
    ///
    /// # Errors
    /// It cannot be started, takes longer than `limit`, or the user stops it. What it exits with is no error.
    pub fn run(&self, command: &str, limit: Duration) -> Result<Output, RemoteError> {
        let mut child = self.start(command)?;
        drop(child.stdin.take());
        let (out, err) = (child.stdout.take().map(collect), child.stderr.take().map(collect));
        let deadline = Instant::now() + limit;
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if Instant::now() >= deadline => {
                    let (host, seconds) = (self.host.clone(), limit.as_secs());
                    break Err(RemoteError::Silent { host, doing: "running a command", seconds });
                }
                Ok(None) => {}
                Err(source) => break Err(RemoteError::Io { host: self.host.clone(), source }),
            }
            if let Err(interrupted) = interrupt::check() {
                break Err(interrupted.into());
            }
            std::thread::sleep(TICK);
        };
        let status = ended.inspect_err(|_| end(&mut child))?;
        let text = |from: Option<Receiver<Vec<u8>>>| {
            let bytes = from.and_then(|from| from.recv_timeout(Duration::from_secs(5)).ok());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        Ok(Output { exit: status.code().unwrap_or(-1), stdout: text(out), stderr: text(err) })
    }

    /// Runs a command with this program's own input and output; with `terminal`, it can ask the user.
    ///
    /// # Errors
    /// It cannot be started. What it exits with is no error.
    pub fn pass(&self, command: &str, terminal: bool) -> Result<ExitStatus, RemoteError> {
        let mut program = self.words(command, if terminal { "-t" } else { "-T" });
        program.status().map_err(|source| self.start_error(source))
    }

    /// Runs a command that has to succeed; what it prints.
    ///
    /// # Errors
    /// It does not, or see [`Remote::run`].
    pub fn ask(&self, command: &str, limit: Duration) -> Result<String, RemoteError> {
        let output = self.run(command, limit)?;
        match output.exit {
            0 => Ok(output.stdout),
            _ if output.is_broken() => Err(self.broken(&output.stderr)),
            exit => {
                let (host, said) = (self.host.clone(), output.stderr.trim());
                let error = match said.strip_prefix("error: ").unwrap_or(said) {
                    "" => format!("`{command}` ended with exit status {exit}"),
                    said => said.to_owned(),
                };
                Err(RemoteError::Refused { host, error, help: None })
            }
        }
    }
}

/// Ends a program that was started here.
pub(super) fn end(child: &mut Child) {
    // It may have ended already.
    _ = child.kill();
    _ = child.wait();
}

/// All that comes from a pipe, up to a bound, when it ends.
pub(super) fn collect(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let mut pipe = pipe;
        _ = pipe.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
        _ = send.send(bytes);
    });
    receive
}

/// Waits for what another thread sends, and looks whether the user asked to stop. `None`: it took too long, or the other
/// thread ended.
pub(super) fn receive<T>(from: &Receiver<T>, limit: Duration) -> Result<Option<T>, Interrupted> {
    let deadline = Instant::now() + limit;
    loop {
        match from.recv_timeout(TICK) {
            Ok(value) => return Ok(Some(value)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => return Ok(None),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(remote: &Remote) -> Vec<String> {
        let command = remote.command("sudo -n true");
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn ssh_is_the_user_s_own() {
        let mut remote = Remote {
            host: "box.example".to_owned(),
            user: Some("admin".to_owned()),
            port: Some(2222),
            options: vec!["IdentityFile=x".to_owned()],
            rsh: None,
        };
        let all = words(&remote);
        assert_eq!(all[..4], ["ssh", "-T", "-o", "IdentityFile=x"]);
        assert_eq!(
            all[all.len() - 7..],
            ["-p", "2222", "-l", "admin", "--", "box.example", "sudo -n true"]
        );
        assert!(!all.join(" ").contains("StrictHostKeyChecking"));
        remote.host = "me@-oProxyCommand=x".to_owned();
        let all = words(&remote);
        assert_eq!(all[all.len() - 3..], ["--", "me@-oProxyCommand=x", "sudo -n true"]);
        assert!(!all.contains(&"-l".to_owned()));
    }

    fn shell(rsh: &str) -> Remote {
        Remote { host: "box".to_owned(), rsh: Some(rsh.to_owned()), ..Remote::default() }
    }

    #[test]
    fn what_comes_of_a_command() {
        // The command is $1, as the host is shifted away.
        let remote = shell("f() { shift; sh -c \"$1\"; }; f");
        let limit = Duration::from_secs(20);
        let output = remote.run("echo out; echo err >&2; exit 7", limit).expect("runs");
        let expected = Output { exit: 7, stdout: "out\n".to_owned(), stderr: "err\n".to_owned() };
        assert_eq!(output, expected);
        assert_eq!(remote.ask("echo fine", limit).expect("runs"), "fine\n");
        let error = remote.ask("echo error: no room >&2; exit 1", limit).expect_err("refused");
        assert_eq!(error.to_string(), "box: no room");
        let error = remote.ask("echo Connection refused >&2; exit 255", limit).expect_err("broken");
        assert_eq!(error.to_string(), "talking to box: Connection refused");
        let error = remote.run("sleep 9", Duration::from_millis(100)).expect_err("too long");
        assert!(error.to_string().contains("has said nothing"), "{error}");
    }
}
