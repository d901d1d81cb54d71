//! Steps that switch the machine off and on, and that take its disks out and put them in.

use std::time::Duration;

use super::failure::TestFailure;
use super::judge::Mismatch;
use super::run::{Look, Run, Stop};
use super::spec::PlugDisk;

const INTERVAL: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Restarts the system in order; done when a new boot lets the administrator in.
    pub(super) fn reboot(&mut self) -> Result<(), Stop> {
        let before = self.wait_ssh()?;
        self.look_at_journal()?;
        self.new_boot();
        // The connection may end before the command does.
        self.command("sudo systemctl reboot", Some(Duration::from_secs(60)))?;
        self.until("a new boot", INTERVAL, |run| {
            let boot = run.wait_ssh()?;
            Ok(if boot == before {
                Look::NotYet(format!("still boot {boot}"))
            } else {
                Look::Here(())
            })
        })
    }

    /// Stops the machine dead, starts it again.
    pub(super) fn power_cut(&mut self) -> Result<(), Stop> {
        self.ports()?;
        self.guest.machine = None;
        self.look_at_console()?;
        Ok(self.power_on()?)
    }

    /// Presses the power button, waits until QEMU has ended.
    pub(super) fn power_off(&mut self) -> Result<(), Stop> {
        self.look_at_journal()?;
        self.press("power", |machine| machine.press_power())?;
        let mut machine = self.guest.machine.take();
        let waited = self.until("a machine that is off", INTERVAL / 10, |_| {
            let ended = machine.as_mut().and_then(|machine| machine.ended());
            Ok(match ended {
                Some(status) => Look::Here(status),
                None => Look::NotYet("it is still on".to_owned()),
            })
        })?;
        self.look_at_console()?;
        if waited.success() {
            return Ok(());
        }
        Err(Mismatch::new("QEMU's orderly end", waited.to_string()).into())
    }

    /// Starts a machine that is off.
    pub(super) fn switch_on(&mut self) -> Result<(), Stop> {
        self.must_be_off()?;
        Ok(self.power_on()?)
    }

    /// Presses the reset button.
    pub(super) fn reset(&mut self) -> Result<(), Stop> {
        self.new_boot();
        self.press("reset", |machine| machine.press_reset())
    }

    /// Takes a disk out, whether the machine runs or not.
    pub(super) fn pull_disk(&mut self, number: usize) -> Result<(), Stop> {
        let commands = self.guest.make.drives.pulling(number);
        self.tell(&format!("taking disk {number} out"), commands)?;
        done(self.guest.make.drives.pull(number), number, "there is no such disk in the machine")
    }

    /// Puts a disk in.
    pub(super) fn plug_disk(&mut self, plug: PlugDisk) -> Result<(), Stop> {
        let PlugDisk { number, blank } = plug;
        if !self.guest.make.drives.hot_plug() {
            self.must_be_off()?;
        }
        let plugged = match blank {
            None => self.guest.make.drives.put_back(number),
            Some(size) => {
                let mut drives = self.guest.make.drives.clone();
                let replaced = drives.replace(&self.guest.make, number, size)?;
                self.guest.make.drives = drives;
                replaced
            }
        };
        done(plugged, number, "its place is taken, or there is none: pull it first")?;
        let commands = self.guest.make.drives.plugging(number).into_iter().flatten().collect();
        self.tell(&format!("putting disk {number} in"), commands)
    }

    /// If the machine runs; a disk of one that is off is there or not when it is started.
    fn tell(&self, doing: &str, commands: Vec<String>) -> Result<(), Stop> {
        let told = self.guest.machine.as_ref().map_or(Ok(()), |machine| machine.tell(commands));
        Ok(told.map_err(|source| TestFailure::Io { doing: doing.to_owned(), source })?)
    }

    /// Exchanges the disks' ports.
    pub(super) fn swap_disks(&mut self) -> Result<(), Stop> {
        self.must_be_off()?;
        done(self.guest.make.drives.swap(), 2, "the machine has one disk")
    }

    pub(super) fn must_be_off(&self) -> Result<(), Stop> {
        match self.guest.machine {
            None => Ok(()),
            Some(_) => Err(Mismatch::new("a machine that is off", "it runs").into()),
        }
    }

    fn press(
        &mut self,
        button: &str,
        press: impl Fn(&super::qemu::Machine) -> std::io::Result<()>,
    ) -> Result<(), Stop> {
        self.ports()?;
        let doing = format!("pressing the {button} button");
        let pressed = self.guest.machine.as_ref().map_or(Ok(()), press);
        Ok(pressed.map_err(|source| TestFailure::Io { doing, source })?)
    }
}

fn done(done: bool, number: usize, otherwise: &str) -> Result<(), Stop> {
    if done { Ok(()) } else { Err(Mismatch::new(format!("disk {number}"), otherwise).into()) }
}
