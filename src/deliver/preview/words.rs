//! A preview for people: short, one line for each thing that matters.

use indicatif::HumanBytes;

use super::{Change, Kind, Preview, Return, Space, Verdict};

/// Most lines of one kind; all of them are in the JSON.
const MOST: usize = 40;

/// What to print.
pub fn lines(preview: &Preview) -> Vec<String> {
    let mut lines = vec![format!("image {} -> {}", preview.from, preview.to)];
    if !preview.by_manifest {
        lines.push(format!(
            "  image {} is not in images/: compared with what the box tells of /etc and its packages",
            preview.from
        ));
    }
    section(&mut lines, "packages", &preview.packages);
    section(&mut lines, "configuration", &preview.files);
    section(&mut lines, "open ports", &preview.ports);
    section(&mut lines, "units", &preview.units);
    lines.push("formats:".to_owned());
    lines.extend(preview.formats.iter().map(format_line));
    lines.push(format!("  going back: {}", going_back(preview.going_back)));
    if let Some(download) = &preview.download {
        lines.push(format!(
            "download: {} ({} of {} before compression)",
            HumanBytes(download.sent),
            HumanBytes(download.lacking),
            HumanBytes(download.image)
        ));
    }
    if !preview.space.is_empty() {
        lines.push("space:".to_owned());
        lines.extend(preview.space.iter().map(space_line));
    }
    lines
}

fn space_line(space: &Space) -> String {
    let Space { place, needed, free, files, inodes } = space;
    let counted = match files {
        0 => String::new(),
        files => format!("; {files} files, room for {inodes}"),
    };
    let verdict = if space.is_enough() { "" } else { ": TOO LITTLE, the box refuses the update" };
    format!(
        "  {place}: {} needed, {} free{counted}{verdict}",
        HumanBytes(*needed),
        HumanBytes(*free)
    )
}

/// A heading with how many there are, and a line for each.
pub(crate) fn section(lines: &mut Vec<String>, what: &str, changes: &[Change]) {
    if changes.is_empty() {
        lines.push(format!("{what}: no changes"));
        return;
    }
    let count = |kind| changes.iter().filter(|change| change.change == kind).count();
    let counts = [(Kind::Added, "new"), (Kind::Changed, "changed"), (Kind::Removed, "gone")];
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(kind, word)| (count(kind), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    lines.push(format!("{what}: {}", counts.join(", ")));
    lines.extend(changes.iter().take(MOST).map(change_line));
    if changes.len() > MOST {
        lines.push(format!("  and {} more; --json has all", changes.len() - MOST));
    }
}

fn change_line(change: &Change) -> String {
    let Change { name, change, from, to } = change;
    let sign = match change {
        Kind::Added => '+',
        Kind::Changed => '~',
        Kind::Removed => '-',
    };
    match (from, to) {
        (Some(from), Some(to)) => format!("  {sign} {name} {from} -> {to}"),
        (Some(version), None) | (None, Some(version)) => format!("  {sign} {name} {version}"),
        (None, None) => format!("  {sign} {name}"),
    }
}

fn format_line(verdict: &Verdict) -> String {
    let Verdict { name, from, to, going_back } = verdict;
    let short = match going_back {
        Return::WithData => "reversible",
        Return::NeedsSnapshot => "needs the snapshot",
        Return::OneWay => "one-way",
    };
    match (from, to) {
        (Some(from), Some(to)) if from == to => format!("  {name} {to}: {short}"),
        (Some(from), Some(to)) => format!("  {name} {from} -> {to}: {short}"),
        (None, Some(to)) => format!("  {name} {to}, new: {short}"),
        (from, None) => format!("  {name} {}, gone: {short}", from.as_deref().unwrap_or_default()),
    }
}

fn going_back(going_back: Return) -> &'static str {
    match going_back {
        Return::WithData => {
            "possible with all data (chatimg rollback --keep-data), or with those from before"
        }
        Return::NeedsSnapshot => {
            "only with the data from before (chatimg rollback --with-data); messages since are exported"
        }
        Return::OneWay => "the new image cannot read the data that are there: the box refuses it",
    }
}

#[cfg(test)]
mod tests {
    use super::super::Facts;
    use super::*;

    #[test]
    fn a_preview_is_short() {
        let mut from = Facts { id: "a".to_owned(), ..Facts::default() };
        let mut to = Facts { id: "b".to_owned(), ..Facts::default() };
        from.packages.insert("nginx".to_owned(), "1".to_owned());
        to.packages.insert("nginx".to_owned(), "2".to_owned());
        to.units.insert("x.timer".to_owned());
        let version = |text: &str| (text.to_owned(), "1.100".to_owned());
        from.formats.insert("synapse".to_owned(), version("1.99"));
        to.formats.insert("synapse".to_owned(), version("1.163.2"));
        let mut preview = Preview::new(&from, &to, true);
        let space = |place: &str, files| Space {
            place: place.to_owned(),
            needed: 1 << 30,
            free: 3 << 30,
            files,
            inodes: 5,
        };
        preview.space = vec![space("slot b", 0), space("/state", 5), space("/x", 6)];
        let text = lines(&preview).join("\n");
        assert_eq!(
            text,
            "image a -> b\npackages: 1 changed\n  ~ nginx 1 -> 2\nconfiguration: no changes\n\
             open ports: no changes\nunits: 1 new\n  + x.timer\nformats:\n  \
             synapse 1.99 -> 1.163.2: needs the snapshot\n  going back: only with the data from before \
             (chatimg rollback --with-data); messages since are exported\n\
             space:\n  slot b: 1.00 GiB needed, 3.00 GiB free\n  \
             /state: 1.00 GiB needed, 3.00 GiB free; 5 files, room for 5\n  \
             /x: 1.00 GiB needed, 3.00 GiB free; 6 files, room for 5: TOO LITTLE, the box refuses the update"
        );
    }
}
