//! Our tree of the default appliance's packages against the root file system that real dpkg makes of the very
//! same .debs, without chatimg's own overlays.
//!
//! The .debs come from the store that `chatimg build` has filled; `tests/parity/make-reference` runs dpkg.

use crate::project::Project;
use crate::reference::reference;
use chatimg::compose::{Declarations, Inputs, installed, parity, understood};
use chatimg::lock::Group;
use chatimg::store::Store;

#[test]
fn every_difference_to_dpkg_has_a_reason() {
    let project = Project::open();
    let Project { store, plan, lock, .. } = &project;
    let declarations = Declarations::load(&project.dir.join("overlays/debian"))
        .unwrap_or_else(|error| panic!("{error}"));
    let (tools, _) = project.tools(Group::Build);
    understood(store, lock, &declarations).expect("none of its scripts has to be run");
    let events = &|_| ();
    let inputs = Inputs { store, plan, lock, tools: &tools, declarations: &declarations, events };
    let ours = installed(&inputs).unwrap_or_else(|error| panic!("{error}"));

    let work = tempfile::tempdir().expect("temporary folder");
    let other = Store::open(&work.path().join("store")).expect("a store for the reference");
    project.lay_out(work.path());
    let names: Vec<_> = plan.request.debian[&Group::Image].iter().map(String::as_str).collect();
    let theirs = reference(&other, work.path(), &names);

    let list = project.dir.join("tests/parity/differences.toml");
    let list = std::fs::read_to_string(list).expect("the list of differences");
    let accepted: parity::Accepted = toml::from_str(&list).expect("the list of differences");
    let report = parity::compare((&ours, store), (&theirs, &other), &accepted)
        .expect("both trees can be read");
    println!("compared {} paths", report.compared);
    for (reason, count) in &report.explained {
        println!("{count:7}  {reason}");
    }
    for difference in &report.unexplained {
        println!("no reason: {difference}");
    }
    for pattern in &report.unused {
        println!("not needed: {pattern}");
    }
    assert!(report.compared > 10_000, "only {} paths", report.compared);
    assert!(report.unexplained.is_empty(), "{} without reason", report.unexplained.len());
    assert!(report.unused.is_empty(), "{} entries not needed", report.unused.len());
}
