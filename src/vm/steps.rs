//! What steps do, but for power and Matrix.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::failure::TestFailure;
use super::http::{Answer, Request};
use super::judge::{self, Mismatch};
use super::run::{Look, Run, Stop};
use super::spec::{Action, Http, Ssh};
use super::ssh::{Output, Running, auth_methods};

/// What a command's input begins with that is a file of the tools closure, not one beside the test.
const TOOLS: &str = "tools:";
const INTERVAL: Duration = Duration::from_secs(2);
/// A login that takes longer will not come about: the box may have been switched off.
const LOGIN_LIMIT: Duration = Duration::from_secs(120);

impl Run<'_> {
    /// Does what a step says.
    pub(super) fn perform(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::WaitConsole(words) => self.wait_console(words),
            Action::WaitSsh => self.wait_ssh().map(|_| ()),
            Action::Ssh(ssh) => self.ssh(ssh),
            Action::Chatimg(chatimg) => self.chatimg(chatimg),
            Action::Local(local) => self.local(local),
            Action::SshAuthMethods(wanted) => self.ssh_auth_methods(wanted),
            Action::Http(http) => self.http(http),
            Action::Register(register) => self.matrix_register(register),
            Action::Login(login) => self.matrix_login(login),
            Action::CreateRoom(room) => self.matrix_create_room(room),
            Action::Join(join) => self.matrix_join(join),
            Action::Send(send) => self.matrix_send(send),
            Action::Read(read) => self.matrix_read(read),
            Action::Load(load) => self.begin_load(load),
            Action::LoadEnd => self.end_load(),
            Action::Reboot => self.reboot(),
            Action::PowerCut => self.power_cut(),
            Action::PowerOff => self.power_off(),
            Action::PowerOn => self.switch_on(),
            Action::Reset => self.reset(),
            Action::PullDisk(number) => self.pull_disk(*number),
            Action::PlugDisk(plug) => self.plug_disk(*plug),
            Action::SwapDisks => self.swap_disks(),
            Action::Sleep(length) => self.pause(*length),
            Action::RecordWrites => self.record_writes(),
            Action::ReplayPowerCuts(step) => self.replay_power_cuts(step),
        }
    }

    fn wait_console(&mut self, words: &str) -> Result<(), Stop> {
        let words = self.fill(words)?;
        self.until(&format!("\"{words}\" on the console"), INTERVAL / 10, |run| {
            let says = run.guest.console.says(&words);
            Ok(if says { Look::Here(()) } else { Look::NotYet("no such line".to_owned()) })
        })
    }

    /// Waits until the administrator gets in. Gives back the id of the running boot.
    pub(super) fn wait_ssh(&mut self) -> Result<String, Stop> {
        self.guest.ssh.let_go();
        let boot = self.until("a login over ssh", INTERVAL, |run| {
            let port = run.ssh_port()?;
            // A failed login has the server punish this address for a while; so it is asked first.
            if let Err(error) = run.aside(move || greeting(port))? {
                return Ok(Look::NotYet(format!("no server there yet ({error})")));
            }
            let command = "cat /proc/sys/kernel/random/boot_id";
            Ok(match run.command(command, Some(LOGIN_LIMIT))? {
                Some(Output { exit: 0, stdout, .. }) => Look::Here(stdout.trim().to_owned()),
                Some(output) => Look::NotYet(format!("ssh said: {}", output.stderr.trim())),
                None => Look::NotYet("a login that did not come about".to_owned()),
            })
        })?;
        self.guest.reachable = true;
        let port = self.ssh_port()?;
        self.guest.ssh.keep(port).map_err(|source| TestFailure::Io {
            doing: "opening a connection to the box".to_owned(),
            source,
        })?;
        let since = self.since_start();
        self.times.ssh.get_or_insert(since);
        Ok(boot)
    }

    fn ssh(&mut self, step: &Ssh) -> Result<(), Stop> {
        let stdin = step.stdin.as_deref().map(|file| match file.strip_prefix(TOOLS) {
            Some(tool) => self.guest.setup.tools.path(tool),
            None => self.spec.dir.join(file),
        });
        self.ended(step, |run, command| run.command_with(command, stdin.as_deref(), None))
    }

    /// The program gets what it needs to find the box in its environment: `BOX_DOMAIN`, and for each port of the box that
    /// of 127.0.0.1 which leads there, `BOX_PORT_443` and so on.
    fn local(&mut self, step: &Ssh) -> Result<(), Stop> {
        self.ended(step, |run, command| {
            let mut words = command.split_whitespace();
            let program = run.spec.dir.join(words.next().unwrap_or_default());
            let mut local = std::process::Command::new(program);
            local
                .args(words)
                .env("BOX_DOMAIN", run.guest.setup.domain)
                .env("BOX_WORK", &run.guest.make.work);
            for (guest, host) in run.ports()? {
                local.env(format!("BOX_PORT_{guest}"), host.to_string());
            }
            run.wait(Running::new(&mut local, Stdio::null()), None)
        })
    }

    /// The command's first word is chatimg's own command; the box and how it is reached come after it.
    fn chatimg(&mut self, step: &Ssh) -> Result<(), Stop> {
        // It may restart the box.
        self.guest.ssh.let_go();
        self.ended(step, |run, command| {
            let way = run.guest.ssh.script(run.ssh_port()?).map_err(|source| TestFailure::Io {
                doing: "writing the way to the box".to_owned(),
                source,
            })?;
            let mut words = command.split_whitespace();
            let (program, options) =
                run.guest.setup.program.split_first().expect("chatimg's own path");
            let mut chatimg = std::process::Command::new(program);
            chatimg.args(options).args(words.next()).arg(run.guest.setup.admin.to_owned() + "@box");
            chatimg.arg("--rsh").arg(way).args(words);
            if command.starts_with("update ") {
                chatimg.arg("--key").arg(run.guest.setup.key);
            }
            run.wait(Running::new(&mut chatimg, Stdio::null()), None)
        })
    }

    /// Runs a command and judges its end.
    fn ended(
        &mut self,
        step: &Ssh,
        command: impl Fn(&mut Self, &str) -> Result<Option<Output>, Stop>,
    ) -> Result<(), Stop> {
        let fill = |text: &Option<String>| text.as_ref().map(|text| self.fill(text)).transpose();
        let step = Ssh {
            command: self.fill(&step.command)?,
            stdout: fill(&step.stdout)?,
            contains: fill(&step.contains)?,
            lacks: fill(&step.lacks)?,
            ..step.clone()
        };
        let attempt = |run: &mut Self| {
            let output = command(run, &step.command)?.ok_or(Stop::Late)?;
            Ok(judge::command(&step, &output).map(|()| output.stdout.trim().to_owned()))
        };
        let stdout = self.attempts(step.eventually, attempt)?;
        self.save(step.save.as_deref(), &stdout);
        Ok(())
    }

    /// Once, or until it comes out right.
    fn attempts<T>(
        &mut self,
        eventually: bool,
        mut attempt: impl FnMut(&mut Self) -> Result<Result<T, Mismatch>, Stop>,
    ) -> Result<T, Stop> {
        let mut expected = String::from("an answer");
        let result = self.until("", INTERVAL, |run| match attempt(run)? {
            Ok(result) => Ok(Look::Here(result)),
            Err(mismatch) if eventually => {
                expected = mismatch.expected;
                Ok(Look::NotYet(mismatch.got))
            }
            Err(mismatch) => Err(mismatch.into()),
        });
        result.map_err(|stop| match stop {
            Stop::Wrong(Mismatch { expected: none, got }) if none.is_empty() => {
                Mismatch { expected, got }.into()
            }
            stop => stop,
        })
    }

    fn ssh_auth_methods(&mut self, wanted: &[String]) -> Result<(), Stop> {
        let port = self.ssh_port()?;
        let running = self.guest.ssh.start_bare(port);
        let output = self.wait(running, None)?.ok_or(Stop::Late)?;
        let expected = format!("a server that offers {}", wanted.join(", "));
        match auth_methods(&output.stderr) {
            Some(methods) if methods == wanted => Ok(()),
            Some(methods) => Err(Mismatch::new(expected, methods.join(", ")).into()),
            None => {
                let got = format!("exit status {}: {}", output.exit, output.stderr.trim());
                Err(Mismatch::new(expected, got).into())
            }
        }
    }

    fn http(&mut self, step: &Http) -> Result<(), Stop> {
        let fill = |text: &Option<String>| text.as_ref().map(|text| self.fill(text)).transpose();
        let json = step.json.iter().map(|(key, value)| Ok((key.clone(), self.filled(value)?)));
        let step = Http {
            url: self.fill(&step.url)?,
            by: fill(&step.by)?,
            json: json.collect::<Result<_, Stop>>()?,
            contains: fill(&step.contains)?,
            ..step.clone()
        };
        let wrong = |error| Mismatch::new("an address", format!("{}: {error}", step.url));
        let url = Url::parse(&step.url).map_err(wrong)?;
        let token = step.by.as_deref().map(|user| self.token(user)).transpose()?;
        let kept = self.attempts(step.eventually, |run| {
            let answer = run.ask(Request { token: token.clone(), ..Request::get(url.clone()) })?;
            Ok(answer.and_then(|answer| {
                judge::answer(&step, &answer)?;
                judge::kept(&step, &answer)
            }))
        })?;
        self.save(step.save.as_deref(), &kept);
        Ok(())
    }

    /// Sends a request to the machine.
    pub(super) fn ask(&mut self, request: Request) -> Result<Result<Answer, Mismatch>, Stop> {
        let ports = self.ports()?;
        let expected = format!("an answer to {} {}", request.method, request.url);
        let answer = self.aside(move || request.send(&ports))?;
        Ok(answer.map_err(|error| Mismatch::new(expected, error)))
    }

    fn filled(&self, value: &Value) -> Result<Value, Stop> {
        Ok(match value {
            Value::String(text) => Value::String(self.fill(text)?),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.filled(item));
                Value::Array(items.collect::<Result<_, Stop>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(key, item)| Ok((key.clone(), self.filled(item)?)));
                Value::Object(fields.collect::<Result<_, Stop>>()?)
            }
            other => other.clone(),
        })
    }
}

/// Whether an ssh server greets at this port of the host. QEMU accepts connections even before the
/// box does.
pub(super) fn greeting(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut start = [0; 4];
    stream.read_exact(&mut start)?;
    if start == *b"SSH-" { Ok(()) } else { Err(std::io::Error::other("it speaks no ssh")) }
}
