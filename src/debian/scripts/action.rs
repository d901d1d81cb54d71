//! What maintainer scripts do to a freshly installed system, as data.

use serde::Deserialize;

/// One effect of a script. Paths are absolute, as the script has them. Actions that create something leave
/// what is there already, as scripts do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Users and groups of these files of `/usr/lib/sysusers.d`.
    Sysusers(Vec<String>),
    /// Directories, links and files of these files of `/usr/lib/tmpfiles.d`.
    Tmpfiles(Vec<String>),
    /// A system user with a group of its own.
    User(User),
    /// A system group.
    Group(String),
    /// A user joins a group.
    Member {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// A directory.
    Dir(Place),
    /// An empty file or one with this text.
    File {
        /// Where.
        path: String,
        /// User name; root unless given.
        owner: Option<String>,
        /// Group name; root unless given.
        group: Option<String>,
        /// Octal; 0644 unless given.
        mode: Option<String>,
        /// Its text.
        #[serde(default)]
        text: String,
    },
    /// A copy of a shipped file, with its mode and time.
    Copy {
        /// The shipped file.
        from: String,
        /// The copy.
        to: String,
    },
    /// A copy of a shipped file, recorded by ucf.
    Ucf {
        /// The shipped file.
        from: String,
        /// The configuration file.
        to: String,
    },
    /// A symbolic link; takes the place of an empty directory.
    Link {
        /// The link.
        path: String,
        /// Its target, verbatim.
        to: String,
    },
    /// Owner, group and mode of something that is there.
    Mode(Place),
    /// The same, recorded by dpkg-statoverride.
    Statoverride(Place),
    /// `path` and everything below it is taken away.
    Remove(String),
    /// A choice for a name with several providers.
    Alternative(Alternative),
    /// Every manual page below a folder is a slave of one alternative.
    ManAlternative {
        /// `/usr/share/postgresql/17/man`
        folder: String,
        /// The master page: `psql.1.gz`.
        name: String,
        /// Higher wins; a number in quotes.
        priority: String,
    },
    /// Other packages' file at `path` is unpacked as `to`.
    Divert {
        /// The path that is diverted.
        path: String,
        /// Where it goes.
        to: String,
    },
    /// `deb-systemd-helper enable`: enabled unless a preset says otherwise.
    Enable(Unit),
    /// `deb-systemd-helper update-state`: its links are recorded, not made.
    Track(Unit),
    /// `systemctl enable`.
    SystemctlEnable(String),
    /// `update-rc.d NAME defaults`.
    InitScript(String),
    /// `update-shells`, `add-shell`: login shells besides those of `/usr/share/debianutils/shells.d`.
    Shells(Vec<String>),
    /// A list of the files below a folder, one a line, relative to it, sorted.
    Listing {
        /// The folder.
        of: String,
        /// The file made.
        to: String,
        /// What stands before the list.
        #[serde(default)]
        header: String,
    },
}

/// A path with an owner and a mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Absolute path.
    pub path: String,
    /// User name; absent: as it is, root for something new.
    pub owner: Option<String>,
    /// Group name; absent: as it is, root for something new.
    pub group: Option<String>,
    /// Octal; absent: as it is, 0755 or 0644 for something new.
    pub mode: Option<String>,
}

/// A system user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    #[serde(default = "nologin")]
    pub shell: String,
    /// Full name.
    #[serde(default)]
    pub comment: String,
    /// Primary group; absent: one of the same name.
    pub group: Option<String>,
}

/// The shell of users that never log in.
pub fn nologin() -> String {
    "/usr/sbin/nologin".to_owned()
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// `ssh.service`
    pub name: String,
    /// Whether it belongs to users' own service managers.
    #[serde(default)]
    pub user: bool,
}

/// One provider of an alternative.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// `/usr/bin/pager`
    pub link: String,
    /// `pager`
    pub name: String,
    /// `/usr/bin/less`
    pub path: String,
    /// Higher wins.
    pub priority: i32,
    /// What follows the master: link, name, path of each.
    #[serde(default)]
    pub slaves: Vec<(String, String, String)>,
}
