//! `[[refuse]]` of `overlay.toml`: values that do not go together.

use super::bundles::holds;
use super::document::join;
use super::render::Renderer;
use super::walk::Table;

/// Reports what the overlay refuses, where the appliance says so.
pub(super) fn refuse<'a>(root: &Table<'a>, render: &Renderer<'a>) {
    for table in root.tables("refuse") {
        table.only(&["when", "why", "help"]);
        let example = "when = \"{{ options.least > options.most }}\"";
        let when = table.require("when", example).and_then(|node| node.string());
        let why = render.require(&table, "why", "why = \"What is wrong\"");
        let help = render.require(&table, "help", "help = \"What to do\"");
        let (Some(when), Some(why), Some(help)) = (when, why, help) else { continue };
        if holds(&when, "when", render) != Some(true) {
            continue;
        }
        let origins = render.origins(&when.value);
        match origins.split_first() {
            Some((first, others)) => {
                let help =
                    others.iter().fold(help.value, |help, other| join(help, &other.place.told()));
                first.place.fail(why.value, help);
            }
            None => when.fail(why.value, help.value),
        }
    }
}
