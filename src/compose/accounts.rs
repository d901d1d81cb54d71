//! The overlays' system users and the administrator, added to the four account files of passwd(5), group(5),
//! shadow(5) and gshadow(5).

use std::collections::BTreeMap;

use super::system::SystemError;
use crate::appliance::{Plan, User};
use crate::store::{PackWriter, Store};
use crate::tree::{Entry, Meta, Node, Tree};

/// The administrator's user and group id.
const ADMIN: u32 = 1000;
const SHADOW_GROUP: u32 = 42;
/// When passwords were changed last, in days since 1970: there are none, and that a day has passed is no change of an image. 0 would
/// ask for a new one.
const CHANGED: &str = "1";

/// All accounts of the tree, by name.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub(super) users: BTreeMap<String, u32>,
    pub(super) groups: BTreeMap<String, u32>,
}

/// Adds the accounts and gives back all there are then.
pub(super) fn add(
    store: &Store,
    pack: &mut PackWriter,
    tree: &mut Tree,
    plan: &Plan,
    epoch: i64,
) -> Result<Ids, SystemError> {
    let mut files = Files::read(store, tree)?;
    let admin = User {
        name: plan.admin.name.clone(),
        id: ADMIN,
        home: format!("/home/{}", plan.admin.name),
        shell: "/bin/bash".to_owned(),
        groups: ["sudo", "adm", "systemd-journal"].map(str::to_owned).to_vec(),
        comment: "Administrator".to_owned(),
    };
    for user in plan.overlays.iter().flat_map(|overlay| &overlay.users).chain([&admin]) {
        files.add(user)?;
    }
    files.date_passwords();
    files.write(pack, tree, epoch)?;
    Ok(files.ids())
}

/// All accounts of a tree.
pub(super) fn ids(store: &Store, tree: &Tree) -> Result<Ids, SystemError> {
    Ok(Files::read(store, tree)?.ids())
}

/// The lines of the four files, split at colons.
struct Files {
    passwd: Vec<Vec<String>>,
    group: Vec<Vec<String>>,
    shadow: Vec<Vec<String>>,
    gshadow: Vec<Vec<String>>,
}

impl Files {
    fn read(store: &Store, tree: &Tree) -> Result<Self, SystemError> {
        let read = |name: &str| -> Result<_, SystemError> {
            let bytes = store.read(tree.file(&format!("etc/{name}"))?.0)?;
            Ok(parse(&String::from_utf8_lossy(&bytes)))
        };
        Ok(Self {
            passwd: read("passwd")?,
            group: read("group")?,
            shadow: read("shadow")?,
            gshadow: read("gshadow")?,
        })
    }

    fn add(&mut self, user: &User) -> Result<(), SystemError> {
        let User { name, id, home, shell, groups, comment } = user;
        for (rows, what) in [(&self.passwd, "user"), (&self.group, "group")] {
            if rows.iter().any(|row| row[0] == *name) {
                return Err(SystemError::Taken { what, name: name.clone() });
            }
        }
        // `*`, not `!`: no password fits, but the account is not locked, so keys still do.
        let row = |line: String| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        self.passwd.push(row(format!("{name}:x:{id}:{id}:{comment}:{home}:{shell}")));
        self.shadow.push(row(format!("{name}:*:{CHANGED}:0:99999:7:::")));
        self.group.push(row(format!("{name}:x:{id}:")));
        self.gshadow.push(row(format!("{name}:!::")));
        for group in groups {
            let join = |rows: &mut Vec<Vec<String>>| {
                let members = rows.iter_mut().find(|row| row[0] == *group)?.last_mut()?;
                if !members.is_empty() {
                    members.push(',');
                }
                members.push_str(name);
                Some(())
            };
            let joined = join(&mut self.group).and(join(&mut self.gshadow));
            joined.ok_or_else(|| SystemError::Unknown { what: "group", name: group.clone() })?;
        }
        Ok(())
    }

    fn date_passwords(&mut self) {
        for date in self.shadow.iter_mut().filter_map(|row| row.get_mut(2)) {
            CHANGED.clone_into(date);
        }
    }

    fn write(&self, pack: &mut PackWriter, tree: &mut Tree, epoch: i64) -> Result<(), SystemError> {
        let files = [
            ("passwd", &self.passwd, 0o644, 0),
            ("group", &self.group, 0o644, 0),
            ("shadow", &self.shadow, 0o640, SHADOW_GROUP),
            ("gshadow", &self.gshadow, 0o640, SHADOW_GROUP),
        ];
        for (name, rows, mode, gid) in files {
            let text: String = rows.iter().map(|row| row.join(":") + "\n").collect();
            let node = Node::File(pack.append(text.as_bytes())?);
            let meta = Meta { gid, ..Meta::root(mode, epoch) };
            tree.replace(format!("etc/{name}").parse()?, Entry { meta, node })?;
        }
        Ok(())
    }

    fn ids(&self) -> Ids {
        let ids = |rows: &[Vec<String>]| {
            let pairs =
                rows.iter().filter_map(|row| Some((row[0].clone(), row.get(2)?.parse().ok()?)));
            pairs.collect()
        };
        Ids { users: ids(&self.passwd), groups: ids(&self.group) }
    }
}

fn parse(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(parse(text).iter().all(|row| !row.is_empty()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_a_line_in_each_file_and_joins_its_groups() {
        let mut files = Files {
            passwd: parse("root:x:0:0:root:/root:/bin/bash\n"),
            group: parse("root:x:0:\nsudo:x:27:other\nadm:x:4:\n"),
            shadow: parse("root:*:20780:0:99999:7:::\nsshd:!*:20780::::::\n"),
            gshadow: parse("root:*::\nsudo:*::other\nadm:*::\n"),
        };
        let mut user = User {
            name: "me".into(),
            id: 401,
            home: "/var/lib/me".into(),
            shell: "/usr/sbin/nologin".into(),
            groups: vec!["sudo".into(), "adm".into()],
            comment: "Me".into(),
        };
        files.add(&user).expect("added");
        assert_eq!(files.passwd[1].join(":"), "me:x:401:401:Me:/var/lib/me:/usr/sbin/nologin");
        assert_eq!(files.shadow[2].join(":"), "me:*:1:0:99999:7:::");
        assert_eq!(files.group[1].join(":"), "sudo:x:27:other,me");
        assert_eq!(files.gshadow[2].join(":"), "adm:*::me");
        assert_eq!(files.ids().users["me"], 401);
        files.date_passwords();
        let dated: Vec<_> = files.shadow.iter().map(|row| row.join(":")).collect();
        assert_eq!(dated[..2], ["root:*:1:0:99999:7:::", "sshd:!*:1::::::"]);
        let error = files.add(&user).expect_err("there already").to_string();
        assert!(error.contains("'me'"), "{error}");
        user.name = "adm".into();
        let error = files.add(&user).expect_err("a group").to_string();
        assert!(error.contains("the group 'adm'"), "{error}");
        user.name = "you".into();
        user.groups = vec!["wheel".into()];
        let error = files.add(&user).expect_err("no such group").to_string();
        assert!(error.contains("'wheel'"), "{error}");
    }
}
