//! Cells.

mod project;

use std::path::Path;

use chatimg::lock::Group;
use chatimg::sandbox::{self, Cell};
use project::Project;

#[test]
fn look() {
    sandbox::made_by(Path::new(project::chatimg()));
    let (tools, _) = Project::open().tools(Group::Build);
    let dir = tempfile::tempdir().expect("dir");
    std::fs::create_dir(dir.path().join("bin")).expect("dir");
    std::fs::copy(tools.path("usr/bin/busybox"), dir.path().join("bin/busybox")).expect("copy");
    let cell = Cell::new(dir.path());
    let script = std::env::var("SCRIPT").unwrap_or("id".into());
    for _ in 0..5 {
        let start = std::time::Instant::now();
        let out = cell.run(&["/bin/busybox", "sh", "-c", &script]).unwrap_or_else(|e| panic!("{e}"));
        println!("{:?} {}\n{}\n--\n{}", start.elapsed(), out.status, project::text(&out.stdout), project::text(&out.stderr));
    }
}
