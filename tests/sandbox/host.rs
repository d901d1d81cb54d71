//! A host with things to be found on it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use nix::fcntl::{FcntlArg, fcntl};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{Kit, PYTHON, folder};

const CANARY: &str = "canary of the host";
/// What is to be found on the host.
pub struct Host {
    pub dir: TempDir,
    pub facts: Value,
    _process: Process,
}

/// A process that ends with its input.
struct Process(Child, Option<ChildStdin>);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.1.take());
        self.0.wait().unwrap();
    }
}

/// Python, outside.
pub fn python(kit: &Kit) -> Command {
    let path = |inside: &str| kit.dir.join(inside);
    let mut command = Command::new(path("usr/lib64/ld-linux-x86-64.so.2"));
    command.args(["--inhibit-cache", "--library-path"]).arg(path("usr/lib/x86_64-linux-gnu"));
    command.arg(path(PYTHON)).env("PYTHONHOME", path("usr")).args(["-B", "-E"]);
    command
}

const PROBES: &str = include_str!("probes.py");

impl Host {
    pub fn new(kit: &Kit) -> Self {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        for (name, words) in
            [("file", CANARY), ("victim", ""), ("bound", ""), ("probes.py", PROBES)]
        {
            fs::write(at(name), words).unwrap();
        }
        fs::create_dir(at("here")).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
        let name = format!("chatimg-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let (hidden, seen) =
            (UnixListener::bind_addr(&address).unwrap(), UnixListener::bind(at("socket")).unwrap());
        fs::set_permissions(at("socket"), fs::Permissions::from_mode(0o777)).unwrap();
        thread::spawn(move || tcp.incoming().for_each(|peer| greet(peer.unwrap())));
        thread::spawn(move || hidden.incoming().for_each(|peer| greet(peer.unwrap())));
        thread::spawn(move || seen.incoming().for_each(|peer| greet(peer.unwrap())));
        thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 9]) {
                let _ = udp.send_to(CANARY.as_bytes(), from);
            }
        });
        let mut command = python(kit);
        command.arg(at("probes.py")).arg("--host").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, mut line) = (child.stdin.take(), String::new());
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut facts: Value = serde_json::from_str(&line).unwrap();
        let more = json!({
            "tcp": ports.0, "udp": ports.1, "abstract": name, "socket": at("socket"), "canary": CANARY, "inside": false,
            "file": at("file"), "victim": at("victim"), "bound": at("bound"), "here": at("here"), "environment": [],
        });
        facts.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // As a careless program leaves it to whom it starts.
        let file = File::open(dir.path()).unwrap();
        fcntl(&file, FcntlArg::F_DUPFD(70)).unwrap();
        Self { dir, facts, _process: Process(child, stdin) }
    }
}

fn greet(mut peer: impl Write) {
    let _ = peer.write_all(CANARY.as_bytes());
}
