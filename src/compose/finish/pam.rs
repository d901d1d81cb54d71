//! `/etc/pam.d/common-*` from the profiles in `/usr/share/pam-configs`, as pam-auth-update(8) makes them on a
//! fresh installation, and its notes in `/var/lib/pam`.

use std::collections::BTreeMap;

use super::{Finish, FinishError, Output};
use crate::tree::Tree;

const PROFILES: &str = "usr/share/pam-configs";
const TEMPLATES: &str = "usr/share/pam";
const STACKS: [&str; 5] = ["auth", "account", "password", "session", "session-noninteractive"];
const PRIMARY: &str = "# here are the per-package modules (the \"Primary\" block)";
const ADDITIONAL: &str = "# and here are more per-package modules (the \"Additional\" block)";
const FALLBACK: &str = "# here's the fallback if no module succeeds";
const END: &str = "# end of pam-auth-update config";

pub(super) fn configure(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    let input = tree.filter(|path| {
        path.starts_with(&format!("{PROFILES}/")) || path.starts_with(&format!("{TEMPLATES}/"))
    });
    if input.get(PROFILES).is_none() {
        return Ok(Tree::new());
    }
    context.step("pam", &input, |output| {
        let mut profiles = Vec::new();
        for (path, _) in input.below(PROFILES) {
            let text = context.text(&input, path.as_str())?;
            profiles.push(Profile::parse(path.name(), &text));
        }
        profiles.sort_by(|a, b| (b.priority(), &b.name).cmp(&(a.priority(), &a.name)));
        let seen: String = profiles.iter().map(|profile| format!("{}\n", profile.name)).collect();
        output.file("var/lib/pam/seen", 0o644, seen.as_bytes())?;
        profiles.retain(|profile| profile.field("Default") == Some("yes"));
        STACKS.iter().try_for_each(|stack| write_stack(context, &input, &profiles, stack, output))
    })
}

fn write_stack(
    context: Finish<'_>,
    input: &Tree,
    profiles: &[Profile],
    stack: &str,
    output: &mut Output<'_>,
) -> Result<(), FinishError> {
    let template = context.text(input, &format!("{TEMPLATES}/common-{stack}"))?;
    let blocks = Blocks::new(profiles, stack);
    output.file(&format!("etc/pam.d/common-{stack}"), 0o644, blocks.fill(&template).as_bytes())?;
    output.file(&format!("var/lib/pam/{stack}"), 0o644, blocks.notes().as_bytes())
}

/// One file of `/usr/share/pam-configs`: fields as in a mail header, continued by indented lines.
struct Profile {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Profile {
    fn parse(name: &str, text: &str) -> Self {
        let mut fields = BTreeMap::<String, String>::new();
        let mut last = String::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                let value = fields.entry(last.clone()).or_default();
                if !value.is_empty() {
                    value.push('\n');
                }
                value.push_str(line.trim());
            } else if let Some((key, value)) = line.split_once(':') {
                last = key.to_owned();
                fields.insert(last.clone(), value.trim().to_owned());
            }
        }
        Self { name: name.to_owned(), fields }
    }

    fn field(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    fn priority(&self) -> i64 {
        self.field("Priority").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The lines of a stack's block, if the profile has any there.
    fn lines(&self, stack: &str, block: &str, first: bool) -> Option<Vec<&str>> {
        let interactive = self.field("Session-Interactive-Only") == Some("yes");
        if stack == "session-noninteractive" && interactive {
            return None;
        }
        let stack = stack.trim_end_matches("-noninteractive");
        let key = format!("{}{}", stack[..1].to_uppercase(), &stack[1..]);
        if self.field(&format!("{key}-Type")) != Some(block) {
            return None;
        }
        let initial = if first { self.field(&format!("{key}-Initial")) } else { None };
        let text = initial.or_else(|| self.field(&key))?;
        Some(text.lines().collect())
    }
}

/// The two blocks of one stack: lines with the profile that each comes from.
struct Blocks<'a> {
    kind: &'a str,
    primary: Vec<(&'a str, &'a str)>,
    additional: Vec<(&'a str, &'a str)>,
}

impl<'a> Blocks<'a> {
    fn new(profiles: &'a [Profile], stack: &'a str) -> Self {
        let block = |name: &str| {
            let mut lines = Vec::new();
            let mut first = true;
            for profile in profiles {
                if let Some(own) = profile.lines(stack, name, first) {
                    first = false;
                    lines.extend(own.into_iter().map(|line| (profile.name.as_str(), line)));
                }
            }
            lines
        };
        let kind = stack.trim_end_matches("-noninteractive");
        Self { kind, primary: block("Primary"), additional: block("Additional") }
    }

    /// The template with both blocks filled in; what stood there is dropped.
    fn fill(&self, template: &str) -> String {
        let mut out = String::new();
        let mut skipping = None;
        for line in template.lines() {
            if skipping.is_some_and(|until| line.starts_with(until)) {
                skipping = None;
            }
            if skipping.is_some() {
                continue;
            }
            out.push_str(line);
            out.push('\n');
            if line.starts_with(PRIMARY) {
                skipping = Some(FALLBACK);
                self.write(&mut out, &self.primary, self.primary.len());
                if self.primary.is_empty() {
                    out.push_str(&format!("{}\t[default=1]\t\t\tpam_permit.so\n", self.kind));
                }
            } else if line.starts_with(ADDITIONAL) {
                skipping = Some(END);
                // One less, so that nothing jumps off the stack.
                self.write(&mut out, &self.additional, self.additional.len().saturating_sub(1));
            }
        }
        out
    }

    /// `end` as a jump becomes the number of lines left in the block.
    fn write(&self, out: &mut String, lines: &[(&str, &str)], count: usize) {
        for (index, (_, line)) in lines.iter().enumerate() {
            let (module, options) = split_module(line);
            let module = module.replace("end", &count.saturating_sub(index).to_string());
            let options = options.split_whitespace().collect::<Vec<_>>().join(" ");
            out.push_str(&format!("{}\t{module} {options}\n", self.kind));
        }
    }

    /// What pam-auth-update remembers, to see later what an admin changed.
    fn notes(&self) -> String {
        let mut out = String::new();
        for block in [&self.primary, &self.additional] {
            let mut last = "";
            for (profile, line) in block {
                if *profile != last {
                    out.push_str(&format!("Module: {profile}\n"));
                    last = profile;
                }
                out.push_str(&format!("{line}\n"));
            }
            if block.is_empty() && out.is_empty() {
                out.push_str("Module: null\n[default=1]\t\t\tpam_permit.so\n");
            }
        }
        out
    }
}

/// `CONTROL MODULE OPTIONS` into `CONTROL MODULE` and `OPTIONS`; CONTROL may be `[a=b c=d]`.
fn split_module(line: &str) -> (&str, &str) {
    let control = if line.starts_with('[') {
        line.find(']').map_or(line.len(), |at| at + 1)
    } else {
        line.find(char::is_whitespace).unwrap_or(line.len())
    };
    let rest = &line[control..];
    let start = control + (rest.len() - rest.trim_start().len());
    let end = line[start..].find(char::is_whitespace).map_or(line.len(), |at| start + at);
    (&line[..end], &line[end..])
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let profile = Profile::parse("a", text);
    profile.priority();
    for stack in ["auth", "session-noninteractive"] {
        profile.lines(stack, "Primary", true);
    }
    text.lines().for_each(|line| _ = split_module(line));
}
