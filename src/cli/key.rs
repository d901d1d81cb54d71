//! `chatimg key`, and where the owner's key is.

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::CommandError;
use super::context::user_dir;
use crate::evidence::{self, Signed};
use crate::image::inventory;
use crate::minisign::{KeyFile, SecretKey};
use crate::ui::Ui;

const NAME: &str = "owner.key";

/// Make or show the key that your images are signed with
///
/// A box takes no others. `chatimg flash` makes it when it is first needed and gives its public half to the box. Keep a copy of the file: without
/// it a box takes images only after `chatimg-admin settings set update.keys=...` on the box itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg key new
  chatimg key show
  chatimg key sign images/current")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a new key; never over one that is there
    New {
        #[command(flatten)]
        key: KeyOption,
    },
    /// Say the public half, as [update] keys of host.toml has it
    Show {
        #[command(flatten)]
        key: KeyOption,
    },
    /// Sign an image in its folder, for a box without a network: `chatimg-admin update --from DIR` takes the root.img,
    /// update.json and update.json.minisig that this puts there
    Sign {
        /// The image's folder: images/ID
        dir: PathBuf,
        #[command(flatten)]
        key: KeyOption,
    },
}

/// Which key is the owner's.
#[derive(Debug, Default, clap::Args)]
pub struct KeyOption {
    /// The owner's secret key, as `minisign -G -W` makes it, too
    /// [default: ~/.config/chatimg/owner.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<(), CommandError> {
    match &args.verb {
        Verb::New { key } => {
            let owner = key.owner()?;
            let secret = owner.file.create()?;
            owner.hand_over()?;
            tell(ui, &owner.file, &secret);
            ui.say(secret.public().to_string());
        }
        Verb::Show { key } => ui.say(key.read()?.public().to_string()),
        Verb::Sign { dir, key } => sign(dir, &key.read()?, ui)?,
    }
    Ok(())
}

fn sign(dir: &Path, key: &SecretKey, ui: &Ui) -> Result<(), CommandError> {
    crate::interrupt::listen()?;
    // Not what `current` is by then, and nobody removes it meanwhile.
    let dir = dir.canonicalize().map_err(|error| format!("opening {}: {error}", dir.display()))?;
    let _hold = inventory::hold(&dir);
    let Signed { id, files } = evidence::sign_update(&dir, key)?;
    let [others @ .., last] = &files[..] else { return Ok(()) };
    ui.say(format!("signed {id}: copy {} and {last} from {}", others.join(", "), dir.display()));
    Ok(())
}

fn tell(ui: &Ui, file: &KeyFile, key: &SecretKey) {
    let number = key.public().number();
    ui.note(format!(
        "made the owner's key {number} in {}: keep a copy, it signs all images for your boxes",
        file.path().display()
    ));
}

/// The key's file, and whose it is to be if the superuser makes it for somebody.
struct Owner {
    file: KeyFile,
    user: Option<User>,
}

impl KeyOption {
    /// The key; it must be there.
    pub fn read(&self) -> Result<SecretKey, CommandError> {
        Ok(self.owner()?.file.read()?)
    }

    /// The key; made if it is not there.
    pub fn read_or_create(&self, ui: &Ui) -> Result<SecretKey, CommandError> {
        let owner = self.owner()?;
        let (key, made) = owner.file.read_or_create()?;
        if made {
            owner.hand_over()?;
            tell(ui, &owner.file, &key);
        }
        Ok(key)
    }

    fn owner(&self) -> Result<Owner, CommandError> {
        if let Some(path) = &self.key {
            return Ok(Owner { file: KeyFile::new(path), user: None });
        }
        let user = sudoer();
        let dir = match &user {
            Some(user) => Some(user.dir.join(".config/chatimg")),
            None => user_dir("XDG_CONFIG_HOME", ".config"),
        };
        let dir = dir.ok_or(
            "finding the owner's key: neither HOME nor XDG_CONFIG_HOME is set; name it with --key FILE",
        )?;
        Ok(Owner { file: KeyFile::new(dir.join(NAME)), user })
    }
}

/// Who called `sudo chatimg flash`: the key is theirs, not the superuser's, for updates are made without sudo.
fn sudoer() -> Option<User> {
    if !Uid::effective().is_root() || std::env::var_os("XDG_CONFIG_HOME").is_some() {
        return None;
    }
    let id: u32 = std::env::var("SUDO_UID").ok()?.parse().ok()?;
    User::from_uid(Uid::from_raw(id)).ok()?.filter(|user| !user.uid.is_root())
}

impl Owner {
    fn hand_over(&self) -> Result<(), CommandError> {
        let Some(user) = &self.user else { return Ok(()) };
        let (uid, gid) = (Some(user.uid.as_raw()), Some(user.gid.as_raw()));
        let (key, public) = (self.file.path(), self.file.public_path());
        let ours = |path: &&Path| path.symlink_metadata().is_ok_and(|meta| meta.uid() == 0);
        let dirs = key.ancestors().skip(1).take_while(|dir| *dir != user.dir && ours(dir));
        // Never what a link leads to: the folder is theirs, whatever they put there.
        for path in dirs.chain([key, &public]) {
            lchown(path, uid, gid)
                .map_err(|error| format!("giving {} to {}: {error}", path.display(), user.name))?;
        }
        Ok(())
    }
}
