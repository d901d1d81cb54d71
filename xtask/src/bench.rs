//! How long builds take, next to mmdebstrap with the same packages: one run, one machine, all inputs fetched before.
//! Ratios are what counts; seconds are the machine's.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chatimg::appliance;
use chatimg::lock::{Group, Lock};
use chatimg::store::Store;

use crate::measure::{Taken, measured, middle};

type Done<T> = Result<T, Box<dyn Error>>;

/// A row of the table: what, what it took, and what it should take.
struct Row {
    what: String,
    taken: Taken,
    goal: Goal,
}

enum Goal {
    None,
    /// Of mmdebstrap's time.
    Ratio(f64),
    Seconds(f64),
}

/// Prints the table. `package`: the one to be added.
pub fn run(package: &str) -> Done<()> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the project");
    let chatimg = program(project)?;
    let store = store_dir()?;
    // Beside the user's store, so that the disk is the same.
    let work = tempfile::tempdir_in(store.parent().unwrap_or(&store))?;
    let bench = Bench { project, chatimg, store, work: work.path().to_owned() };

    eprintln!("fetching what is not here yet");
    let plain = bench.copy("plain")?;
    let more = bench.copy("more")?;
    edit(&more, "packages = [", &format!("packages = [\"{package}\", "))?;
    quietly(&mut bench.chatimg(&more, &bench.store, "lock"))?;
    add_only(&plain, &more, package)?;
    for dir in [&plain, &more] {
        quietly(&mut bench.chatimg(dir, &bench.store, "build"))?;
        fs::remove_dir_all(dir.join("images"))?;
    }
    let mut rows = vec![bench.mmdebstrap()?];
    rows.extend(bench.chatimg_rows(&plain, &more, package)?);
    print(&rows);
    Ok(())
}

struct Bench<'a> {
    project: &'a Path,
    chatimg: PathBuf,
    store: PathBuf,
    work: PathBuf,
}

impl Bench<'_> {
    /// The project's configuration in a folder of its own.
    fn copy(&self, name: &str) -> Done<PathBuf> {
        let dir = self.work.join(name);
        fs::create_dir(&dir)?;
        let parts = ["appliance.toml", "appliance.lock", "overlays"];
        let parts = parts.map(|part| self.project.join(part));
        quietly(Command::new("cp").arg("-a").args(parts).arg(&dir))?;
        Ok(dir)
    }

    fn chatimg(&self, project: &Path, store: &Path, what: &str) -> Command {
        let mut command = Command::new(&self.chatimg);
        command.arg(what).current_dir(project).env("CHATIMG_STORE", store);
        command
    }

    /// mmdebstrap, from the same .debs to a folder.
    fn mmdebstrap(&self) -> Done<Row> {
        eprintln!("mmdebstrap");
        let debs = self.work.join("debs");
        fs::create_dir(&debs)?;
        let lock = self.project.join("appliance.lock");
        let lock = Lock::parse(&fs::read_to_string(lock)?, "appliance.lock")?;
        let store = Store::open(&self.store)?;
        for deb in lock.debs_of(Group::Image) {
            let name = deb.path.rsplit('/').next().expect("a file name");
            let bytes = store.read_blob(&deb.digest)?.expect("the build fetched it");
            fs::write(debs.join(name), bytes)?;
        }
        let index = "dpkg-scanpackages --multiversion . >Packages 2>scan.log";
        quietly(Command::new("sh").args(["-c", index]).current_dir(&debs))?;
        let plan = appliance::load(&self.project.join("appliance.toml"))?;
        let script = self.project.join("tests/parity/make-reference");
        let root = self.work.join("root");
        let mut command = Command::new(script);
        command.arg(&debs).arg(&root).args(&plan.request.debian[&Group::Image]);
        let taken = measured(&command)?;
        Ok(Row { what: "mmdebstrap, to a folder".to_owned(), taken, goal: Goal::None })
    }

    fn chatimg_rows(&self, plain: &Path, more: &Path, package: &str) -> Done<Vec<Row>> {
        let row = |what: &str, taken, goal| Row { what: what.to_owned(), taken, goal };
        let blobs = self.work.join("blobs");
        quietly(Command::new("cp").arg("-a").arg(self.store.join("blobs")).arg(&blobs))?;
        let mut store = PathBuf::new();
        let mut runs = 0;
        let whole = middle(3, || {
            eprintln!("chatimg build, all anew");
            if runs > 0 {
                fs::remove_dir_all(plain.join("images"))?;
            }
            runs += 1;
            // One of its own, and none is removed before the end: ext4 makes files slowly where many were deleted a moment ago.
            store = self.work.join(format!("store-{runs}"));
            fs::create_dir(&store)?;
            quietly(Command::new("cp").arg("-al").arg(&blobs).arg(store.join("blobs")))?;
            quietly(&mut Command::new("sync"))?;
            measured(&self.chatimg(plain, &store, "build"))
        })?;
        let mut rows =
            vec![row("chatimg build, all anew, with the finished disks", whole, Goal::Ratio(0.2))];
        eprintln!("chatimg build, again");
        let nothing = middle(5, || measured(&self.chatimg(plain, &store, "build")))?;
        rows.push(row("nothing changed", nothing, Goal::Seconds(0.1)));
        let mut size = 50;
        let template = middle(3, || {
            let next = format!("max-upload = \"{} MiB\"", size + 1);
            edit(plain, &format!("max-upload = \"{size} MiB\""), &next)?;
            size += 1;
            measured(&self.chatimg(plain, &store, "build"))
        })?;
        rows.push(row("one template changed", template, Goal::Seconds(2.0)));
        let added = measured(&self.chatimg(more, &store, "build"))?;
        rows.push(row(&format!("one package added ({package})"), added, Goal::Seconds(4.0)));
        Ok(rows)
    }
}

/// Of what `more` was locked to only what it has besides stays: the archives may have moved on since `plain` was locked.
fn add_only(plain: &Path, more: &Path, package: &str) -> Done<()> {
    let read = |dir: &Path| -> Done<Lock> {
        let path = dir.join("appliance.lock");
        Ok(Lock::parse(&fs::read_to_string(&path)?, &path.display().to_string())?)
    };
    let (mut lock, more_lock) = (read(plain)?, read(more)?);
    let known: BTreeSet<String> = lock.debs.iter().map(|deb| deb.name.clone()).collect();
    let added: Vec<_> =
        more_lock.debs.into_iter().filter(|deb| !known.contains(&deb.name)).collect();
    if !added.iter().any(|deb| deb.name == package) {
        return Err(format!("{package} is in the image already; --add another one").into());
    }
    lock.debs.extend(added);
    lock.debs.sort_by(|one, other| one.name.cmp(&other.name));
    lock.request = more_lock.request;
    Ok(fs::write(more.join("appliance.lock"), lock.to_toml())?)
}

/// chatimg as users have it, compiled now.
fn program(project: &Path) -> Done<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    quietly(Command::new(cargo).args(["build", "--release"]).current_dir(project))?;
    let own = std::env::current_exe()?;
    Ok(own.with_file_name("chatimg"))
}

/// Where `chatimg build` keeps its store.
fn store_dir() -> Done<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("CHATIMG_STORE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("chatimg")))
        .or_else(|| Some(set("HOME")?.join(".cache/chatimg")));
    dir.ok_or_else(|| "HOME is not set".into())
}

/// Changes a copy's appliance.toml, which must have `from`.
fn edit(project: &Path, from: &str, to: &str) -> Done<()> {
    let path = project.join("appliance.toml");
    let text = fs::read_to_string(&path)?;
    if !text.contains(from) {
        return Err(format!("{}: there is no {from:?} to be changed", path.display()).into());
    }
    Ok(fs::write(path, text.replacen(from, to, 1))?)
}

fn quietly(command: &mut Command) -> Done<()> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// As Markdown. The first row is what the others are compared with.
fn print(rows: &[Row]) {
    let base = rows[0].taken.seconds;
    println!("| | time | of mmdebstrap's | processors | most memory of a process | goal |");
    println!("|---|---|---|---|---|---|");
    for Row { what, taken: Taken { seconds, processor, mebibytes }, goal } in rows {
        let ratio = seconds / base;
        let goal = match goal {
            Goal::None => String::new(),
            Goal::Ratio(most) => format!("≤ {most} × ({})", met(ratio <= *most)),
            Goal::Seconds(most) => format!("≤ {most} s ({})", met(seconds <= most)),
        };
        println!(
            "| {what} | {seconds:.2} s | {ratio:.3} | {processor:.1} s | {mebibytes:.0} MiB | {goal} |"
        );
    }
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}
