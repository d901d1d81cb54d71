//! What the overlays say of their programs' data, against what the locked programs say themselves.

use std::io::{Cursor, Read};

use crate::project::Project;
use chatimg::appliance::Format;
use chatimg::compose;

/// The first Synapse that knows each schema version from which on a newer one may say that it must be known.
const FIRST: [(u32, &str); 1] = [(84, "1.100")];

#[test]
fn every_format_has_a_locked_version() {
    let project = Project::open();
    let formats = compose::formats(&project.plan, &project.lock).expect("formats");
    assert!(formats.contains_key("matrix-synapse") && formats.contains_key("postgresql"));
}

#[test]
fn a_format_that_cannot_be_is_refused() {
    let Project { mut plan, lock, .. } = Project::open();
    let overlay = plan.overlays.iter_mut().find(|overlay| overlay.name == "synapse");
    let format = &mut overlay.expect("synapse").formats[0];
    let good = format.clone();
    format.package = "matrix-sinapse".to_owned();
    let error = compose::formats(&plan, &lock).expect_err("refused").to_string();
    assert!(
        error.starts_with(
            "overlays/synapse/overlay.toml: [formats.matrix-synapse]: the image has no package \"matrix-sinapse\""
        ),
        "{error}"
    );
    let overlay = plan.overlays.iter_mut().find(|overlay| overlay.name == "synapse");
    overlay.expect("synapse").formats[0] = Format { safe_back_to: "2.0".to_owned(), ..good };
    let error = compose::formats(&plan, &lock).expect_err("refused").to_string();
    assert!(error.contains("safe-back-to is 2.0, but matrix-synapse itself is only 1."), "{error}");
}

/// When this fails: look for the first release whose SCHEMA_VERSION is the new SCHEMA_COMPAT_VERSION, and put it into
/// `FIRST` and overlays/synapse/overlay.toml.
#[test]
fn synapse_can_go_back_as_far_as_its_schema_says() {
    let project = Project::open();
    let wheel = project.lock.wheels.iter().find(|wheel| wheel.name == "matrix-synapse");
    let wheel = wheel.expect("Synapse is locked");
    let bytes = project.store.read_blob(&wheel.digest).expect("the store");
    let bytes = bytes.expect("`cargo run --release -- build` has fetched it");
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("a wheel");
    let mut schema = String::new();
    let mut file = zip.by_name("synapse/storage/schema/__init__.py").expect("the schema");
    file.read_to_string(&mut schema).expect("text");
    let compat = schema.split_once("\nSCHEMA_COMPAT_VERSION = ").expect("the version").1;
    let number = compat
        .lines()
        .map(|line| line.trim_matches(['(', ')', ' ']))
        .find_map(|line| line.parse::<u32>().ok());
    let number = number.expect("a number");
    let first = FIRST.iter().find(|(version, _)| *version == number);
    let first = first.unwrap_or_else(|| panic!("SCHEMA_COMPAT_VERSION is {number} now")).1;
    let formats = compose::formats(&project.plan, &project.lock).expect("formats");
    assert_eq!(formats["matrix-synapse"].1, first);
}
