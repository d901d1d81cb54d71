//! `chatimg run`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::HumanBytes;

use super::CommandError;
use super::context::{Context, Machine, only_one};
use super::test::Choice;
use crate::appliance::{Plan, Protocol, Value};
use crate::image::{self, inventory};
use crate::ui::Phases;
use crate::vm::{Live, LiveError, LiveSetup, Names, Off};

/// Start the newest image here, to be used from a browser
///
/// It runs in QEMU. When the box answers, it gets a first user; the address to open and what to log in with are printed, and how ssh gets in.
/// It runs until Ctrl-C, which switches it off in order. The box reaches no network, and is reached from this machine alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg run
  chatimg run --keep ~/box       # and again, with the same data")]
pub struct Args {
    /// Keep what is written in this folder, and go on with it the next time; else it is thrown
    /// away
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Boot with this firmware [default: the first that the target names]
    #[arg(long, value_enum)]
    firmware: Option<Choice>,
}

/// The first user.
const USER: &str = "demo";
/// The port that browsers are told of.
const DOOR: u16 = 8080;
/// Which image's disks lie in a kept folder, and the first user's password.
const IMAGE: &str = "image";
const LOGIN: &str = "password";
const LOCK: &str = "lock";

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let plan = context.plan()?;
    let lock = context.lock()?;
    let Machine { image, tools, is_of_now, hold: _hold } = context.machine(&plan, &lock, "run")?;
    if !is_of_now {
        context.ui.warn(
            "the image was built of something else than is here now; run `chatimg build` first to run that",
        );
    }
    let work = args.keep.clone().unwrap_or_else(|| context.images().join(".run"));
    if args.keep.is_some() {
        ours(&work)?;
    }
    let _lock = only_one(&work, LOCK, "run", "end it first")?;
    let (id, disks) = disks(args, &image, &work, context)?;
    let ssh_port = plan.ssh_port().ok_or("the appliance has no overlay 'ssh' to log in by")?;
    let firmware = plan.target.firmware.iter().next().copied();
    let firmware =
        args.firmware.map(Into::into).or(firmware).ok_or("the target has no firmware")?;
    let [tcp, udp] = [Protocol::Tcp, Protocol::Udp].map(|one| wished(&plan, one, ssh_port));
    crate::interrupt::be_patient();
    let setup = LiveSetup {
        disks: &disks,
        tools: &tools,
        target: &plan.target,
        admin: &plan.admin.name,
        ssh_port,
        tcp: &tcp,
        udp: &udp,
        firmware,
        work: &work,
        keep: args.keep.is_some(),
    };
    let mut live = Live::start(&setup)?;
    live.notes().iter().for_each(|note| context.ui.note(note));
    match used(args, context, &mut live, &id, names(&plan), &work) {
        Ok(()) => context.ui.note("the box has switched itself off"),
        Err(error) if !crate::interrupt::requested() => return Err(error),
        Err(_) => {
            context.ui.note("switching the box off; Ctrl-C again ends it at once");
            match live.off() {
                Off::InOrder => {}
                Off::Starting => context.ui.note("it was still starting, and was stopped"),
                Off::Killed => context.ui.warn("it did not switch off in order, and was stopped"),
            }
        }
    }
    if args.keep.is_none() {
        let failed = |error| format!("removing {}: {error}", work.display());
        fs::remove_dir_all(&work).map_err(failed)?;
    }
    Ok(())
}

/// Waits for the box, says where it is, and lets it run until it ends by itself, or the user asks to stop (an error).
fn used(
    args: &Args,
    context: &Context<'_>,
    live: &mut Live<'_>,
    id: &str,
    names: Option<Names>,
    work: &Path,
) -> Result<(), CommandError> {
    let start = Instant::now();
    let user = ready(live, names.as_ref(), work, &mut Phases::new(context.ui))?;
    context.ui.say(format!(
        "image {id} runs, {}, with {} of memory; it started in {} s\n",
        if live.is_emulated() { "emulated" } else { "with KVM" },
        HumanBytes(live.memory()),
        start.elapsed().as_secs()
    ));
    tell(args, context, live, names, user.as_ref())?;
    Ok(live.follow()?)
}

/// Which image's disks are started: the newest, or that of the folder that goes on.
fn disks(
    args: &Args,
    image: &image::BuiltImage,
    work: &Path,
    context: &Context<'_>,
) -> Result<(String, Vec<PathBuf>), CommandError> {
    let note = work.join(IMAGE);
    let Some(dir) = &args.keep else {
        // Of a run that was killed; its disks go, too.
        _ = fs::remove_file(work.join(LOGIN));
        return Ok((image.id.clone(), image.disks()));
    };
    let old = match fs::read_to_string(&note) {
        Ok(old) => old.trim().to_owned(),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(format!("reading {}: {error}", note.display()).into());
        }
        Err(_) => {
            fs::write(&note, format!("{}\n", image.id))
                .and_then(|()| inventory::keep_for_run(&context.images(), dir, &image.id))
                .map_err(|error| format!("writing {}: {error}", note.display()))?;
            return Ok((image.id.clone(), image.disks()));
        }
    };
    inventory::keep_for_run(&context.images(), dir, &old)
        .map_err(|error| format!("noting what {} lies over: {error}", dir.display()))?;
    if old == image.id {
        return Ok((old, image.disks()));
    }
    let found = image::find_in(&context.images(), &old)?.ok_or_else(|| {
        format!(
            "{} lies over image {old}, which is no longer in {}; name another folder",
            dir.display(),
            context.images().display()
        )
    })?;
    context.ui.warn(format!(
        "{} goes on with image {old}; the newest is {}: name another folder for that",
        dir.display(),
        image.id
    ));
    Ok((old, found.disks()))
}

/// Waits until the box works; user and password of its first user.
fn ready(
    live: &mut Live<'_>,
    names: Option<&Names>,
    work: &Path,
    phases: &mut Phases<'_>,
) -> Result<Option<(String, String)>, LiveError> {
    phases.begin("waiting for the box");
    phases.detail(&live.console().display().to_string());
    live.wait_ssh()?;
    let Some(names) = names else { return Ok(None) };
    phases.begin("waiting for the homeserver");
    live.wait_matrix(&names.api)?;
    phases.begin("making a user");
    let password = kept_password(&work.join(LOGIN))?;
    match live.register(USER, &password) {
        // The last time, with this password.
        Err(LiveError::Command { words, .. }) if words.contains("already taken") => {}
        result => result?,
    }
    Ok(Some((USER.to_owned(), password)))
}

/// The first user's password: what the file has, or a new one, which is in the file before it is anywhere else.
fn kept_password(file: &Path) -> Result<String, LiveError> {
    if let Ok(kept) = fs::read_to_string(file) {
        return Ok(kept.trim().to_owned());
    }
    let password = password()?;
    let options = File::options().write(true).create_new(true).mode(0o600).open(file);
    let kept = options.and_then(|mut file| writeln!(file, "{password}"));
    kept.map_err(|error| LiveError::Command {
        doing: "keeping the user's password",
        words: format!("{}: {error}", file.display()),
    })?;
    Ok(password)
}

/// Where everything is.
fn tell(
    args: &Args,
    context: &Context<'_>,
    live: &Live<'_>,
    names: Option<Names>,
    user: Option<&(String, String)>,
) -> Result<(), CommandError> {
    let ui = context.ui;
    let line = |what: &str, words: &str| ui.say(format!("  {what:<14}{words}"));
    if let Some(names) = names {
        let client = names.client.clone();
        let address = live.door(names.clone(), DOOR)?;
        match &client {
            Some(_) => line("browser", &format!("{address}/")),
            None => {
                line("homeserver", &format!("{address}    for any Matrix client on this machine"))
            }
        }
        if let Some((user, password)) = user {
            line("user", user);
            line("password", password);
        }
        let host = client.as_ref().unwrap_or(&names.api);
        let port = live.tcp().get(&443).copied().unwrap_or_default();
        let way = format!("--connect-to ::127.0.0.1:{port} https://{host}/");
        line("with TLS", &format!("curl --insecure {way}"));
        let rules = format!("--host-resolver-rules=\"MAP *{} 127.0.0.1:{port}\"", names.domain);
        let profile = "--ignore-certificate-errors --user-data-dir=$(mktemp -d)";
        line("", &format!("chromium {rules} {profile} https://{host}/"));
    }
    line("ssh", &format!("ssh -F {} box", live.ssh_config()?.display()));
    let ports = |ports: &BTreeMap<u16, u16>, protocol: &str| {
        let shown = ports.iter().map(|(guest, host)| format!("{guest}/{protocol} at {host}"));
        shown.collect::<Vec<_>>()
    };
    let ports = [ports(live.tcp(), "tcp"), ports(live.udp(), "udp")].concat();
    line("ports", &format!("of the box on 127.0.0.1: {}", ports.join(", ")));
    line("console", &live.console().display().to_string());
    let data = match &args.keep {
        Some(dir) => format!("its data stay in {}", dir.display()),
        None => "its data are thrown away then".to_owned(),
    };
    ui.say(format!("\nCtrl-C switches it off; {data}."));
    Ok(())
}

/// What the chat server is called, if the appliance has one.
fn names(plan: &Plan) -> Option<Names> {
    let domain = plan.domain.clone();
    let host = |overlay: &str| {
        let overlay = plan.overlays.iter().find(|candidate| candidate.name == overlay)?;
        Some(match overlay.options.get("host") {
            Some(Value::String(host)) if !host.is_empty() => format!("{host}.{domain}"),
            _ => domain.clone(),
        })
    };
    Some(Names { api: host("synapse")?, client: host("web-client"), domain })
}

/// The box's open ports, each with one of this machine that an ordinary user may take.
fn wished(plan: &Plan, protocol: Protocol, ssh_port: u16) -> BTreeMap<u16, u16> {
    let ports = plan.overlays.iter().flat_map(|overlay| &overlay.ports);
    let ports = ports.filter(|port| port.open && port.protocol == protocol);
    let here = |port: u16| match port {
        80 => 8081,
        443 => 8443,
        port if port == ssh_port => 2222,
        port if port < 1024 => port + 8000,
        port => port,
    };
    ports.map(|port| (port.number, here(port.number))).collect()
}

/// Of letters and digits that nobody takes for others.
fn password() -> Result<String, LiveError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| LiveError::Command {
        doing: "making a password",
        words: error.to_string(),
    })?;
    let letters: Vec<u8> = bytes.iter().map(|byte| LETTERS[usize::from(byte % 32)]).collect();
    let groups = letters.chunks(4).map(String::from_utf8_lossy);
    Ok(groups.collect::<Vec<_>>().join("-"))
}

/// Refuses a folder that has other things in it: files of the machine would take their places.
fn ours(dir: &Path) -> Result<(), CommandError> {
    let mut names = match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("reading {}: {error}", dir.display()).into()),
    };
    // The first run may have got no further than its lock.
    if dir.join(IMAGE).is_file() || names.all(|name| name == LOCK) {
        return Ok(());
    }
    Err(format!(
        "{} is not empty, and was not made by `chatimg run --keep`; name a new one",
        dir.display()
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_things_in_it_is_not_taken() {
        let dir = tempfile::tempdir().expect("folder");
        assert!(ours(&dir.path().join("new")).is_ok() && ours(dir.path()).is_ok());
        fs::write(dir.path().join(LOCK), "").expect("file");
        assert!(ours(dir.path()).is_ok());
        fs::write(dir.path().join("id_ed25519"), "mine").expect("file");
        let error = ours(dir.path()).expect_err("somebody's").to_string();
        assert!(error.contains("is not empty") && error.contains("name a new one"), "{error}");
        fs::write(dir.path().join(IMAGE), "0123\n").expect("file");
        assert!(ours(dir.path()).is_ok());
    }

    #[test]
    fn a_password_is_kept_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("password");
        let first = kept_password(&file).expect("made");
        assert_eq!(kept_password(&file).expect("kept"), first);
        assert_eq!(file.metadata().expect("file").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn passwords_are_readable_and_differ() {
        let (one, other) = (password().expect("random"), password().expect("random"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 19);
        assert!(one.split('-').all(|group| group.len() == 4), "{one}");
        assert!(!one.contains(['l', 'o', '0', '1']), "{one}");
    }
}
