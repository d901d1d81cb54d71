//! Whether a lock answers what an appliance asks for.

use super::{Group, Lock, Request};

/// What the lock lacks, each as a phrase for the user; empty if it answers the request. Inputs that the lock
/// holds and nobody asks for any more count too: the image would differ from what `lock` would make.
pub fn unanswered(lock: &Lock, request: &Request) -> Vec<String> {
    let mut missing = Vec::new();
    let locked = &lock.request;
    for group in [Group::Image, Group::Build, Group::Vm] {
        let wanted = request.debian.get(&group).into_iter().flatten();
        let has = |name: &String| locked.debian.get(&group).is_some_and(|set| set.contains(name));
        missing
            .extend(wanted.filter(|name| !has(name)).map(|name| format!("Debian package {name}")));
        let known = locked.debian.get(&group).into_iter().flatten();
        let asked =
            |name: &String| request.debian.get(&group).is_some_and(|set| set.contains(name));
        missing.extend(
            known
                .filter(|name| !asked(name))
                .map(|name| format!("removal of Debian package {name}")),
        );
    }
    missing.extend(absent(lock));
    compare(&mut missing, "Python environment", &locked.python, &request.python);
    compare(&mut missing, "npm package", &locked.npm, &request.npm);
    compare(&mut missing, "URL input", &locked.url, &request.url);
    missing.sort();
    missing.dedup();
    missing
}

/// What the lock's own request names and its blocks lack: somebody took them out, or a merge did.
fn absent(lock: &Lock) -> Vec<String> {
    let mut absent = Vec::new();
    for (&group, names) in &lock.request.debian {
        let has = |name: &&String| {
            lock.debs.iter().any(|deb| deb.name == **name && deb.groups.contains(&group))
        };
        let gone = names.iter().filter(|name| !has(name));
        absent.extend(gone.map(|name| format!("Debian package {name}")));
    }
    for (env, requirements) in &lock.request.python {
        let has = |name: &String| {
            lock.wheels.iter().any(|wheel| wheel.env == *env && wheel.name == *name)
        };
        let named = requirements.iter().filter_map(|text| wheel_name(text));
        absent.extend(named.filter(|name| !has(name)).map(|name| format!("wheel of {name}")));
    }
    for name in lock.request.npm.keys() {
        if !lock.npm.iter().any(|tarball| tarball.name == *name) {
            absent.push(format!("npm package {name}"));
        }
    }
    for name in lock.request.url.keys() {
        if !lock.urls.iter().any(|url| url.name == *name) {
            absent.push(format!("URL input {name}"));
        }
    }
    absent
}

/// The project that a requirement names, as the lock writes it.
fn wheel_name(requirement: &str) -> Option<String> {
    let parsed: pep508_rs::Requirement = requirement.parse().ok()?;
    Some(parsed.name.to_string())
}

fn compare<T: PartialEq>(
    missing: &mut Vec<String>,
    kind: &str,
    locked: &std::collections::BTreeMap<String, T>,
    request: &std::collections::BTreeMap<String, T>,
) {
    for (name, wanted) in request {
        match locked.get(name) {
            Some(known) if known == wanted => {}
            Some(_) => missing.push(format!("{kind} {name} as it is asked for now")),
            None => missing.push(format!("{kind} {name}")),
        }
    }
    let gone = locked.keys().filter(|name| !request.contains_key(*name));
    missing.extend(gone.map(|name| format!("removal of {kind} {name}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::lock::{Deb, DebArchive};

    #[test]
    fn a_block_that_was_taken_out_is_missed() {
        let mut lock = Lock { request: request(&["bash"]), ..Lock::default() };
        lock.request.python =
            [("synapse".to_owned(), ["Matrix_Synapse[x]>=1".to_owned()].into())].into();
        lock.request.npm.insert("vue".into(), "^3".into());
        assert_eq!(
            unanswered(&lock, &lock.request.clone()),
            ["Debian package bash", "npm package vue", "wheel of matrix-synapse"]
        );
    }

    fn deb(name: &str) -> Deb {
        Deb {
            name: name.to_owned(),
            version: "1".to_owned(),
            arch: "amd64".to_owned(),
            archive: DebArchive::Debian,
            path: format!("pool/{name}.deb"),
            size: 1,
            digest: Digest::of(name.as_bytes()),
            groups: [Group::Image].into(),
        }
    }

    fn request(packages: &[&str]) -> Request {
        let set = packages.iter().map(|name| (*name).to_owned()).collect();
        Request { debian: [(Group::Image, set)].into(), ..Request::default() }
    }

    #[test]
    fn additions_and_removals_both_need_a_new_lock() {
        let debs = ["bash", "less"].map(deb).into();
        let lock = Lock { request: request(&["bash", "less"]), debs, ..Lock::default() };
        assert_eq!(unanswered(&lock, &request(&["bash", "less"])), Vec::<String>::new());
        assert_eq!(
            unanswered(&lock, &request(&["bash", "htop"])),
            ["Debian package htop", "removal of Debian package less"]
        );
        let mut asked = request(&["bash", "less"]);
        asked.npm.insert("x".into(), "^1".into());
        assert_eq!(unanswered(&lock, &asked), ["npm package x"]);
    }
}
