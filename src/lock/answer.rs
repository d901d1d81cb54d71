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
    compare(&mut missing, "Python environment", &locked.python, &request.python);
    compare(&mut missing, "npm package", &locked.npm, &request.npm);
    compare(&mut missing, "URL input", &locked.url, &request.url);
    missing.sort();
    missing.dedup();
    missing
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

    fn request(packages: &[&str]) -> Request {
        let set = packages.iter().map(|name| (*name).to_owned()).collect();
        Request { debian: [(Group::Image, set)].into(), ..Request::default() }
    }

    #[test]
    fn additions_and_removals_both_need_a_new_lock() {
        let lock = Lock { request: request(&["bash", "less"]), ..Lock::default() };
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
