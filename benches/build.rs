//! How long things take, next to mmdebstrap with the same packages, in one run on one machine.
//!
//!     cargo bench
//!
//! Needs a store that `chatimg build` has filled, and mmdebstrap. Ratios are what counts: seconds are the
//! machine's.

#[path = "../tests/project/mod.rs"]
mod project;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chatimg::compose::{Declarations, Inputs, installed};
use chatimg::lock::Group;
use chatimg::store::Store;
use project::{Copy, Project, chatimg, cold_store, store_dir};

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", project::text(&output.stderr));
}

fn main() {
    let project = Project::open();
    // Beside the user's store, so that inputs can be linked and the disk is the same.
    let dir = tempfile::tempdir_in(store_dir()).expect("folder");
    let copy = Copy::new();
    let build = |store: &Path| {
        run(Command::new(chatimg())
            .args(["build", "--appliance"])
            .arg(copy.dir().join("appliance.toml"))
            .env("CHATIMG_STORE", store));
    };

    let store = cold_store(&dir.path().join("whole"));
    let whole = timed(|| build(&store));
    let children = nix::sys::resource::UsageWho::RUSAGE_CHILDREN;
    let peak = nix::sys::resource::getrusage(children).expect("usage").max_rss() / 1024;
    let nothing = timed(|| build(&store));
    let appliance = copy.dir().join("appliance.toml");
    let text = fs::read_to_string(&appliance).expect("appliance.toml");
    let changed = text.replace("max-upload = \"50 MiB\"", "max-upload = \"51 MiB\"");
    assert_ne!(text, changed);
    fs::write(&appliance, changed).expect("written");
    let template = timed(|| build(&store));

    let store = Store::open(&cold_store(&dir.path().join("compose"))).expect("store");
    let (tools, _) = project.tools(Group::Build);
    let declarations = Declarations::load(&project.dir.join("overlays/debian")).expect("declared");
    let compose = timed(|| {
        let Project { plan, lock, .. } = &project;
        let (tools, declarations, events) = (&tools, &declarations, &|_| ());
        let inputs = Inputs { store: &store, plan, lock, tools, declarations, events };
        installed(&inputs).unwrap_or_else(|error| panic!("{error}"));
    });

    let debs = dir.path().join("debs");
    fs::create_dir(&debs).expect("folder");
    project.lay_out(&debs);
    let index = "dpkg-scanpackages --multiversion . >Packages 2>scan.log";
    run(Command::new("sh").args(["-c", index]).current_dir(&debs));
    let names = &project.plan.request.debian[&Group::Image];
    let script = project.dir.join("tests/parity/make-reference");
    let mmdebstrap = timed(|| {
        run(Command::new(script).arg(&debs).arg(debs.join("root.tar")).args(names));
    });

    let row = |what: &str, time: Duration| {
        let ratio = time.as_secs_f64() / mmdebstrap.as_secs_f64();
        println!("{what:<56} {:>8.2} s  {ratio:>6.3}", time.as_secs_f64());
    };
    println!("{:<56} {:>10}  {:>6}", "", "time", "ratio");
    row("mmdebstrap: the same .debs to a tar", mmdebstrap);
    row("chatimg: the same .debs composed, caches and byte code", compose);
    row("chatimg build: those, Synapse, tools, image, all anew", whole);
    row("chatimg build: one template changed", template);
    row("chatimg build: nothing changed", nothing);
    println!("peak memory of chatimg or one of its tools: {peak} MiB");
}
