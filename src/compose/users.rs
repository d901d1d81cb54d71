//! Users and groups: `/etc/passwd`, `group`, `shadow` and `gshadow`.
//!
//! They begin with base-passwd's masters (ids 0–99 and 65534). System users of packages get the id that
//! `overlays/debian/ids.toml` fixes; a name that is not there gets one that depends on the name (900–989, the
//! next free one), so that adding another package rarely moves it. Order: masters', then by name.

use std::collections::BTreeMap;

use super::packages::ComposeError;
use super::root::Root;
use crate::digest::Digest;
use crate::store::Store;
use crate::tree::{Meta, Node, Tree};

/// Where ids of unlisted names come from.
const FREE_IDS: std::ops::Range<u32> = 900..990;

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    masters: Vec<String>,
    users: BTreeMap<String, Account>,
    groups: BTreeMap<String, Members>,
    master_groups: Vec<String>,
    ids: BTreeMap<String, u32>,
}

#[derive(Clone, Debug)]
struct Account {
    uid: u32,
    gid: u32,
    comment: String,
    home: String,
    shell: String,
    /// The shadow fields after the date, with what stands for the password.
    shadow: (&'static str, &'static str),
}

#[derive(Clone, Debug)]
struct Members {
    gid: u32,
    password: &'static str,
    names: Vec<String>,
}

/// How a new account's password fields look, by who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// systemd-sysusers; whether the account is locked.
    Sysusers(bool),
    /// adduser.
    Adduser,
}

/// A user to be made.
#[derive(Debug)]
pub(super) struct NewUser<'a> {
    pub(super) name: &'a str,
    /// `None`: by the table.
    pub(super) uid: Option<u32>,
    /// `None`: a group of its own, with the same id.
    pub(super) group: Option<&'a str>,
    pub(super) comment: &'a str,
    pub(super) home: &'a str,
    pub(super) shell: &'a str,
    pub(super) maker: Maker,
}

impl Accounts {
    /// The accounts that base-passwd ships; none if it is not installed.
    pub(super) fn from_masters(
        tree: &Tree,
        store: &Store,
        ids: &BTreeMap<String, u32>,
    ) -> Result<Self, ComposeError> {
        let mut accounts = Self { ids: ids.clone(), ..Self::default() };
        for name in ["passwd", "group"] {
            let path = format!("usr/share/base-passwd/{name}.master");
            let Ok((file, _)) = tree.file(&path) else { continue };
            let text = store.read(file)?;
            for line in String::from_utf8_lossy(&text).lines() {
                let fields: Vec<_> = line.split(':').collect();
                let bad = || ComposeError::action(&path, format!("bad line {line:?}"));
                accounts.add_master(&fields).ok_or_else(bad)?;
            }
        }
        Ok(accounts)
    }

    fn add_master(&mut self, fields: &[&str]) -> Option<()> {
        match fields {
            [name, _, uid, gid, comment, home, shell] => {
                let account = Account {
                    uid: uid.parse().ok()?,
                    gid: gid.parse().ok()?,
                    comment: (*comment).to_owned(),
                    home: (*home).to_owned(),
                    shell: (*shell).to_owned(),
                    shadow: ("*", "0:99999:7:::"),
                };
                self.masters.push((*name).to_owned());
                self.users.insert((*name).to_owned(), account);
            }
            [name, _, gid, _] => {
                let gid = gid.parse().ok()?;
                self.master_groups.push((*name).to_owned());
                let members = Members { gid, password: "*", names: Vec::new() };
                self.groups.insert((*name).to_owned(), members);
            }
            _ => return None,
        }
        Some(())
    }

    /// The id of a user, by name or number.
    pub(super) fn uid(&self, name: &str) -> Option<u32> {
        let user = self.users.get(name).map(|user| user.uid);
        user.or_else(|| name.parse().ok())
    }

    /// The id of a group, by name or number.
    pub(super) fn gid(&self, name: &str) -> Option<u32> {
        let group = self.groups.get(name).map(|group| group.gid);
        group.or_else(|| name.parse().ok())
    }

    /// Makes a group unless it is there.
    pub(super) fn add_group(&mut self, name: &str, gid: Option<u32>, maker: Maker) {
        if !self.groups.contains_key(name) {
            let gid = gid.unwrap_or_else(|| self.id_for(name));
            let password = if maker == Maker::Adduser { "!" } else { "!*" };
            let group = Members { gid, password, names: Vec::new() };
            self.groups.insert(name.to_owned(), group);
        }
    }

    /// Makes a user unless it is there.
    pub(super) fn add_user(&mut self, new: &NewUser<'_>) -> Result<(), ComposeError> {
        if self.users.contains_key(new.name) {
            return Ok(());
        }
        let uid = new.uid.unwrap_or_else(|| self.id_for(new.name));
        let gid = match new.group {
            Some(group) => self.gid(group).ok_or_else(|| {
                ComposeError::action(new.name, format!("there is no group '{group}' for it"))
            })?,
            None => {
                self.add_group(new.name, Some(uid), new.maker);
                self.gid(new.name).unwrap_or(uid)
            }
        };
        let account = Account {
            uid,
            gid,
            comment: new.comment.to_owned(),
            home: new.home.to_owned(),
            shell: new.shell.to_owned(),
            shadow: match new.maker {
                Maker::Sysusers(true) => ("!*", "::::1:"),
                Maker::Sysusers(false) => ("!*", ":::::"),
                Maker::Adduser => ("!", ":::::"),
            },
        };
        self.users.insert(new.name.to_owned(), account);
        Ok(())
    }

    /// A user joins a group.
    pub(super) fn add_member(&mut self, user: &str, group: &str) -> Result<(), ComposeError> {
        if !self.users.contains_key(user) {
            return Err(ComposeError::action(user, "there is no such user"));
        }
        let Some(members) = self.groups.get_mut(group) else {
            let why = format!("there is no group '{group}' for user '{user}' to join");
            return Err(ComposeError::action(group, why));
        };
        if !members.names.iter().any(|name| name == user) {
            members.names.push(user.to_owned());
            members.names.sort();
        }
        Ok(())
    }

    fn id_for(&self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let taken = |id: &u32| {
            self.users.values().any(|user| user.uid == *id)
                || self.groups.values().any(|group| group.gid == *id)
                || self.ids.values().any(|listed| listed == id)
        };
        let count = FREE_IDS.end - FREE_IDS.start;
        let start = u32::from(Digest::of(name.as_bytes()).as_bytes()[0]) % count;
        let ids = (0..count).map(|step| FREE_IDS.start + (start + step) % count);
        // The kernel knows no bound; past 90 unlisted users ids go on above the human ones.
        ids.chain(60_000..).find(|id| !taken(id)).expect("there is a free id")
    }

    fn user_names(&self) -> impl Iterator<Item = &String> {
        let others = self.users.keys().filter(|name| !self.masters.contains(name));
        self.masters.iter().chain(others)
    }

    fn group_names(&self) -> impl Iterator<Item = &String> {
        let others = self.groups.keys().filter(|name| !self.master_groups.contains(name));
        self.master_groups.iter().chain(others)
    }

    fn passwd(&self) -> String {
        let line = |name: &String| {
            let Account { uid, gid, comment, home, shell, .. } = &self.users[name];
            format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}\n")
        };
        self.user_names().map(line).collect()
    }

    fn shadow(&self, day: i64) -> String {
        let line = |name: &String| {
            let (password, rest) = self.users[name].shadow;
            format!("{name}:{password}:{day}:{rest}\n")
        };
        self.user_names().map(line).collect()
    }

    fn group(&self, shadow: bool) -> String {
        let line = |name: &String| {
            let Members { gid, password, names } = &self.groups[name];
            let names = names.join(",");
            if shadow {
                format!("{name}:{password}::{names}\n")
            } else {
                format!("{name}:x:{gid}:{names}\n")
            }
        };
        self.group_names().map(line).collect()
    }
}

impl Root<'_> {
    /// Writes the four files. The shadow dates are the day of the epoch.
    pub(super) fn write_accounts(&mut self) -> Result<(), ComposeError> {
        if self.accounts.users.is_empty() && self.accounts.groups.is_empty() {
            return Ok(());
        }
        let shadow = self.accounts.shadow(self.epoch.div_euclid(86_400));
        let files = [
            ("/etc/passwd", self.accounts.passwd(), false),
            ("/etc/group", self.accounts.group(false), false),
            ("/etc/shadow", shadow, true),
            ("/etc/gshadow", self.accounts.group(true), true),
        ];
        let gid = self.accounts.gid("shadow").unwrap_or(0);
        for (path, text, secret) in files {
            let mut meta = Meta::root(if secret { 0o640 } else { 0o644 }, self.epoch);
            meta.gid = if secret { gid } else { 0 };
            let file = self.pack.append(text.as_bytes())?;
            self.put(path, meta, Node::File(file))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> NewUser<'_> {
        let maker = Maker::Sysusers(true);
        NewUser { name, uid: None, group: None, comment: "c", home: "/", shell: "/s", maker }
    }

    #[test]
    fn ids_come_from_the_table_or_from_the_name() {
        let ids = BTreeMap::from([("sshd".to_owned(), 989)]);
        let made = |names: &[&str]| {
            let mut accounts = Accounts { ids: ids.clone(), ..Accounts::default() };
            names.iter().for_each(|name| accounts.add_user(&user(name)).expect("user"));
            accounts
        };
        assert_eq!(made(&["sshd"]).uid("sshd"), Some(989));
        let alone = made(&["redis"]).uid("redis");
        assert_eq!(made(&["redis", "sshd"]).uid("redis"), alone);
        assert!(alone.is_some_and(|id| FREE_IDS.contains(&id)));
        let many: Vec<_> = (0..95).map(|number| format!("u{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let accounts = made(&many);
        let ids: std::collections::BTreeSet<_> =
            many.iter().map(|name| accounts.uid(name)).collect();
        assert_eq!(ids.len(), many.len(), "no id is given twice");
    }

    #[test]
    fn files_are_sorted_and_members_joined() {
        let mut accounts = Accounts::default();
        accounts.add_master(&["root", "*", "0", "0", "root", "/root", "/bin/bash"]).expect("root");
        accounts.add_master(&["root", "*", "0", ""]).expect("root");
        accounts.ids.extend([("b".to_owned(), 901), ("a".to_owned(), 902)]);
        accounts.add_user(&user("b")).expect("b");
        accounts.add_group("a", None, Maker::Adduser);
        accounts.add_member("b", "a").expect("joins");
        assert!(accounts.add_member("b", "nobody").is_err());
        assert_eq!(accounts.passwd(), "root:x:0:0:root:/root:/bin/bash\nb:x:901:901:c:/:/s\n");
        assert_eq!(accounts.shadow(5), "root:*:5:0:99999:7:::\nb:!*:5:::::1:\n");
        assert_eq!(accounts.group(false), "root:x:0:\na:x:902:b\nb:x:901:\n");
        assert_eq!(accounts.group(true), "root:*::\na:!::b\nb:!*::\n");
    }
}
